"""What strangers' messages may cost of the loop's time: when there are too many of them, those who are known go on.

Theory of operation. Messages of whoever has shown that he is there (``Stateless.proven``) are always taken. All others
together have half of the loop's time: what each takes is measured, and once that is used up the next ones are dropped
unread, for some microseconds each, until time has passed. Somebody new gets through a flood by sending again, as SIP
over UDP does. And a source that has had its answers for this second isn't read any further, unless it brings
credentials, which may prove it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow

SHARE = 0.5
"""Seconds of strangers' work in each second."""
_BURST = 0.05  # seconds of it at once
BESIEGED = 100
"""Messages dropped in a second, from which on what waits in the sockets is strangers' rather than phones'."""
_CREDENTIALS = b"uthorization"


class Shedding:
    """``clock`` is monotonic."""

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack = stack
        self._clock = clock
        self._left = _BURST
        self._at = clock()
        self._second = self._dropped = self._dropped_before = 0

    def message(self, flow: Flow, data: bytes, deliver: Callable[[Flow, bytes], None]) -> None:
        """Deliver it, unless there is no time for it."""
        now, stack = self._clock(), self._stack
        if stack.stateless.proven(flow, now):
            deliver(flow, data)
            return
        if not flow.reliable and stack.sources.silent(flow.host, now) and _CREDENTIALS not in data:
            stack.counters["slowed"] += 1
            self.drop(now)
            return
        self._left = min(_BURST, self._left + (now - self._at) * SHARE)
        self._at = now
        if self._left <= 0:
            stack.counters["shed"] += 1
            self.drop(now)
            return
        deliver(flow, data)
        self._left -= self._clock() - now

    def drop(self, now: float) -> None:
        """A message was."""
        self._turn(now)
        self._dropped += 1

    def besieged(self) -> bool:
        """Whether so many were in this second or the one before."""
        self._turn(self._clock())
        return max(self._dropped, self._dropped_before) >= BESIEGED

    def _turn(self, now: float) -> None:
        passed = int(now) - self._second
        if passed:
            self._second = int(now)
            self._dropped_before = self._dropped if passed == 1 else 0
            self._dropped = 0
