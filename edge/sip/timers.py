"""RFC 3261 timer values (§17, table 4), in seconds, and a heap of pending timers that never looks at a clock."""

from __future__ import annotations

import heapq
from typing import Protocol

T1 = 0.5  # round-trip estimate
T2 = 4.0  # longest retransmission interval of a non-INVITE request or an INVITE response
T4 = 5.0  # longest time a message stays in the network
TIMER_B = TIMER_F = TIMER_H = TIMER_J = TIMER_L = TIMER_M = 64 * T1
TIMER_TRYING = T1 + 2 * T1 + 4 * T1  # RFC 4320 §4.1: when the sender's Timer E is set to T2
TIMER_C = 185.0  # §16.6 step 11: more than three minutes
TIMER_D = 32.5  # §17.1.1.2: more than 32 s over UDP


class Timed(Protocol):
    """Something that timers fire at. ``timers`` maps a timer's name to the serial number of its present setting."""

    timers: dict[str, int]

    def on_timer(self, name: str, now: float) -> None: ...


class TimerHeap:
    """All pending timers. Stopping or setting a timer again leaves the old entry behind; its serial number is stale."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed, str]] = []
        self._serial = 0

    def start(self, target: Timed, name: str, at: float) -> None:
        """Set ``target``'s timer ``name`` to fire at ``at`` (monotonic seconds), replacing its earlier setting."""
        self._serial += 1
        target.timers[name] = self._serial
        heapq.heappush(self._heap, (at, self._serial, target, name))

    def deadline(self) -> float | None:
        """When the earliest live timer fires; None if there is none."""
        heap = self._heap
        while heap:
            at, serial, target, name = heap[0]
            if target.timers.get(name) == serial:
                return at
            heapq.heappop(heap)
        return None

    def fire(self, now: float) -> None:
        """Fire every timer that is due."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, serial, target, name = heapq.heappop(heap)
            if target.timers.get(name) == serial:
                del target.timers[name]
                target.on_timer(name, now)
