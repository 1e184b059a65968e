"""One REGISTER from its arrival to its answer: from a grant where nothing changes, else by a decision, and where none
can be had, from the grant again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge.proxy.location.bindings import HeldBinding, extras
from edge.proxy.location.grants import Grants, HeldGrant
from edge.proxy.registrar.registration import (
    DURABLE,
    GRACE,
    MOST_CONTACTS,
    SHORT,
    SHORT_SPREAD,
    SHORTEST,
    Registration,
    contact_headers,
    granted,
    patience,
    read,
    realm_of,
    report,
)
from edge.proxy.stack.validation import Incoming
from edge.sip.flow import Flow
from edge.sip.transaction import ServerTransaction
from lambdas.contract import (
    Accept,
    Binding,
    BindingChange,
    Challenge,
    Change,
    ContactField,
    Credentials,
    Decision,
    Reject,
    binding_id,
)

if TYPE_CHECKING:
    from edge.proxy.core import Core

_STEPS = 2  # of CSeq in a refresh with its challenge; more, and the phone may have registered elsewhere meanwhile
_MARGIN = 60.0  # seconds of durable expiry that must be left after a grant


class Registrar:
    """The registrar's front end at this edge."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.grants = Grants()
        self._elsewhere: dict[str, tuple[tuple[Binding, float], ...]] = {}

    def register(self, incoming: Incoming, server: ServerTransaction, now: float) -> None:
        """Answer, at once or once it is decided. Raises Fault."""
        core = self._core
        fleet = core.fleet_now
        realm = realm_of(incoming, fleet)
        credentials = core.authenticator.credentials(incoming, realm, fleet, now)
        asked = read(incoming, realm)
        if self._refresh(asked, credentials, now):
            core.counters["refreshes"] += 1
            self._answer(asked, server, now)
            return

        def decided(decision: Decision | None, at: float) -> None:
            match decision:
                case Accept():
                    self._keep(decision, asked, at)
                    self._answer(asked, server, at)
                case Reject():
                    core.reject(server, incoming, decision, at)
                case Challenge():
                    core.challenge(server, incoming, realm, at)
                case None:
                    self._undecided(asked, credentials, server, at)
                case _:
                    core.respond(server, incoming.request, 500, at)

        token = core.new_token()
        core.put_question(token, asked.question(token, credentials, fleet), decided, now)

    def read_back(self, changes: Iterable[BindingChange], now: float) -> None:
        """What the control plane has for our addresses: read back after a start or takeover, or changed elsewhere."""
        bindings = self._core.bindings
        for change in changes:
            flow = Flow(*change.flow)
            if change.expires:
                until = now + patience(change.contact, flow, change.expires)
                new = HeldBinding(change.aor, change.contact, flow, until, now + change.expires)
                new.tenant, new.call_id, new.cseq = change.tenant, change.call_id, change.cseq
                new.extras = extras(change.q, change.instance, change.reg_id)
                bindings.put(change.id, new, now, fresh=False)
            elif bindings.present_flow(change.id) == flow:
                bindings.remove(change.id)

    def fed(self, change: Change, now: float) -> None:
        """The change feed says that an account, or where one of its phones is, has changed, or that all of a tenant's
        grants are void."""
        bindings = self._core.bindings
        if change.tenant and change.version:
            bindings.changed.update(self.grants.revoke_tenant(change.tenant, now))
        if not change.aor:
            return
        if not change.binding:
            self.grants.revoke(change.aor, change.version)
            bindings.changed.add(change.aor)
            return
        for known, _ in bindings.of(change.aor):
            if change.binding in ("*", known):
                bindings.remove(known)

    def revalidate(self) -> None:
        """Something that the change feed said is lost: each phone's next refresh has to be decided, and nothing is made
        from grants before."""
        self.grants.clear()
        for _, held in self._core.bindings.all():
            held.durable_until = min(held.durable_until, 0.0)

    def _answer(self, asked: Registration, server: ServerTransaction, now: float) -> None:
        here = [held for _, held in self._core.bindings.of(asked.aor)]
        headers = contact_headers(here, self._elsewhere.get(asked.aor, ()), now)
        self._core.respond(server, asked.incoming.request, 200, now, headers)

    # From a grant

    def _refresh(self, asked: Registration, credentials: Credentials, now: float) -> bool:
        """Whether this REGISTER only refreshes what was decided: the same Contact on the same flow, in order, and
        known to the control plane for long enough."""
        if asked.star or len(asked.contacts) != 1:
            return False
        contact = asked.contacts[0]
        wanted = asked.wanted(contact)
        if wanted is not None and wanted < SHORTEST:
            return False
        binding = binding_id(asked.aor, contact.key)
        held = self._core.bindings.get(binding)
        incoming = asked.incoming
        if (
            held is None
            or held.flow != incoming.flow
            or held.contact != contact.uri
            or held.call_id != incoming.call_id
            or not held.cseq < incoming.cseq <= held.cseq + _STEPS
            or held.extras != extras(contact.q, contact.instance, contact.reg_id)
        ):
            return False
        left = int(held.durable_until - now - GRACE - _MARGIN)
        seconds = min(granted(wanted, contact.uri, incoming.flow, binding), left)
        if seconds < min(SHORT, SHORT if wanted is None else wanted):
            return False
        if self.grants.get(asked.aor, credentials, "REGISTER", now) is None:
            return False  # perhaps the password has just been changed: that is for the control plane to say
        held.cseq = incoming.cseq
        held.granted_until = now + seconds
        held.wanted_until = now + min(DURABLE, DURABLE if wanted is None else wanted)
        return True

    # By a decision

    def _keep(self, accepted: Accept, asked: Registration, now: float) -> None:
        """Bring what this edge holds in line with a registrar's answer."""
        core, aor = self._core, asked.aor
        addresses = core.fleet_now.epochs
        here = [binding for binding in accepted.bindings if binding.flow[0] in addresses]
        core.bindings.keep_only(aor, [binding.id for binding in here])
        contacts = {binding_id(aor, contact.key): contact for contact in asked.contacts}
        for binding in here:
            contact = contacts.get(binding.id)
            flow = Flow(*binding.flow)
            fresh = contact is not None and flow == asked.incoming.flow
            durable = now + binding.expires
            if accepted.grant is None:
                until = durable
            elif contact is not None and fresh:
                seconds = granted(asked.wanted(contact), binding.contact, flow, binding.id)
                until = now + min(seconds, binding.expires)
            else:
                until = now + patience(binding.contact, flow, binding.expires)
            new = HeldBinding(aor, binding.contact, flow, until, durable)
            new.tenant = accepted.grant.tenant if accepted.grant is not None else ""
            new.extras = extras(binding.q, binding.instance, binding.reg_id)
            if fresh:
                new.call_id, new.cseq = asked.incoming.call_id, asked.incoming.cseq
                wanted = asked.wanted(contact) if contact is not None else None
                new.wanted_until = min(durable, now + (DURABLE if wanted is None else wanted))
            core.bindings.put(binding.id, new, now, fresh)
        elsewhere = tuple(
            (binding, now + binding.expires) for binding in accepted.bindings if binding.flow[0] not in addresses
        )
        if elsewhere:
            self._elsewhere[aor] = elsewhere
        else:
            self._elsewhere.pop(aor, None)
        if accepted.grant is not None:
            self.grants.keep(aor, accepted.grant, now)

    # Without one

    def _undecided(self, asked: Registration, credentials: Credentials, server: ServerTransaction, now: float) -> None:
        """The control plane is out of reach. Known accounts go on (static stability); the rest has to wait."""
        core = self._core
        grant = self.grants.get(asked.aor, credentials, "REGISTER", now)
        if grant is None or not core.informed_lately(now):
            core.unavailable(server, asked.incoming, now)
            return
        wanted = [asked.wanted(contact) for contact in asked.contacts]
        if any(seconds is not None and 0 < seconds < SHORTEST for seconds in wanted):
            core.reject(server, asked.incoming, Reject(status=423, min_expires=SHORTEST), now)
            return
        ids = [binding_id(asked.aor, contact.key) for contact in asked.contacts]
        if asked.star:
            ids = [binding for binding, _ in core.bindings.of(asked.aor)]
        for binding in ids:
            held = core.bindings.get(binding)
            if held is not None and held.call_id == asked.incoming.call_id and asked.incoming.cseq <= held.cseq:
                reason = "Server Internal Error: CSeq is not higher than the last one's"
                core.reject(server, asked.incoming, Reject(status=500, reason=reason), now)
                return
        known = {binding for binding, _ in core.bindings.of(asked.aor)}
        if not asked.star and len(known | set(ids)) > max(MOST_CONTACTS, len(known)):
            reason = f"Forbidden: more than {MOST_CONTACTS} bindings"
            core.reject(server, asked.incoming, Reject(status=403, reason=reason), now)
            return
        core.counters["undecided_registrations"] += 1
        for binding, contact in zip(ids, asked.contacts, strict=False):
            if asked.wanted(contact) != 0:
                self._bind(binding, contact, asked, grant, now)
        for binding, seconds in zip(ids, [0] * len(ids) if asked.star else wanted, strict=True):
            if seconds == 0:
                self._unbind(binding, asked, now)
        self._answer(asked, server, now)

    def _bind(self, binding: str, contact: ContactField, asked: Registration, grant: HeldGrant, now: float) -> None:
        core, incoming = self._core, asked.incoming
        held = core.bindings.get(binding)
        seconds = min(granted(asked.wanted(contact), contact.uri, incoming.flow, binding), SHORT + SHORT_SPREAD)
        same = held is not None and held.flow == incoming.flow and held.contact == contact.uri
        durable = held.durable_until if held is not None and same else 0.0
        new = HeldBinding(asked.aor, contact.uri, incoming.flow, now + seconds, durable)
        new.call_id, new.cseq, new.tenant = incoming.call_id, incoming.cseq, grant.tenant
        new.wanted_until = now + min(DURABLE, asked.wanted(contact) or DURABLE)
        new.extras = extras(contact.q, contact.instance, contact.reg_id)
        core.bindings.put(binding, new, now, fresh=True)
        if not same:
            core.journal(report(new, core.wall(now), DURABLE))
            new.durable_until = now + DURABLE  # as far as anybody will know

    def _unbind(self, binding: str, asked: Registration, now: float) -> None:
        core = self._core
        held = core.bindings.get(binding)
        if held is not None:
            core.bindings.remove(binding)
            held.call_id, held.cseq = asked.incoming.call_id, asked.incoming.cseq
            core.journal(report(held, core.wall(now), 0))
