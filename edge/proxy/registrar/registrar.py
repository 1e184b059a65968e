"""One REGISTER from its arrival to its answer: from a grant where nothing changes, else by a decision, and where none
can be had, from the grant again."""

from __future__ import annotations

from edge.proxy.location.bindings import ContactParams, HeldBinding, contact_params
from edge.proxy.location.grants import HeldGrant
from edge.proxy.registrar.expiries import DURABLE, FLOW_TIMER, GRACE, SHORT, GrantedTimes, woken
from edge.proxy.registrar.feature_caps import feature_caps
from edge.proxy.registrar.register_request import AskedContact, RegisterRequest, read, realm_of
from edge.proxy.registrar.undecided import Undecided
from edge.proxy.stack.answers import date, refuse, reject, respond, unavailable
from edge.proxy.stack.gruu import public_gruu, temporary_gruu
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from edge.sip.incoming import Incoming
from edge.sip.message import Header
from edge.sip.transaction import ServerTransaction
from lambdas.contract import SHORTEST, Accept, Binding, Challenge, Decision, Push, Reject

_STEPS = 2  # of CSeq in a refresh with its challenge; more, and the phone may have registered elsewhere meanwhile
_MARGIN = 60.0  # seconds of durable expiry that must be left after a grant


class Registrar:
    """The registrar's front end at this edge."""

    def __init__(self, stack: Stack, times: GrantedTimes) -> None:
        self._stack = stack
        self._times = times
        self._undecided = Undecided(stack)
        self._elsewhere: dict[str, tuple[tuple[Binding, float], ...]] = {}

    def register(self, incoming: Incoming, now: float) -> None:
        """Answer, at once or once it is decided. Raises Fault."""
        stack = self._stack
        fleet = stack.fleet
        realm = realm_of(incoming, fleet, stack.own)
        presented = stack.authenticator.credentials(incoming, realm, fleet, now)
        asked = read(incoming, realm, fleet, self._times)
        grant = presented.grant if presented.account == asked.aor else None
        server = stack.serve(incoming, now)
        server.once = presented.grant is None
        if grant is not None and self._refresh(asked, now):
            stack.counters["refreshes"] += 1
            self._answer(asked, server, [], now)
            return

        def decided(decision: Decision | None, at: float) -> None:
            match decision:
                case Accept():
                    self._keep(decision, asked, at)
                    self._answer(asked, server, decision.services, at)
                case Reject():
                    reject(server, incoming.request, decision, at)
                case Challenge():
                    algorithms = decision.algorithms
                    fault = stack.authenticator.fault(incoming, asked.realm, stack.fleet, at, algorithms=algorithms)
                    refuse(server, incoming.request, fault, at)
                case None:
                    self._register_undecided(asked, grant, presented.nonce_made, server, at)
                case _:
                    respond(server, incoming.request, 500, at)

        silent = self._silent(asked, now)
        stack.ask_about(presented, incoming, lambda ask: asked.question(ask, presented, fleet, silent), decided, now)

    def _silent(self, asked: RegisterRequest, now: float) -> dict[str, float]:
        """Of the AOR's other UDP phones here, that answer pings or don't."""
        named = {asked.name(contact, self._stack.bindings) for contact in asked.contacts}
        return {
            binding: round(now - held.heard_at, 1)
            for binding, held in self._stack.bindings.of(asked.aor)
            if held.heard and not held.flow.reliable and binding not in named
        }

    def _register_undecided(
        self,
        asked: RegisterRequest,
        grant: HeldGrant | None,
        nonce_made: float,
        server: ServerTransaction,
        now: float,
    ) -> None:
        """The control plane is out of reach. Known accounts go on; the rest has to wait."""
        request = asked.incoming.request
        if grant is None or not self._stack.grants.holds(asked.aor, grant) or not self._stack.informed_lately(now):
            unavailable(server, request, self._stack.counters, now)
            return
        refused = self._undecided.register(asked, grant, nonce_made, now)
        if refused is not None:
            reject(server, request, refused, now)
        else:
            self._answer(asked, server, [], now)

    def _answer(self, asked: RegisterRequest, server: ServerTransaction, services: list[Push], now: float) -> None:
        """``services`` are those that it asks for. Whoever waits for the phone hears of it then."""
        bindings = self._stack.bindings
        here = [held for _, held in bindings.all_of(asked.aor)]
        headers = [
            _contact(
                held.contact,
                max(0.0, held.granted_until - now),
                held.params,
                self._gruus(asked, held.params.instance, held.call_id, now),
            )
            for held in here
        ]
        for binding, until in self._elsewhere.get(asked.aor, ()):
            if until > now:
                params = contact_params(binding.q, binding.instance, binding.reg_id)
                gruus = self._gruus(asked, binding.instance, binding.call_id, now)
                headers.append(_contact(binding.contact, until - now, params, gruus))
        headers += [("path", f"Path: {value}") for value in asked.path]  # RFC 3327 §5.3
        if asked.outbound:  # RFC 5626 §6
            headers.append(("require", "Require: outbound"))
            if asked.incoming.flow.reliable:
                headers.append(("flow-timer", f"Flow-Timer: {FLOW_TIMER}"))
                if not asked.path:
                    headers.append(self._service_route(asked.incoming.flow))
        registered = [bindings.get(asked.name(contact, bindings)) for contact in asked.contacts]
        headers += feature_caps(zip(asked.contacts, registered, strict=True), services)
        headers.append(date(self._stack.wall(now)))  # §10.3 step 8
        respond(server, asked.incoming.request, 200, now, headers)
        for contact, held in zip(asked.contacts, registered, strict=True):
            if held is not None and held.push is not None and contact.wanted != 0:
                self._stack.came(held, asked.name(contact, bindings), now)

    def _service_route(self, flow: Flow) -> Header:
        """The way that a phone's requests take by the connection that it is registered on (RFC 3608). Only phones that
        look after their connection get one: others would go on asking an edge that is gone."""
        return ("service-route", f"Service-Route: <sip:{self._stack.fleet.sent_by(flow)}{flow.uri_transport};lr>")

    def _gruus(self, asked: RegisterRequest, instance: str, call_id: str, now: float) -> str:
        """The parameters that name a Contact's GRUUs, to a phone that knows them (RFC 5627 §5.1)."""
        stack = self._stack
        if not (asked.gruu and instance and stack.fleet.knows_gruus):
            return ""
        scheme = asked.incoming.to_uri().scheme
        found = f';pub-gruu="{public_gruu(scheme, asked.aor, instance)}"'
        if call_id:
            temporary = temporary_gruu(scheme, asked.aor, instance, call_id, stack.fleet.tokens, stack.wall(now))
            found += f';temp-gruu="{temporary}"'
        return found

    # From a grant

    def _refresh(self, asked: RegisterRequest, now: float) -> bool:
        """Whether this REGISTER, whose credentials are right by the account's grant, only refreshes what was decided:
        the same Contact on the same flow, in order, and known to the control plane for long enough."""
        if asked.star or len(asked.contacts) != 1:
            return False
        incoming, contact = asked.incoming, asked.contacts[0]
        wanted = contact.wanted
        if contact.asks or (wanted is not None and wanted < SHORTEST):
            return False
        binding = asked.name(contact, self._stack.bindings)
        held = self._stack.bindings.get(binding)
        if held is None or not self._renews(contact, asked, held):
            return False
        if not held.cseq < incoming.cseq <= held.cseq + _STEPS:
            return False
        left = int(held.durable_until - now - GRACE - _MARGIN)
        seconds = min(contact.granted if held.push is None else woken(wanted), left)
        if seconds < min(SHORT, SHORT if wanted is None else wanted):
            return False
        held.cseq = incoming.cseq
        held.heard_at = held.taken_at = now
        held.granted_until = now + seconds
        held.wanted_until = now + min(DURABLE, DURABLE if wanted is None else wanted)
        self._stack.bindings.look_by(binding, held)  # it may have asked for less than before
        return True

    def _renews(self, contact: AskedContact, asked: RegisterRequest, held: HeldBinding) -> bool:
        """Whether it is about this very binding, from the same phone in the same life."""
        incoming = asked.incoming
        return (held.flow, held.contact, held.call_id, held.params, held.path) == (
            incoming.flow, contact.field.uri, incoming.call_id, contact.params, asked.path,
        )  # fmt: skip

    # By a decision

    def _keep(self, accepted: Accept, asked: RegisterRequest, now: float) -> None:
        """Bring what this edge holds in line with a registrar's answer."""
        aor, flow_now = asked.aor, asked.incoming.flow
        stack = self._stack
        here = [binding for binding in accepted.bindings if stack.here(Flow(*binding.flow))]
        stack.bindings.keep_only(aor, [binding.id for binding in here])
        fields = ((contact, contact.field) for contact in asked.contacts)
        contacts = {(field.uri, field.instance, field.reg_id): contact for contact, field in fields}
        for binding in here:
            contact = contacts.get((binding.contact, binding.instance, binding.reg_id))
            fresh = contact is not None and Flow(*binding.flow) == flow_now
            stack.bindings.put(
                binding.id, self._held(binding, accepted, asked, contact if fresh else None, now), now, fresh
            )
        elsewhere = tuple(
            (binding, now + binding.expires) for binding in accepted.bindings if not stack.here(Flow(*binding.flow))
        )
        if elsewhere:
            self._elsewhere[aor] = elsewhere
        else:
            self._elsewhere.pop(aor, None)
        if accepted.grant is not None:
            self._stack.grants.keep(aor, accepted.grant, now)
        stack.tell_registered(aor, accepted.grant, [binding.id for binding in here])

    def _held(
        self, binding: Binding, accepted: Accept, asked: RegisterRequest, contact: AskedContact | None, now: float
    ) -> HeldBinding:
        """``binding`` of ``accepted`` as it is held here; ``contact`` asked for it, on this flow, if any did."""
        durable = now + binding.expires
        flow = Flow(*binding.flow) if contact is None else asked.incoming.flow  # the same, once in memory
        wanted = contact.wanted if contact is not None else None
        if accepted.grant is None:
            until = durable
        elif contact is not None:
            granted = contact.granted if binding.push is None else woken(contact.wanted)
            until = now + min(granted, binding.expires)
        else:
            until = now + self._times.patience(flow, binding.expires, binding.push is not None)
        held = HeldBinding(
            asked.aor, binding.contact, flow, until, durable, durable,
            tenant=accepted.grant.tenant if accepted.grant is not None else "",
            params=contact_params(binding.q, binding.instance, binding.reg_id),
            path=tuple(binding.path), key=binding.key, push=binding.push,
        )  # fmt: skip
        if contact is not None:
            held.call_id, held.cseq = asked.incoming.call_id, asked.incoming.cseq
            held.wanted_until = min(durable, now + (DURABLE if wanted is None else wanted))
        return held


def _contact(contact: str, expires: float, params: ContactParams, gruus: str) -> Header:
    """A Contact of the 200 (§10.3 step 8)."""
    line = f"Contact: <{contact}>;expires={round(expires)}"
    if params.q != 1000:
        line += f";q={params.q / 1000:g}"
    if params.instance:
        instance = params.instance.replace("\\", "\\\\").replace('"', '\\"')
        line += f';+sip.instance="<{instance}>"{gruus}'
    if params.reg_id:
        line += f";reg-id={params.reg_id}"
    return ("contact", line)
