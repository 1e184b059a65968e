"""The bindings on the edge addresses that this edge holds: which flows to keep open, and who is behind a flow."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edge.proxy.location.agenda import Agenda
from edge.proxy.location.closed import ClosedBindings
from edge.proxy.location.contacts import compatible, equivalent, place_of
from edge.proxy.location.index import Index
from edge.proxy.location.keepalive import Keepalive
from edge.proxy.location.sleeping import SleepingBindings
from edge.sip.flow import Flow
from lambdas.contract import Push

_RETIRED_LIMIT = 10_000
_ENDED_LIMIT = 10_000
_NEVER = float("-inf")
NOTICE = 130.0
"""Seconds before it expires that a phone is to be told to refresh its binding: 120 at least (RFC 8599 §5.5), and where
many are due some are told a few seconds later."""


class ContactParams(NamedTuple):
    """What few phones say of a Contact: ``q`` in thousandths, instance and reg-id (RFC 5626 §4.1)."""

    q: int = 1000
    instance: str = ""
    reg_id: int = 0


PLAIN = ContactParams()


def contact_params(q: int, instance: str, reg_id: int) -> ContactParams:
    """One and the same for most phones. A reg-id counts only along with an instance (RFC 5626 §6)."""
    return PLAIN if q == 1000 and not instance else ContactParams(q, instance, reg_id if instance else 0)


@dataclass(slots=True)
class HeldBinding:
    """``granted_until`` is when the phone has to be heard again, ``wanted_until`` what it has asked for at most,
    ``durable_until`` what the control plane has, ``heard_at`` when the phone was heard last, by this process, and
    ``taken_at`` when its last REGISTER was; all in the core's time. ``cseq`` is that REGISTER's of ``call_id``;
    ``path`` leads from the flow to the phone (RFC 3327). ``key`` is what the control plane knows it by, "" as edges of
    before made it. ``push`` says how it is woken when it sleeps, None if it can't be; until ``nudged`` it has been told
    to refresh. In the second ``look_at`` it is looked at whether it has lapsed, or is to be woken."""

    aor: str
    contact: str
    flow: Flow
    granted_until: float
    durable_until: float
    wanted_until: float
    call_id: str = ""
    cseq: int = 0
    tenant: str = ""
    params: ContactParams = PLAIN
    path: tuple[str, ...] = ()
    key: str = ""
    push: Push | None = None
    nudged: float = _NEVER
    heard_at: float = _NEVER
    taken_at: float = _NEVER
    look_at: int = 0

    @property
    def refreshes_itself(self) -> bool:
        """While its connection is open: a page runs as long, other programs may be suspended."""
        return self.push is not None and self.push.provider == "webpush"

    @property
    def notice(self) -> float:
        """How long before it expires its phone is told to refresh it, in seconds: a short one has no time for more."""
        return min(NOTICE, (self.granted_until - self.taken_at) / 2)

    @property
    def heard(self) -> bool:
        """By this process."""
        return self.heard_at > _NEVER

    @property
    def taken(self) -> bool:
        """Whether this process has had a REGISTER of it."""
        return self.taken_at > _NEVER


class HeldBindings:
    """All of them, by binding id and by flow. Keeps the Keepalive in step: a UDP flow is pinged while it has a
    binding. ``changed`` collects the AORs whose bindings are no longer as they were remembered; ``closed`` has those
    whose connection has ended, which count no more; ``asleep`` those of them that can be woken."""

    def __init__(self, keepalive: Keepalive) -> None:
        self._keepalive = keepalive
        self._by_id: dict[str, HeldBinding] = {}
        self._by_flow: Index[Flow] = Index()
        self._by_aor: Index[str] = Index()
        self._by_place: Index[int] = Index()  # by the hash of the Contact's, which is all that is kept
        self._retired: dict[Flow, None] = {}
        self._ended: dict[Flow, None] = {}  # while REGISTERs that came on them may still be decided
        self._agenda: Agenda[str] = Agenda()
        self._addresses: frozenset[str] = frozenset()
        self._left: set[str] = set()  # addresses that are held here no longer, while bindings of theirs are left
        self._leaving: list[str] = []  # what may be such a binding
        self.changed: set[str] = set()
        self.closed: ClosedBindings[HeldBinding] = ClosedBindings()
        self.asleep: SleepingBindings[HeldBinding] = SleepingBindings()

    def put(self, binding: str, new: HeldBinding, now: float, fresh: bool) -> None:
        """Add or replace a binding. ``fresh``: the phone has just been heard; otherwise it is read
        back, its flow is old, and what the phone itself has told counts for more."""
        if new.flow in self._ended:
            self.close(binding, new, now)
            return
        if not fresh and (self.closed.has(binding, new.flow) or self.asleep.flow_of(binding) == new.flow):
            return
        self.changed.add(new.aor)
        if fresh:
            new.heard_at = new.taken_at = now
        known = self._by_id.get(binding)
        if known is not None:
            if known.heard and not fresh and known.flow != new.flow and known.flow.address not in self._left:
                return  # the phone itself has told where it is, and the control plane will hear of it
            if known.flow == new.flow:
                if fresh:
                    self._by_place.discard(hash(place_of(known.contact)), binding)
                    self._by_id[binding] = new
                    self._note_place(binding, new.contact)
                    new.look_at = known.look_at
                    self.look_by(binding, new)
                else:
                    known.durable_until = new.durable_until
                    known.key = new.key
                    if not known.heard:
                        known.call_id, known.cseq = new.call_id, new.cseq  # the disk doesn't have the CSeq
                    known.tenant = known.tenant or new.tenant
                return
            self.remove(binding)
            self._retire(known.flow)
        self.closed.discard(binding)
        self.asleep.discard(binding)
        self._by_id[binding] = new
        if new.flow not in self._by_flow and not new.flow.reliable:
            self._keepalive.add(new.flow, now, fresh)
        self._by_flow.add(new.flow, binding)
        self._by_aor.add(new.aor, binding)
        self._note_place(binding, new.contact)
        self.look_by(binding, new)
        self._retired.pop(new.flow, None)

    def _note_place(self, binding: str, contact: str) -> None:
        self._by_place.add(hash(place_of(contact)), binding)

    def remove(self, binding: str) -> None:
        """Forget a binding; nothing happens if it isn't known."""
        self.closed.discard(binding)
        sleeping = self.asleep.discard(binding)
        if sleeping is not None:
            self.changed.add(sleeping.aor)
        held = self._by_id.pop(binding, None)
        if held is None:
            return
        self.changed.add(held.aor)
        self._by_aor.discard(held.aor, binding)
        self._by_place.discard(hash(place_of(held.contact)), binding)
        if not self._by_flow.discard(held.flow, binding):
            self._keepalive.remove(held.flow)

    def keep_only(self, aor: str, ids: Iterable[str]) -> None:
        """Of ``aor``'s bindings here, forget those not in ``ids``: the registrar's answer lists all there are."""
        keep = set(ids)
        for binding, _ in self.all_of(aor):
            if binding not in keep:
                self.remove(binding)

    def get(self, binding: str) -> HeldBinding | None:
        return self._by_id.get(binding)

    def of(self, aor: str) -> list[tuple[str, HeldBinding]]:
        """The bindings of an AOR here: (id, binding)."""
        return [(binding, self._by_id[binding]) for binding in self._by_aor.get(aor)]

    def all_of(self, aor: str) -> list[tuple[str, HeldBinding]]:
        """The same, with those that sleep."""
        return [*self.of(aor), *self.asleep.of(aor)]

    def of_instance(self, binding: str) -> list[tuple[str, HeldBinding]]:
        """A binding here, or one whose connection has ended here, and the other flows of its instance."""
        mine = self._by_id.get(binding) or self.closed.get(binding)
        if mine is None:
            return []
        instance = mine.params.instance if mine.params.reg_id else ""
        others = [
            (other, held)
            for other, held in self.of(mine.aor)
            if other != binding and instance and held.params.reg_id and held.params.instance == instance
        ]
        return [(binding, mine), *others]

    def with_contact(self, uri: str, tenant: str) -> list[tuple[str, HeldBinding]]:
        """The bindings of ``tenant``'s accounts whose Contact is ``uri``, or, failing that, may be meant by it."""
        place = place_of(uri)
        found = [(binding, self._by_id[binding]) for binding in self._by_place.get(hash(place))] if place else []
        mine = [(binding, held) for binding, held in found if held.tenant == tenant and place_of(held.contact) == place]
        same = [(binding, held) for binding, held in mine if equivalent(held.contact, uri)]
        return same or [(binding, held) for binding, held in mine if compatible(held.contact, uri)]

    def on_flow(self, flow: Flow, aor: str) -> str:
        """The id of the binding of ``aor`` on ``flow``; "" if there is none."""
        for binding in self._by_flow.get(flow):
            if self._by_id[binding].aor == aor:
                return binding
        return ""

    def first_on(self, flow: Flow) -> str:
        """The id of a binding on ``flow``, whoever's; "" if there is none."""
        return self._by_flow.first(flow)

    def present_flow(self, binding: str) -> Flow | None:
        """Where the binding is now, if it is here."""
        held = self._by_id.get(binding)
        return held.flow if held else None

    def contact(self, flow: Flow) -> str:
        """A Contact URI registered on ``flow``; "" if there is none."""
        binding = self._by_flow.first(flow)
        return self._by_id[binding].contact if binding else ""

    def retired(self, flow: Flow) -> bool:
        """Whether the phone that was on ``flow`` has moved to another: what is sent there is lost."""
        return flow in self._retired

    def back(self, flow: Flow) -> None:
        """Somebody speaks from there, so what is sent there isn't lost: the phone that has moved may be back."""
        if self._retired:
            self._retired.pop(flow, None)

    def _retire(self, flow: Flow) -> None:
        if flow not in self._by_flow:
            _note(self._retired, flow, _RETIRED_LIMIT)

    def heard(self, flow: Flow, until: float, now: float) -> None:
        """A phone on ``flow`` lives: it needn't refresh before ``until``, unless it has asked for less. Of phones that
        are reached through other proxies that says nothing."""
        for binding in self._by_flow.get(flow):
            held = self._by_id[binding]
            if held.path:
                continue
            held.heard_at = now
            if held.granted_until < until:
                held.granted_until = max(held.granted_until, min(until, held.wanted_until))

    def close(self, binding: str, held: HeldBinding, now: float) -> None:
        """Its connection has ended, and with it the way to its phone, unless that is somewhere else by now, or can be
        woken."""
        known = self._by_id.get(binding)
        if known is not None:
            if known.heard and known.flow != held.flow:
                return
            self.remove(binding)
        if held.push is None:
            self.closed.put(binding, held, now)
        else:
            self.changed.add(held.aor)
            self.asleep.put(binding, held)
            self.look_by(binding, held)

    def drop_flow(self, flow: Flow, now: float) -> list[str]:
        """The connection has ended; whose bindings were on it."""
        if flow.connection:
            _note(self._ended, flow, _ENDED_LIMIT)
        dropped = [(binding, self._by_id[binding]) for binding in self._by_flow.get(flow)]
        for binding, held in dropped:
            self.close(binding, held, now)
        return [held.aor for _, held in dropped]

    # What is looked at again, a bounded number at a time

    def look_by(self, binding: str, held: HeldBinding, at: float = 0.0) -> None:
        """Have it looked at no later than at ``at``, or once it may have expired, or its phone is to be woken."""
        if not at:
            wakes = held.push is not None and not (held.refreshes_itself and binding in self._by_id)
            at = held.granted_until - held.notice if wakes else held.granted_until
        if not held.look_at or at < held.look_at:
            held.look_at = self._agenda.put(binding, at)

    def due(self, now: float, most: int) -> list[tuple[str, HeldBinding]]:
        """Up to ``most`` of those that are to be looked at by now. Each has to be looked at again some time, unless it
        goes (``look_by``)."""
        found: list[tuple[str, HeldBinding]] = []
        for second, binding in self._agenda.due(now, most):
            held = self._by_id.get(binding) or self.asleep.get(binding)
            if held is not None and held.look_at == second:
                held.look_at = 0
                found.append((binding, held))
        return found

    def keep_addresses(self, addresses: Collection[str]) -> None:
        """Forget what belongs to addresses other than ``addresses``: they are held here no longer. That is done bit by
        bit (``forget_left``), or at once where one of them comes back before it is done."""
        if not self._left.isdisjoint(addresses):
            self.forget_left(len(self._leaving))
        gone = self._addresses.difference(addresses)
        self._addresses = frozenset(addresses)
        if gone:
            self._left |= gone
            self._leaving += self._by_id
            self._leaving += self.asleep.ids()
            self.closed.keep_addresses(addresses)

    def forget_left(self, most: int) -> bool:
        """Look at ``most`` bindings that may belong to addresses which have left; whether more are to be."""
        for _ in range(min(most, len(self._leaving))):
            binding = self._leaving.pop()
            held = self._by_id.get(binding) or self.asleep.get(binding)
            if held is not None and held.flow.address in self._left:
                self.remove(binding)
        if not self._leaving:
            self._left.clear()
        return bool(self._leaving)

    def here(self, flow: Flow) -> bool:
        """Whether the flow's address hasn't left."""
        return flow.address not in self._left

    def ids(self) -> list[str]:
        """Of all bindings, those that sleep included, as they are now."""
        return [*self._by_id, *self.asleep.ids()]

    def __len__(self) -> int:
        return len(self._by_id)


def _note(flows: dict[Flow, None], flow: Flow, most: int) -> None:
    flows[flow] = None
    if len(flows) > most:
        del flows[next(iter(flows))]
