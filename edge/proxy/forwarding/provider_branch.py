"""Branches across the border between phones and providers: out through a provider, and in to a phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from edge.providers.agent import Agent
from edge.providers.credentials import Authorizer, Hashes
from edge.providers.leg import (
    ATTEMPTS,
    body_out,
    dialog_at_phone,
    invite_at_phone,
    number_at_phone,
    provider_uri,
    racked,
    request_in,
    request_out,
    response_in,
    response_out,
    routes_of,
)
from edge.providers.leg_token import UNNUMBERED, LegToPhone, LegToProvider
from edge.providers.redirection import FOLLOWED, MOST, left_to_the_caller, redirections
from edge.providers.register import LONGEST_UDP, clean
from edge.proxy.forwarding.branch import Branch, BranchContext
from edge.proxy.forwarding.gruu_contacts import with_contact, with_registered_contact
from edge.proxy.forwarding.messages import drop_commands
from edge.proxy.forwarding.record_route import DialogTarget
from edge.proxy.forwarding.redialling import redialled
from edge.proxy.forwarding.spirals import Spirals
from edge.proxy.forwarding.waking import Waking
from edge.proxy.forwarding.withholding import withholds
from edge.proxy.stack.echo_place import at_own_edge
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.stack import Stack
from edge.sip import privacy
from edge.sip.flow import Flow, ServerAddress
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Request, Response, header_of
from edge.sip.server_names import ca_in, server_name
from edge.sip.session_bodies import UnreadableBody
from edge.sip.strict_routing import next_hop
from edge.sip.timers import T1
from edge.sip.transaction import ClientTransaction, InviteClient
from edge.sip.uri import Uri, host_in_uri, request_uri
from lambdas.contract import Access, AccessQuestion, Decision, ProviderLeg, Target, may_be_sip, withheld

_PATIENCE = 8 * T1  # for a first word from a server, where there is another one to try
_WORTH_WAKING = frozenset(("INVITE", "MESSAGE", "NOTIFY", "REFER", "SUBSCRIBE"))
_HOPELESS, _REFUSED, _UNREADABLE, _NO_DIALOG = 500, 403, 415, 481


class ProviderBranch(Branch):
    """From a phone to a provider: a new call with ``target.provider``, or with ``way`` a request in one."""

    salted = True

    def __init__(
        self, stack: Stack, context: BranchContext, target: Target, agent: Agent, way: LegToProvider | None
    ) -> None:
        super().__init__(stack, context, _withheld(target, context.incoming))
        self._agent = agent
        self._way = way
        self._keys = stack.fleet.tokens  # the same ones for the Call-ID and for what leads to its call
        self._servers: list[ServerAddress] = []
        self._without_tcp: set[ServerAddress] = set()
        self._attempt = way.attempt if way is not None else 0
        self._authorizer: Authorizer | None = None
        self._sent: dict[ClientTransaction, int] = {}
        self._hosts: set[str] = set()  # the provider's own
        self._redirected: set[str] = set()  # the URIs that a 3xx has led to
        leg = self.target.provider
        if leg is not None and leg.secret is not None:
            self._authorizer = Authorizer(Hashes(leg.secret))
        if leg is not None:
            self._hosts = {Uri.parse(uri).host for uri in (target.uri, leg.to_uri)} | {leg.server.host}

    def _try(self, now: float) -> None:
        leg = self.target.provider
        if leg is None:
            self._try_way(now)
            return
        if "replaces" in self.context.incoming.first:
            self.fail(_NO_DIALOG, now)  # whatever call it means, the provider knows that by other names (RFC 3891 §3)
            return

        def resolved(addresses: list[ServerAddress], fault: str, at: float) -> None:
            if self.response is not None or self.context.over:
                return
            if self.context.cancelled:
                self.fail(487, at)
                return
            self._servers = self._permitted(addresses, at)
            if self._servers and self.context.incoming.secure:
                self._servers = [server for server in self._servers if server[0] == "tls"]
                if not self._servers:
                    self.refuse_in_the_clear(at)
                    return
            if not self._is_outside:
                self._hosts |= {host_in_uri(ip) for _, ip, _ in self._servers}
            if self._servers:
                self._try_server(at)
                return
            if addresses:
                self.stack.counters["barred_targets"] += 1
                fault = "calls of this tenant may not go there"
            self.fail(_HOPELESS, at, f"Server Internal Error: {leg.server.host}: {fault}")

        self.stack.questions.resolve(leg.server, self.stack.fleet.has_ipv6(self.target.flow[0]), resolved)

    def _try_way(self, now: float) -> None:
        """In a dialog. An edge that has just been started may not know the account's own CA, which its server's
        certificate has to be signed by."""
        assert self._way is not None
        if not self._way.provider or self.stack.questions.trusts(ca_in(self._way.flow.server)):
            self._try_server(now)
            return

        def answered(_: Access | None, at: float) -> None:
            if self.response is None:
                self._try_server(at)  # the holder of the address may know it

        self._ask(answered, now)

    def _permitted(self, addresses: list[ServerAddress], now: float) -> list[ServerAddress]:
        """Those that the call may go to: none where another tenant is trusted. Outside, one that nothing has been
        heard of yet is tried alone: who never answers gets no more packets for having many addresses."""
        leg, outside = self.target.provider, self.stack.outside
        assert leg is not None
        found = self.stack.provider_addresses.open_to(self.context.origin.tenant, leg.id, addresses)
        if leg.id:
            return found
        found = [address for address in found if may_be_sip(address[2])]
        return [address for address in found if outside.answers(address, now)] or found[:1]

    def _try_server(self, now: float) -> None:
        leg, way = self.target.provider, self._way
        flow = self._new_way(leg, self._servers[0]).flow if leg is not None else way.flow if way is not None else None
        assert flow is not None
        self._describe(flow, self._send_to_server, now)

    def _send_again(self, now: float) -> None:
        self._attempt += 1
        self._try_server(now)

    def _unbridges(self) -> bool:
        return self._attempt + 1 < ATTEMPTS and super()._unbridges()

    def _send_to_server(self, now: float) -> None:
        leg, way = self.target.provider, self._way
        context = self.context
        self.proceeding = False
        incoming = self.incoming
        branch = self.stack.transactions.branch(incoming.mark)
        if leg is not None:
            way = self._new_way(leg, self._servers[0])
        assert way is not None
        try:
            added = self._added()
            request = self._made_for(way, branch, added)
        except UnreadableBody as error:
            self.fail(_UNREADABLE, now, f"Unsupported Media Type: the body can't be read: {error}")
            return
        if leg is not None and self._needs_tcp(leg, way.flow, request):
            _, ip, port = self._servers[0]
            way = self._new_way(leg, ("tcp", ip, port))
            request = self._made_for(way, branch, added)
        self._way = way
        self._begin(request, branch, way.flow, now)
        if self.response is not None:
            return  # no packet has room for it, or it has to be TLS
        assert self.transaction is not None
        self._sent[self.transaction] = self._attempt
        if len(self._servers) > 1 or (leg is not None and (context.has_more or self.target.instead)):
            self.stack.timers.start(self, "patience", now + _PATIENCE)

    def _needs_tcp(self, leg: ProviderLeg, flow: Flow, request: Request) -> bool:
        """Where a registration has opened the way, it is a flow; this one is any host's, which may not have asked."""
        if leg.registered or flow.reliable or self._servers[0] in self._without_tcp:
            return False
        return len(request.to_bytes()) > LONGEST_UDP

    def _new_way(self, leg: ProviderLeg, server: ServerAddress) -> LegToProvider:
        """To where a new call goes."""
        transport, ip, port = server
        address, local, usual, *_ = self.target.flow
        if transport != usual or not leg.registered:
            local = self._agent.port(transport)
        name = server_name(leg.server.host, leg.server.ca) if transport == "tls" else ""
        return LegToProvider(
            leg.id,
            Flow(address, local, transport, ip, port, 0, name),
            # Of a call that comes back from a challenge the numbers go on.
            self.context.incoming.cseq - 1,
            self.context.references()[0].tenant,
            self.context.origin.started,
            leg.transfers,
            leg.from_value,
            leg.to_uri,
            phone=self.context.incoming.flow if self._binds else None,
            binding=self.stack.bindings.first_on(self.context.incoming.flow) if self._binds else "",
            salt=self.context.references()[0].salt,
            theirs=0 if self.stack.fleet.reads_joined else UNNUMBERED,
            media=self.session(),
        )

    def _made_for(self, way: LegToProvider, branch: str, added: list[Header]) -> Request:
        incoming, phone = with_registered_contact(self.stack, self.incoming), self._phone_side(way)
        uri, places = self._uri(way), self.stack.fleet.places
        request = request_out(incoming, way, phone, uri, branch, self._attempt, list(added), self._keys, places)
        leg = self.target.provider
        if leg is not None and leg.shows and privacy.hides(incoming.first):
            request.headers = [header for header in request.headers if header[0] != "privacy"]
        return self._completed(request)

    def _client(self, request: Request, branch: str, flow: Flow, now: float) -> ClientTransaction:
        made = super()._client(request, branch, flow, now)
        if isinstance(made, InviteClient) and self._is_outside:
            made.retransmits = self.stack.outside.answers(_server_of(flow), now)
        return made

    @property
    def _is_outside(self) -> bool:
        """Whether it calls an address that a plan or a caller has named, which knows nothing of us."""
        leg = self.target.provider
        return leg is not None and not leg.id

    def _phone_side(self, way: LegToProvider) -> LegToPhone:
        """Where the provider's requests in this call go."""
        incoming = self.context.incoming
        flow = incoming.flow
        binding = way.binding if flow == way.phone else self.stack.bindings.first_on(flow)
        back = replace(way, contact="") if flow.internal else None
        peer = way.flow.host if self._binds else ""
        return LegToPhone(
            way.provider,
            flow,
            binding,
            "",
            way.tenant,
            way.started,
            way.transfers,
            way.translated,
            back,
            peer,
            way.salt,
            bool(way.to_uri) and not way.translated,
            way.theirs,
            dialog=dialog_at_phone(incoming) if way.dialog is not None else None,
            media=way.media,
        )

    @property
    def _binds(self) -> bool:
        """Whether tokens say who may use them."""
        return self.stack.fleet.reads_tags and not self.context.incoming.flow.internal

    def _uri(self, way: LegToProvider | None) -> str:
        if self.target.provider is not None:
            return request_uri(self.target.uri)
        if way is not None and way.contact:
            return way.contact
        incoming = self.context.incoming
        return provider_uri(incoming.uri.user, incoming.call_id, self._keys)

    def _added(self) -> list[Header]:
        leg = self.target.provider
        routes: list[str] = []
        if leg is not None:
            routes = ([leg.server.route] if leg.server.route else []) + leg.routes
        elif self._way is not None:
            routes = list(self._way.routes)
        added: list[Header] = [("route", f"Route: {route}") for route in routes]
        if leg is not None:
            added += [header_of(line) for line in leg.headers]
        if self._authorizer is not None:
            uri, _ = next_hop(self._uri(self._way), [*routes, *self._routes_of_phone])
            request = self.incoming.request
            body = body_out(request, self.incoming.flow, self.stack.fleet.places)
            added += self._authorizer.headers(request.method, uri, self.stack.ids.token(), body)
        return added

    @property
    def _routes_of_phone(self) -> list[str]:
        """What is left of its Route: the provider's own, in a call that the phone has made."""
        request = self.context.incoming.request
        return request.split_values("route") if self.context.incoming.to_tag else []

    # What comes back

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if self._is_outside:
            self.stack.outside.note(_server_of(transaction.flow), now)
        if transaction is not self.transaction or (self._made and response.status < 200):
            # Given up for another server: whatever it does now is too late.
            if response.status < 200 and not self.cancelled:
                self.cancel_transaction(transaction, now)
            elif 200 <= response.status < 300 and transaction.request.method == "INVITE":
                # A server that was given up has answered.
                self._hang_up(transaction, response, now, routes_of(response))
            return
        self.timers.pop("patience", None)
        status = response.status
        if status in (401, 407) and self.response is None and not self.context.cancelled:
            self._challenged(response, now)
        elif status == 503 and len(self._servers) > 1 and not self.context.cancelled:
            self._next(now)
        elif not (status in FOLLOWED and self._follow(response, now)):
            super().on_response(transaction, response, now)

    def _follow(self, response: Response, now: float) -> bool:
        """Try where a 3xx leads; whether that may be tried."""
        if self.response is not None or self.context.cancelled or len(self._redirected) >= MOST:
            return False
        if self._attempt + 1 >= ATTEMPTS:
            return False
        for found, own in redirections(response, self.target, self._hosts):
            if found.uri in self._redirected:
                continue
            self._redirected.add(found.uri)
            self._attempt += 1
            self.target = found
            self.proceeding = False
            if not own:
                self._authorizer = None
            elif self._authorizer is not None:
                self._authorizer.forget()
            self.stack.counters["redirected_calls"] += 1
            self._try(now)
            return True
        return False

    def hang_up(self, response: Response, now: float) -> None:
        if self.transaction is not None:
            self._hang_up(self.transaction, response, now, routes_of(response))

    def _credentials(self, method: str, uri: str) -> list[Header]:
        """Some providers ask for them in a BYE, too."""
        if self._authorizer is None or method == "ACK":
            return []
        return self._authorizer.headers(method, uri, self.stack.ids.token())

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is self.transaction:
            self._failed_server(408, now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is not self.transaction or self._redial(transaction, now):
            return
        if self._finds_no_tcp(transaction):
            self._without_tcp.add(self._servers[0])
            self._try_server(now)
            return
        why = clean(transaction.fault)
        self._failed_server(_HOPELESS, now, f"Server Internal Error: {why}" if why else "")

    def _finds_no_tcp(self, transaction: ClientTransaction) -> bool:
        """Whether what is too long for UDP has to go by it all the same: no connection can be made (RFC 3261 §18.1.1).
        To a trunk only, since another's address is whatever somebody has chosen."""
        if not self._servers or not transaction.fault or self._is_outside or self.context.cancelled:
            return False
        transport, ip, _ = self._servers[0]
        tenant = self.context.origin.tenant
        return transport != transaction.flow.transport and self.stack.provider_addresses.has_trunk(tenant, ip)

    def _redial(self, transaction: ClientTransaction, now: float) -> bool:
        """In a dialog: whether it is tried on a connection of ours instead of the provider's."""
        way = self._way
        if way is None or not way.flow.connection or self.target.provider is not None or self.proceeding:
            return False

        def known(_: Access | None, at: float) -> None:
            flow = redialled(way.flow, transaction.request, self._agent.server(way.provider))
            if self.response is not None:
                return
            if flow is None or self.context.cancelled:
                self.fail(_HOPELESS, at)
                return
            self._way = replace(way, flow=flow)
            self._try_way(at)

        if way.flow.transport != "tls" or self._agent.server(way.provider) is not None:
            known(None, now)
        else:
            self._ask(known, now)
        return True

    def on_timer(self, name: str, now: float) -> None:
        if name != "patience":
            super().on_timer(name, now)
        elif self.response is None and not self.proceeding and not self.context.cancelled:
            self._failed_server(408, now)  # not a word from this server, and there are others

    def _failed_server(self, status: int, now: float, reason: str = "") -> None:
        self.timers.pop("patience", None)
        if len(self._servers) > 1 and not self.context.cancelled:
            self._next(now)
        else:
            self.fail(status, now, reason)

    def _next(self, now: float) -> None:
        if self.transaction is not None:
            self.transaction.timers.pop("timer_a", None)  # not sent again
        del self._servers[0]
        if self._authorizer is not None:
            self._authorizer.forget()
        self._try_server(now)

    def _challenged(self, response: Response, now: float) -> None:
        """The provider's challenge is ours to answer; the phone never hears of it."""
        if self._authorizer is None:
            if not self._provider:
                self.fail(_REFUSED, now, "Forbidden: the address that is called asks for a password")
                return
            hashes = self._agent.hashes(self._provider)
            if hashes is None:
                self._ask(partial(self._accessed, response), now)
                return
            self._authorizer = Authorizer(hashes)
        if self._attempt + 1 < ATTEMPTS and self._authorizer.challenged(response):
            self._attempt += 1
            self._try_server(now)
        else:
            self.fail(_HOPELESS, now, "Server Internal Error: the provider refuses our user name or password")

    @property
    def _provider(self) -> str:
        assert self._way is not None
        return self._way.provider

    def _accessed(self, response: Response, access: Access | None, now: float) -> None:
        if access is None:
            self.fail(503, now)
        elif self.response is None:
            self._authorizer = Authorizer(Hashes(access.secret))
            self._challenged(response, now)

    def _ask(self, then: Callable[[Access | None, float], None], now: float) -> None:
        """For what a call through the account needs, with the way of this one as proof."""

        def decided(decision: Decision | None, at: float) -> None:
            access = decision if isinstance(decision, Access) else None
            if access is not None and access.server is not None:
                self._agent.note_server(self._provider, access.server)
                self.stack.questions.trust(access.server.ca)
            then(access, at)

        incoming = self.context.incoming
        address, epoch = self.stack.fleet.asking(incoming.flow.address)
        self.stack.questions.ask(
            lambda ask: AccessQuestion(
                request=ask,
                address=address,
                epoch=epoch,
                provider=self._provider,
                way=self._way.sealed if self._way is not None else "",
                call_id=incoming.call_id,
                tag=incoming.to_tag,
            ),
            decided,
            now,
        )

    def answer(self, response: Response) -> Response:
        if self._made or self._way is None or self.transaction is None:
            return super().answer(response)
        incoming = self.context.incoming
        attempt = self._sent[self.transaction]
        answer = response_in(response, incoming, self._way, incoming.flow, attempt, self._keys, self.stack.fleet.places)
        if 300 <= response.status < 400 and not incoming.flow.internal:
            domain = self.stack.fleet.canonical(incoming.from_uri().host) or self.stack.fleet.default_domain
            answer.headers += left_to_the_caller(response, self._hosts if self.provider else (), domain)
        return answer


def _withheld(target: Target, incoming: Incoming) -> Target:
    """``target`` without the name of whoever has sent ``incoming``, if he would have it so."""
    leg = target.provider
    if leg is None or leg.shows or incoming.to_tag or not withholds(incoming, CallReference()):
        return target
    return target.model_copy(update={"provider": withheld(leg)})


def _server_of(flow: Flow) -> ServerAddress:
    return flow.transport, flow.host, flow.remote_port


class PhoneBranch(Branch):
    """From a provider to a phone: ``way`` leads back to the provider, ``phone`` is set inside a dialog."""

    salted = True

    def __init__(
        self,
        stack: Stack,
        context: BranchContext,
        target: Target,
        way: LegToProvider,
        phone: LegToPhone | None = None,
        wanted: Target | None = None,
    ) -> None:
        super().__init__(stack, context, target, wanted)
        self._way = way
        self._phone = phone
        self._number = context.incoming.cseq

    def _send_to(self, flow: Flow, now: float) -> None:
        """In a dialog the phone gets it under a number of ours."""
        phone, incoming = self._phone, self.context.incoming
        if phone is not None and incoming.to_tag and phone.theirs != UNNUMBERED:
            self._number = number_at_phone(phone, self.stack.wall(now))
            if incoming.request.method == "INVITE":
                self._phone = replace(phone, answered=(incoming.cseq, self._number))
                self.stack.renumbered.note(incoming, self._number)
        super()._send_to(flow, now)

    def _request(self, flow: Flow) -> tuple[Request, str]:
        context, way, target = self.context, self._way, self.target
        uri = self._request_uri()
        if self._phone is None:
            way = replace(way, media=self.session())
        if self._phone is not None:
            phone = replace(self._phone, flow=flow)
        else:
            routes = context.incoming.request.split_values("record-route")
            binds = self.stack.fleet.reads_tags and not flow.internal
            phone = LegToPhone(
                way.provider, flow, target.binding, uri, way.tenant, way.started, way.transfers, False,
                replace(way, routes=tuple(routes)) if flow.internal else None,
                context.incoming.flow.host if binds else "",
                way.salt,
                theirs=way.theirs,
                media=self.session(),
            )  # fmt: skip
            if binds:
                way = replace(way, phone=flow, binding=target.binding)
            if self.stack.fleet.reads_withheld:
                phone = replace(phone, withheld=privacy.hides(context.incoming.first))
        self._phone = phone
        incoming = self.incoming
        branch = self.stack.transactions.branch(incoming.mark)
        named = racked(incoming) if incoming.request.method == "PRACK" else 0
        invite = invite_at_phone(named, phone, self.stack.renumbered.find(incoming, named))
        fleet = self.stack.fleet
        request = request_in(incoming, way, phone, uri, branch, fleet.tokens, fleet.places, self._number, invite)
        drop_commands(request)
        return request, branch

    def answer(self, response: Response) -> Response:
        if self._made or self._phone is None:
            return super().answer(response)
        incoming = self.context.incoming
        fleet = self.stack.fleet
        said = with_contact(response, self.target.uri, fleet)
        return response_out(said, incoming, self._phone, incoming.flow, fleet.tokens, fleet.places)


class BranchMaker:
    """Makes the branch for a target: across a border or not."""

    def __init__(self, stack: Stack, agent: Agent, spirals: Spirals) -> None:
        self._stack = stack
        self._agent = agent
        self._spirals = spirals

    def make(
        self,
        context: BranchContext,
        target: Target,
        destination: DialogTarget | None,
        from_provider: LegToProvider | None,
    ) -> Branch:
        """``destination`` is where a request in a dialog goes; ``from_provider`` leads back to the provider that a call
        came from. In a dialog nobody is woken: who is in a call is awake."""
        branch = self._make(context, target, destination, from_provider)
        if target.sleeps and destination is None and context.incoming.request.method in _WORTH_WAKING:
            withheld = withholds(context.incoming, context.references()[0])
            branch.waking = Waking(self._stack, branch, context, withheld)
        return branch

    def _make(
        self,
        context: BranchContext,
        target: Target,
        destination: DialogTarget | None,
        from_provider: LegToProvider | None,
    ) -> Branch:
        stack, flow = self._stack, context.incoming.flow
        reached = at_own_edge(target, context.incoming, stack.fleet.places) if target.echo else target
        if isinstance(destination, LegToPhone):
            way = LegToProvider(destination.provider, flow, 0, "", 0, destination.transfers)
            return PhoneBranch(stack, context, target, way, destination)
        if from_provider is not None:
            back = context.references()[1]
            way = replace(from_provider, tenant=back.tenant, started=back.started, salt=back.salt)
            if way.theirs == UNNUMBERED and stack.fleet.reads_joined:
                way = replace(way, theirs=context.incoming.cseq)
            branch = PhoneBranch(stack, context, reached, way, wanted=target)
            if target.provider is not None:
                branch.target = self._spirals.around(
                    target, context.incoming, stack.fleet.places, context.outcome, context.origin, branch.session
                )
            return branch
        if target.provider is not None or isinstance(destination, LegToProvider):
            way_out = destination if isinstance(destination, LegToProvider) else None
            return ProviderBranch(stack, context, target, self._agent, way_out)
        return Branch(stack, context, reached, wanted=target)
