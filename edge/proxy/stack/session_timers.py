"""Calls whose ends have agreed to show now and then that they live (RFC 4028 §8.2, §9).

Theory of operation. The edge that has the caller's address notes until when a call is good: from its 2xx, and from each
request in it that refreshes its session, wherever that was seen (who sees one at another edge tells). A call that isn't
refreshed has lost its BYE, or its ends their power, and is reported to be lost; ending it takes what the control plane
has of it. Nothing is kept on disk: after a restart the next refresh has the call known again.

All are looked through at once, every few seconds: a timer for each would outlive most calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from edge.sip.timers import TimerHeap
from lambdas.contract import CallLost, CallName

_LOOK = 15.0  # seconds
_LATE = 32.0  # seconds for a refresh that was lost to be sent again
_MOST = 50_000
_WHY = "its session timer was not refreshed"


class SessionTimers:
    """``timers`` is read by the TimerHeap."""

    def __init__(self, heap: TimerHeap, journal: Callable[[CallLost], None], counters: Counter[str]) -> None:
        self.timers: dict[str, int] = {}
        self._heap = heap
        self._journal = journal
        self._counters = counters
        self._calls: dict[str, tuple[CallName, float]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def note(self, call: CallName, seconds: int, now: float) -> None:
        """It is good for ``seconds`` from now; 0: nobody says for how long."""
        if not seconds:
            self.forget(call.call)
            return
        if call.call not in self._calls and len(self._calls) >= _MOST:
            self._counters["session_timers_full"] += 1
            return
        if not self._calls:
            self._heap.start(self, "look", now + _LOOK)
        self._calls[call.call] = (call, now + seconds + _LATE)

    def forget(self, call: str) -> None:
        """It is over, or nobody can refresh it any more."""
        self._calls.pop(call, None)

    def on_timer(self, name: str, now: float) -> None:
        for call in [call for call, until in self._calls.values() if until <= now]:
            del self._calls[call.call]
            self._counters["sessions_expired"] += 1
            self._journal(CallLost(tenant=call.tenant, call=call.call, started=call.started, why=_WHY))
        if self._calls:
            self._heap.start(self, "look", now + _LOOK)
