"""How long the loop's turns are: while one lasts, nobody else is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

EVERY = 0.02
"""Seconds between looks at the clock. A turn seems longer than it is by what others of these seconds took."""
_MINUTE = 60.0


class Longest:
    """The longest of this minute and of the one before, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._now = self._before = 0.0

    def note(self, seconds: float) -> None:
        self._turn()
        self._now = max(self._now, seconds)

    @property
    def seconds(self) -> float:
        self._turn()
        return max(self._now, self._before)

    def _turn(self) -> None:
        passed = self._clock() - self._since
        if passed >= _MINUTE:
            self._before = self._now if passed < 2 * _MINUTE else 0.0
            self._now = 0.0
            self._since += passed


class Pauses:
    """``turn`` and ``look`` are the longest turn of the loop, and the longest look for garbage, in CPU time of the
    loop's thread: other processes, and other threads' work, are no pauses of ours."""

    def __init__(self) -> None:
        self.turn = Longest()
        self.look = Longest()
        self._used = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._used = time.thread_time()
        self._again()

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._note)

    def _note(self) -> None:
        used = time.thread_time()
        self.turn.note(used - self._used)
        self._used = used
        self._again()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def seconds(self) -> dict[str, float]:
        """By kind."""
        return {"turn": self.turn.seconds, "garbage": self.look.seconds}
