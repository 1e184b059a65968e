"""Phones whose connection has ended, and who haven't come back yet.

Theory of operation. A stream can't be made anew from here (RFC 5626 §5.3), so from the moment it ends nobody is reached
by the bindings on it. The control plane has them in its table still, and isn't told at once: most phones are back on
another connection within seconds, and then one write has said it all. Until then

- every edge remembers which flows have ended, and says so with its questions, so that no decision counts on them;
- the edge whose bindings they were keeps these, to report them as gone if nobody comes.

A stream of before a start or takeover has ended, too: whoever held it isn't here any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from edge.sip.flow import Flow
from lambdas.contract import WireFlow

AWAY = 30.0
"""Seconds within which a phone may be back before it is reported as gone."""
_MOVING = 4.0  # seconds in which phones are back whose address moves
_RETURN = 6.0  # seconds: JsSIP connects again after 2, SIP.js registers again after 3.3 to 5.1
_REMEMBERED = 120.0  # seconds: until every Region has heard of it
_MOST = 20_000  # flows; as many as an edge has streams
_MOST_NAMED = 50  # flows in one question


class OnFlow(Protocol):
    """A binding, as far as it matters here."""

    flow: Flow


Held = TypeVar("Held", bound=OnFlow)


class ClosedBindings(Generic[Held]):
    """By id, in the order in which they are due."""

    def __init__(self) -> None:
        self._by_id: dict[str, tuple[Held, float]] = {}

    def has(self, binding: str, flow: Flow) -> bool:
        """Whether ``binding`` was on ``flow``, which has ended."""
        known = self._by_id.get(binding)
        return known is not None and known[0].flow == flow

    def get(self, binding: str) -> Held | None:
        known = self._by_id.get(binding)
        return known[0] if known is not None else None

    def put(self, binding: str, held: Held, now: float) -> None:
        """Its phone has until AWAY from now to come back; no longer if it is known."""
        if self.has(binding, held.flow):
            self._by_id[binding] = (held, self._by_id[binding][1])
        else:
            self._by_id.pop(binding, None)
            self._by_id[binding] = (held, now + AWAY)

    def discard(self, binding: str) -> None:
        """It is somewhere by now, or was removed."""
        self._by_id.pop(binding, None)

    def keep_addresses(self, addresses: Collection[str]) -> None:
        for binding in [key for key, (held, _) in self._by_id.items() if held.flow.address not in addresses]:
            del self._by_id[binding]

    def due(self, now: float, most: int) -> list[Held]:
        """Up to ``most`` of those that nobody has come back to in time; they are forgotten here."""
        found: list[Held] = []
        while self._by_id and len(found) < most:
            binding, (held, until) = next(iter(self._by_id.items()))
            if until > now:
                break
            del self._by_id[binding]
            found.append(held)
        return found

    def __len__(self) -> int:
        return len(self._by_id)


class ClosedFlows:
    """Streams of phones that have ended lately, at whichever edge, with the AORs that were registered on them.
    ``back_by``: when those are back whose address moves on purpose; past already if none does."""

    def __init__(self) -> None:
        self.back_by = 0.0
        self._ended: dict[Flow, tuple[float, frozenset[str]]] = {}
        self._of: dict[str, dict[Flow, None]] = {}

    def note(self, flow: Flow, aors: Iterable[str], now: float) -> bool:
        """Whether that is news."""
        if flow in self._ended:
            return False
        names = frozenset(aors)
        self._ended[flow] = (now + _REMEMBERED, names)
        for aor in names:
            self._of.setdefault(aor, {})[flow] = None
        self._forget(now)
        return True

    def has(self, flow: Flow) -> bool:
        return flow in self._ended

    def _forget(self, now: float) -> None:
        while self._ended:
            flow, (until, names) = next(iter(self._ended.items()))
            if until > now and len(self._ended) <= _MOST:
                break
            del self._ended[flow]
            for aor in names:
                rest = self._of[aor]
                del rest[flow]
                if not rest:
                    del self._of[aor]

    def expect_back(self, now: float) -> None:
        """Phones are made to come to another edge."""
        self.back_by = now + _MOVING

    def back_in_browser(self, aors: Iterable[str]) -> float:
        """By when phones of ``aors`` are back whose WebSocket has ended: browsers make another one by themselves. 0 if
        there are none."""
        flows = (flow for aor in aors for flow in self._of.get(aor, {}) if flow.transport in ("ws", "wss"))
        return max((self._ended[flow][0] - _REMEMBERED + _RETURN for flow in flows), default=0.0)

    def named(self, aors: Iterable[str], now: float) -> list[WireFlow]:
        """For a question about ``aors``: theirs first, and of the others, whom a plan may lead to, the latest."""
        self._forget(now)
        flows = {flow: None for aor in aors for flow in reversed(self._of.get(aor, {}))}
        for flow in reversed(self._ended):
            if len(flows) >= _MOST_NAMED:
                break
            flows[flow] = None
        return [flow.wire for flow in list(flows)[:_MOST_NAMED]]

    def __len__(self) -> int:
        return len(self._ended)
