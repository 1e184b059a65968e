"""A request that no dialog routes: who calls whom is for the control plane to decide. While it is out of reach, known
accounts call each other all the same (static stability), on whatever edge they are."""

from __future__ import annotations

from collections.abc import Sequence

from edge.providers.agent import Agent
from edge.proxy.forwarding.call_record import Parties
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.messages import drop_private
from edge.proxy.forwarding.spirals import Spirals
from edge.proxy.routing.asking import Asking
from edge.proxy.routing.caller_claims import asserted, check_privacy, claimed, realm_of, told_by
from edge.proxy.routing.callers import AccountCaller, CallOrigin, ProviderCaller, TrunkCaller
from edge.proxy.routing.kept_routes import KeptRoutes
from edge.proxy.stack.abilities import ABILITIES, check_events, not_allowed
from edge.proxy.stack.answers import refuse, unavailable
from edge.proxy.stack.gruu import gruu_of
from edge.proxy.stack.sources import Slowed
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import check_hops, check_text
from edge.proxy.subscriptions.subscriptions import Subscriptions
from edge.proxy.subscriptions.summary import summary_of
from edge.sip import privacy
from edge.sip.incoming import Fault, Incoming
from edge.sip.telephone import name_of, party_of
from lambdas.contract import Route, called_number

_LONGEST_CONTACT = 512  # characters: no longer one can be registered
_FROM_PROVIDERS = ("INVITE", "NOTIFY", "MESSAGE")


class Router:
    """Asks, and answers by itself where no answer comes."""

    def __init__(
        self,
        stack: Stack,
        agent: Agent,
        kept: KeptRoutes,
        spirals: Spirals,
        forwarder: Forwarder,
        subscriptions: Subscriptions,
    ) -> None:
        self._stack = stack
        self._agent = agent
        self._kept = kept
        self._spirals = spirals
        self._forwarder = forwarder
        self._subscriptions = subscriptions

    def route(self, incoming: Incoming, now: float) -> None:
        """Raises Fault, and Slowed."""
        if self._route_around(incoming, now) or self._route_from_outside(incoming, now):
            return
        stack = self._stack
        is_ours = stack.fleet.canonical(incoming.from_uri().host) is not None or stack.bindings.first_on(incoming.flow)
        if stack.fleet.address_at(incoming.uri.host) and not is_ours:
            self._await_account(incoming, now)
        else:
            self._route_account(incoming, now)

    def _route_around(self, incoming: Incoming, now: float) -> bool:
        """A call that goes from one provider on to another; whether it is one."""
        spiral = self._spirals.take(incoming)
        if spiral is None:
            return False
        check_hops(incoming)
        context = self._forwarder.around(incoming, spiral, now)
        context.on_decision(Route(targets=[spiral.target]), now)
        return True

    def _route_from_outside(self, incoming: Incoming, now: float) -> bool:
        """What a provider sends, by where it comes from: for an account's Contact, whose user nobody else knows, or for
        its number, whatever host stands there. Whether it is that. Raises Fault, and Slowed."""
        flow = incoming.flow
        provider = self._agent.account_of(incoming.uri.user, flow)
        if provider:
            self._route_provider(provider, incoming, now)
            return True
        if not self._is_foreign(incoming):
            return False
        number = called_number(name_of(incoming.uri))
        addresses = self._stack.provider_addresses
        provider = self._agent.account_with(number, flow, addresses.tenants.get(flow.host, ()))
        places = addresses.trunks_at(flow.host)
        if not number or not (provider or places):
            return False
        self._route_provider(provider, incoming, now, number, places)
        return True

    def is_from_outside(self, incoming: Incoming) -> bool:
        """Whether a provider may have sent it, for an account of ours."""
        flow = incoming.flow
        if self._agent.account_of(incoming.uri.user, flow):
            return True
        addresses = self._stack.provider_addresses
        neighbours = addresses.tenants.get(flow.host, ())
        known = self._agent.account_with(called_number(name_of(incoming.uri)), flow, neighbours)
        return bool(known or addresses.trunks_at(flow.host)) and self._is_foreign(incoming)

    def _is_foreign(self, incoming: Incoming) -> bool:
        """Whether its sender doesn't say that he is one of us: a phone may be at a provider's address, too."""
        if "authorization" in incoming.first or "proxy-authorization" in incoming.first:
            return False
        stack = self._stack
        return incoming.from_uri().host not in stack.fleet.domains and not stack.bindings.first_on(incoming.flow)

    def _route_account(self, incoming: Incoming, now: float) -> None:
        """What somebody sends who is one of us, by his credentials."""
        check_hops(incoming)
        check_events(incoming.request.method)
        stack, fleet, uri = self._stack, self._stack.fleet, incoming.uri
        sender = incoming.from_uri()
        realm = realm_of(incoming, sender, fleet, stack.bindings)
        if realm is None:
            # Answered here, so that strangers can't spend money on decisions.
            raise Fault(403, "Forbidden: only accounts of this service may call")
        contact = incoming.request.uri
        if not uri.host or len(contact) > _LONGEST_CONTACT or stack.own.has(uri, incoming.flow, fleet):
            contact = ""
        if not (uri.user or contact):
            raise Fault(404)
        check_text(incoming, sender, uri)
        presented = stack.authenticator.credentials(incoming, realm, fleet, now)
        gruu = gruu_of(uri, incoming.request.uri, fleet)
        check_privacy(incoming)
        drop_private(incoming.request, fleet)
        own = claimed(sender, fleet)
        withheld = privacy.hides(incoming.first) or privacy.is_anonymous(sender.user, sender.host)
        if not own and not withheld:
            incoming.request.headers.append(asserted(presented.account))
        host = "" if contact and fleet.address_at(uri.host) else fleet.canonical(uri.host)
        called = f"{name_of(uri)}@{host or uri.host or realm}" if gruu is None else gruu.aor
        parties = Parties(own or presented.account, called=called)
        self._call(AccountCaller(stack, incoming, parties, presented, withheld, contact, gruu), incoming, now)

    def _route_provider(
        self, provider: str, incoming: Incoming, now: float, number: str = "", places: Sequence[str] = ()
    ) -> None:
        """What a provider sends to its account ``provider``, by its Contact or its ``number``. With ``places``, hosts
        of trunks, the number may be one of theirs; without a ``provider`` it can be nothing else. Raises Fault, and
        Slowed."""
        method = incoming.request.method
        if method == "OPTIONS":
            self._stack.stateless.answer(incoming.request, incoming.flow, incoming.octets, 200, now, ABILITIES)
            return
        if method not in _FROM_PROVIDERS:
            raise not_allowed((*_FROM_PROVIDERS, "ACK", "BYE", "CANCEL", "OPTIONS"))
        check_hops(incoming)
        sender, called = incoming.from_uri(), incoming.to_uri()
        check_text(incoming, sender, called, incoming.uri)
        parties = Parties(*told_by(incoming, sender), called=party_of(called), provider=provider)
        if provider:
            self._call(ProviderCaller(self._stack, incoming, parties, number, places), incoming, now)
        else:
            trunk = TrunkCaller(self._stack, incoming, parties, number, places)
            trunk.charge(now)
            self._call(trunk, incoming, now)

    def _call(self, caller: CallOrigin, incoming: Incoming, now: float) -> None:
        """Ask whom to call, and call them."""
        stack = self._stack
        if incoming.request.method == "INVITE" and not stack.recording:
            stack.counters["unrecordable"] += 1
            unavailable(stack.serve(incoming, now), incoming.request, stack.counters, now)
            return
        asking = Asking(stack, self._kept, caller, self._subscriptions, summary_of(incoming))
        context = self._forwarder.call(incoming, caller.parties, asking, now, known=caller.known)
        asking.ask(context, "", [], now)

    def _await_account(self, incoming: Incoming, now: float) -> None:
        """Perhaps it is a provider's, and its account isn't here yet: the address has only just come."""
        stack, agent = self._stack, self._agent
        user = incoming.uri.user
        request = incoming.request

        def go_on(at: float) -> None:
            server = stack.transactions.servers.get(incoming.key)
            if server is None or server.answered:
                return  # cancelled meanwhile
            try:
                if self._route_from_outside(incoming, at):
                    pass
                elif agent.complete(incoming.flow.address):
                    raise Fault(404)
                else:
                    unavailable(server, request, stack.counters, at)
            except Fault as fault:
                refuse(server, request, fault, at)
            except Slowed:
                unavailable(server, request, stack.counters, at)

        known = agent.when_known(user, incoming.flow, go_on, now)
        if known:
            raise Fault(404)
        if known is None:
            unavailable(stack.serve(incoming, now), request, stack.counters, now)
        else:
            self._forwarder.call(incoming, Parties(), None, now, known=False)  # a CANCEL finds it
