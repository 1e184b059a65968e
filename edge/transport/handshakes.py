"""When TLS handshakes begin, and how many are under way.

Theory of operation. A ClientHello costs its sender nothing and us a signature, about a millisecond with all that goes
with it. So the handshakes of those who have proven nothing begin at a steady rate, which leaves half of the loop's time
to everybody else; until then an accepted connection waits, which costs a few octets. As each source has few connections
at one time, nobody who is honest waits long behind one that isn't. And there is a bound to those that have begun and
don't end, each of which holds some 60 KB: past it the oldest goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_TICK = 0.02  # seconds

S = TypeVar("S", bound=Hashable)


class Handshakes(Generic[S]):
    """Those of streams ``S``. ``end`` ends one of them, which has to call ``over``."""

    def __init__(self, per_second: float, most: int, end: Callable[[S], None]) -> None:
        self._each_time = max(1, round(per_second * _TICK))
        self._left = self._each_time
        self._most = most
        self._end = end
        self._waiting: dict[S, Callable[[], None]] = {}
        self._begun: dict[S, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stream: S, proven: bool, start: Callable[[], None]) -> None:
        """Call ``start``, at once for whom ``proven`` tells, else when it is his turn."""
        self._waiting[stream] = start
        if proven:
            self._start(stream)
        elif self._left:
            self._left -= 1
            self._start(stream)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_TICK, self._go_on)

    def over(self, stream: S) -> None:
        """It has ended, well or not."""
        self._waiting.pop(stream, None)
        self._begun.pop(stream, None)

    def _go_on(self) -> None:
        self._timer = None
        self._left = self._each_time
        while self._waiting and self._left:
            self._left -= 1
            self._start(next(iter(self._waiting)))
        if self._left < self._each_time:
            self._timer = asyncio.get_running_loop().call_later(_TICK, self._go_on)

    def _start(self, stream: S) -> None:
        start = self._waiting.pop(stream)
        if len(self._begun) >= self._most:
            self._end(next(iter(self._begun)))
        self._begun[stream] = None
        start()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
