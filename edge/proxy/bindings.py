"""The bindings on the edge addresses that this edge holds: which flows to keep open, and who is behind a flow."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from edge.proxy.keepalive import Keepalive
from edge.sip.flow import Flow
from lambdas.contract import BindingChange

_RETIRED_LIMIT = 10_000


class HeldBinding:
    """``expires_at`` is in the core's time."""

    __slots__ = ("aor", "contact", "expires_at", "flow")

    def __init__(self, aor: str, contact: str, flow: Flow, expires_at: float) -> None:
        self.aor = aor
        self.contact = contact
        self.flow = flow
        self.expires_at = expires_at


class HeldBindings:
    """All of them, by binding id and by flow. Keeps the Keepalive in step: a UDP flow is pinged while it has a
    binding."""

    def __init__(self, keepalive: Keepalive) -> None:
        self._keepalive = keepalive
        self._by_id: dict[str, HeldBinding] = {}
        self._by_flow: dict[Flow, tuple[str, ...]] = {}
        self._by_aor: dict[str, tuple[str, ...]] = {}
        self._retired: dict[Flow, None] = {}

    def put(self, binding: str, aor: str, contact: str, flow: Flow, expires_at: float, now: float, fresh: bool) -> None:
        """Add or replace a binding. ``fresh``: the phone has just been heard; otherwise it is read back, and its
        flow is old."""
        known = self._by_id.get(binding)
        if known is not None:
            if known.flow == flow:
                known.contact, known.expires_at = contact, expires_at
                return
            self.remove(binding)
            self._retire(known.flow)
        self._by_id[binding] = HeldBinding(aor, contact, flow, expires_at)
        ids = self._by_flow.get(flow, ())
        self._by_flow[flow] = (*ids, binding)
        self._by_aor[aor] = (*self._by_aor.get(aor, ()), binding)
        self._retired.pop(flow, None)
        if not ids and not flow.reliable:
            self._keepalive.add(flow, now, fresh)

    def apply(self, changes: Iterable[BindingChange], now: float) -> None:
        """What the control plane has for our addresses: read back after a start, or changed elsewhere."""
        for change in changes:
            flow = Flow(*change.flow)
            if change.expires:
                self.put(change.id, change.aor, change.contact, flow, now + change.expires, now, fresh=False)
            elif self.present_flow(change.id) == flow:
                self.remove(change.id)

    def remove(self, binding: str) -> None:
        """Forget a binding; nothing happens if it isn't known."""
        held = self._by_id.pop(binding, None)
        if held is None:
            return
        _discard(self._by_aor, held.aor, binding)
        if not _discard(self._by_flow, held.flow, binding):
            self._keepalive.remove(held.flow)

    def keep_only(self, aor: str, ids: Iterable[str]) -> None:
        """Of ``aor``'s bindings here, forget those not in ``ids``: the registrar's answer lists all there are."""
        keep = set(ids)
        for binding in self._by_aor.get(aor, ()):
            if binding not in keep:
                self.remove(binding)

    def on_flow(self, flow: Flow, aor: str) -> str:
        """The id of the binding of ``aor`` on ``flow``; "" if there is none."""
        for binding in self._by_flow.get(flow, ()):
            if self._by_id[binding].aor == aor:
                return binding
        return ""

    def present_flow(self, binding: str) -> Flow | None:
        """Where the binding is now, if it is here."""
        held = self._by_id.get(binding)
        return held.flow if held else None

    def contact(self, flow: Flow) -> str:
        """A Contact URI registered on ``flow``."""
        return self._by_id[self._by_flow[flow][0]].contact

    def retired(self, flow: Flow) -> bool:
        """Whether the phone that was on ``flow`` has moved to another: what is sent there is lost."""
        return flow in self._retired

    def _retire(self, flow: Flow) -> None:
        if flow not in self._by_flow:
            self._retired[flow] = None
            if len(self._retired) > _RETIRED_LIMIT:
                del self._retired[next(iter(self._retired))]

    def expire(self, flow: Flow, now: float) -> bool:
        """Forget bindings on ``flow`` that have run out; whether one is left."""
        for binding in self._by_flow.get(flow, ()):
            if self._by_id[binding].expires_at <= now:
                self.remove(binding)
        return flow in self._by_flow

    def drop_flow(self, flow: Flow) -> None:
        """The connection is gone, and with it the way to its phones."""
        for binding in self._by_flow.get(flow, ()):
            self.remove(binding)

    def sweep(self, now: float, addresses: Collection[str]) -> None:
        """Forget what has run out, and what belongs to addresses that are no longer held here."""
        gone = [
            key for key, held in self._by_id.items() if held.expires_at <= now or held.flow.address not in addresses
        ]
        for binding in gone:
            self.remove(binding)

    def __len__(self) -> int:
        return len(self._by_id)


_Key = TypeVar("_Key")


def _discard(index: dict[_Key, tuple[str, ...]], key: _Key, binding: str) -> bool:
    """Take ``binding`` out of an index; whether its entry still has others."""
    rest = tuple(other for other in index[key] if other != binding)
    if rest:
        index[key] = rest
    else:
        del index[key]
    return bool(rest)
