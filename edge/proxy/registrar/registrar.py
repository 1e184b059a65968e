"""One REGISTER from its arrival to its answer: from a grant where nothing changes, else by a decision, and where none
can be had, from the grant again."""

from __future__ import annotations

from collections.abc import Iterable

from edge.proxy.location.bindings import HeldBinding, contact_params
from edge.proxy.location.grants import Grants, HeldGrant
from edge.proxy.registrar.registration import (
    DURABLE,
    GRACE,
    SHORT,
    SHORT_SPREAD,
    RegisterRequest,
    contact_headers,
    granted,
    patience,
    read,
    realm_of,
    report,
)
from edge.proxy.stack.answers import refuse, reject, respond, unavailable
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from edge.sip.incoming import Incoming
from edge.sip.transaction import ServerTransaction
from lambdas.contract import (
    SHORTEST,
    Accept,
    Binding,
    BindingChange,
    Challenge,
    Change,
    ContactField,
    Credentials,
    Decision,
    Order,
    Reject,
    binding_id,
    refusal,
)

_STEPS = 2  # of CSeq in a refresh with its challenge; more, and the phone may have registered elsewhere meanwhile
_MARGIN = 60.0  # seconds of durable expiry that must be left after a grant


class Registrar:
    """The registrar's front end at this edge."""

    def __init__(self, stack: Stack, grants: Grants) -> None:
        self._stack = stack
        self._grants = grants
        self._elsewhere: dict[str, tuple[tuple[Binding, float], ...]] = {}

    def register(self, incoming: Incoming, now: float) -> None:
        """Answer, at once or once it is decided. Raises Fault."""
        stack = self._stack
        fleet = stack.fleet
        realm = realm_of(incoming, fleet)
        credentials = stack.authenticator.credentials(incoming, realm, fleet, now)
        asked = read(incoming, realm)
        server = stack.serve(incoming, now)
        if self._refresh(asked, credentials, now):
            stack.counters["refreshes"] += 1
            self._answer(asked, server, now)
            return

        def decided(decision: Decision | None, at: float) -> None:
            match decision:
                case Accept():
                    self._keep(decision, asked, at)
                    self._answer(asked, server, at)
                case Reject():
                    reject(server, incoming.request, decision, at)
                case Challenge():
                    fault = stack.authenticator.fault(incoming, realm, stack.fleet, at)
                    refuse(server, incoming.request, fault, at)
                case None:
                    self._undecided(asked, credentials, server, at)
                case _:
                    respond(server, incoming.request, 500, at)

        stack.questions.ask(lambda ask: asked.question(ask, credentials, fleet), decided, now)

    def update(self, changes: Iterable[BindingChange], now: float) -> None:
        """What the location service has for our addresses: read after a start or takeover, or changed elsewhere."""
        bindings = self._stack.bindings
        for change in changes:
            flow = Flow(*change.flow)
            if change.expires:
                until = now + patience(change.contact, flow, change.expires)
                durable = now + change.expires
                new = HeldBinding(
                    change.aor, change.contact, flow, until, durable, durable, change.call_id, change.cseq,
                    change.tenant, contact_params(change.q, change.instance, change.reg_id),
                )  # fmt: skip
                bindings.put(change.id, new, now, fresh=False)
            elif bindings.present_flow(change.id) == flow:
                bindings.remove(change.id)

    def changed(self, change: Change, now: float) -> None:
        """The change feed says that an account, or where one of its phones is, has changed, or that all of a tenant's
        grants are void."""
        bindings = self._stack.bindings
        if change.tenant and change.version:
            bindings.changed.update(self._grants.revoke_tenant(change.tenant, now))
        if not change.aor:
            return
        if not change.binding:
            self._grants.revoke(change.aor, change.version)
            bindings.changed.add(change.aor)
            return
        for known, _ in bindings.of(change.aor):
            if change.binding in ("*", known):
                bindings.remove(known)

    def revalidate(self) -> None:
        """Something that the change feed said is lost: each phone's next refresh has to be decided, and nothing is made
        from grants before."""
        self._grants.clear()
        for _, held in self._stack.bindings.all():
            held.durable_until = min(held.durable_until, 0.0)

    def _answer(self, asked: RegisterRequest, server: ServerTransaction, now: float) -> None:
        here = [held for _, held in self._stack.bindings.of(asked.aor)]
        headers = contact_headers(here, self._elsewhere.get(asked.aor, ()), now)
        respond(server, asked.incoming.request, 200, now, headers)

    # From a grant

    def _refresh(self, asked: RegisterRequest, credentials: Credentials, now: float) -> bool:
        """Whether this REGISTER only refreshes what was decided: the same Contact on the same flow, in order, and
        known to the control plane for long enough."""
        if asked.star or len(asked.contacts) != 1:
            return False
        contact = asked.contacts[0]
        wanted = asked.wanted(contact)
        if wanted is not None and wanted < SHORTEST:
            return False
        binding = binding_id(asked.aor, contact.key)
        held = self._stack.bindings.get(binding)
        incoming = asked.incoming
        params = contact_params(contact.q, contact.instance, contact.reg_id)
        if held is None or not held.renewed_by(contact.uri, incoming.flow, incoming.call_id, params):
            return False
        if not held.cseq < incoming.cseq <= held.cseq + _STEPS:
            return False
        left = int(held.durable_until - now - GRACE - _MARGIN)
        seconds = min(granted(wanted, contact.uri, incoming.flow, binding), left)
        if seconds < min(SHORT, SHORT if wanted is None else wanted):
            return False
        if self._grants.get(asked.aor, credentials, "REGISTER", now) is None:
            return False  # perhaps the password has just been changed: that is for the control plane to say
        held.cseq = incoming.cseq
        held.granted_until = now + seconds
        held.wanted_until = now + min(DURABLE, DURABLE if wanted is None else wanted)
        return True

    # By a decision

    def _keep(self, accepted: Accept, asked: RegisterRequest, now: float) -> None:
        """Bring what this edge holds in line with a registrar's answer."""
        aor, flow_now = asked.aor, asked.incoming.flow
        stack = self._stack
        addresses = stack.fleet.epochs
        here = [binding for binding in accepted.bindings if binding.flow[0] in addresses]
        stack.bindings.keep_only(aor, [binding.id for binding in here])
        contacts = {binding_id(aor, contact.key): contact for contact in asked.contacts}
        for binding in here:
            contact = contacts.get(binding.id)
            fresh = contact is not None and Flow(*binding.flow) == flow_now
            stack.bindings.put(
                binding.id, self._held(binding, accepted, asked, contact if fresh else None, now), now, fresh
            )
        elsewhere = tuple(
            (binding, now + binding.expires) for binding in accepted.bindings if binding.flow[0] not in addresses
        )
        if elsewhere:
            self._elsewhere[aor] = elsewhere
        else:
            self._elsewhere.pop(aor, None)
        if accepted.grant is not None:
            self._grants.keep(aor, accepted.grant, now)

    def _held(
        self, binding: Binding, accepted: Accept, asked: RegisterRequest, contact: ContactField | None, now: float
    ) -> HeldBinding:
        """``binding`` of ``accepted`` as it is held here; ``contact`` asked for it, on this flow, if any did."""
        flow, durable = Flow(*binding.flow), now + binding.expires
        wanted = asked.wanted(contact) if contact is not None else None
        if accepted.grant is None:
            until = durable
        elif contact is not None:
            until = now + min(granted(wanted, binding.contact, flow, binding.id), binding.expires)
        else:
            until = now + patience(binding.contact, flow, binding.expires)
        held = HeldBinding(
            asked.aor, binding.contact, flow, until, durable, durable,
            tenant=accepted.grant.tenant if accepted.grant is not None else "",
            params=contact_params(binding.q, binding.instance, binding.reg_id),
        )  # fmt: skip
        if contact is not None:
            held.call_id, held.cseq = asked.incoming.call_id, asked.incoming.cseq
            held.wanted_until = min(durable, now + (DURABLE if wanted is None else wanted))
        return held

    # Without one

    def _undecided(
        self, asked: RegisterRequest, credentials: Credentials, server: ServerTransaction, now: float
    ) -> None:
        """The control plane is out of reach. Known accounts go on (static stability); the rest has to wait."""
        stack = self._stack
        grant = self._grants.get(asked.aor, credentials, "REGISTER", now)
        if grant is None or not stack.informed_lately(now):
            unavailable(server, asked.incoming.request, stack.counters, now)
            return
        refusal = self._refusal(asked)
        if refusal is not None:
            reject(server, asked.incoming.request, refusal, now)
            return
        stack.counters["undecided_registrations"] += 1
        for contact in asked.contacts:
            binding = binding_id(asked.aor, contact.key)
            if asked.wanted(contact) != 0:
                self._bind(binding, contact, asked, grant, now)
            else:
                self._unbind(binding, asked, now)
        if asked.star:
            for binding, _ in stack.bindings.of(asked.aor):
                self._unbind(binding, asked, now)
        self._answer(asked, server, now)

    def _refusal(self, asked: RegisterRequest) -> Reject | None:
        """Why the registrar wouldn't do it, as the control plane would say."""
        known = {binding: Order(held.call_id, held.cseq) for binding, held in self._stack.bindings.of(asked.aor)}
        wanted: dict[str, int | None] = dict.fromkeys(known, 0) if asked.star else {}
        wanted.update((binding_id(asked.aor, contact.key), asked.wanted(contact)) for contact in asked.contacts)
        return refusal(Order(asked.incoming.call_id, asked.incoming.cseq), wanted, known, known)

    def _bind(self, binding: str, contact: ContactField, asked: RegisterRequest, grant: HeldGrant, now: float) -> None:
        stack, incoming = self._stack, asked.incoming
        held = stack.bindings.get(binding)
        wanted = asked.wanted(contact)
        seconds = min(granted(wanted, contact.uri, incoming.flow, binding), SHORT + SHORT_SPREAD)
        same = held is not None and held.flow == incoming.flow and held.contact == contact.uri
        durable = held.durable_until if held is not None and same else now + DURABLE  # as far as anybody will know
        new = HeldBinding(
            asked.aor, contact.uri, incoming.flow, now + seconds, durable, now + min(DURABLE, wanted or DURABLE),
            incoming.call_id, incoming.cseq, grant.tenant,
            contact_params(contact.q, contact.instance, contact.reg_id),
        )  # fmt: skip
        stack.bindings.put(binding, new, now, fresh=True)
        if not same:
            stack.questions.journal(report(new, stack.wall(now), DURABLE))

    def _unbind(self, binding: str, asked: RegisterRequest, now: float) -> None:
        stack = self._stack
        held = stack.bindings.get(binding)
        if held is not None:
            stack.bindings.remove(binding)
            held.call_id, held.cseq = asked.incoming.call_id, asked.incoming.cseq
            stack.questions.journal(report(held, stack.wall(now), 0))
