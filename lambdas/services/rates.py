"""How often somebody may do something, as far as this process knows."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

_MOST = 10_000


class Recent:
    """The last so many of some texts."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        with self._lock:
            self._known[text] = None
            self._known.move_to_end(text)
            if len(self._known) > self._most:
                self._known.popitem(last=False)

    def drop(self, text: str) -> None:
        with self._lock:
            self._known.pop(text, None)

    def has(self, text: str) -> bool:
        with self._lock:
            return text in self._known


class Quota:
    """So many in ``seconds`` for each; saved up for no longer than that."""

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        self._most = most
        self._seconds = seconds
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def left(self, whose: str) -> bool:
        """Whether there is one left, without taking it."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.get(whose, (float(self._most), now))
            return left + (now - at) * self._most / self._seconds >= 1

    def take(self, whose: str) -> bool:
        """Whether there is one left."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.pop(whose, (float(self._most), now))
            left = min(self._most, left + (now - at) * self._most / self._seconds)
            self._left[whose] = (left - 1 if left >= 1 else left, now)
            if len(self._left) > _MOST:
                self._left.popitem(last=False)
            return left >= 1


class Gathered:
    """``most`` at first, then one in ``seconds`` for each; what is too much is gathered, and goes with the next one."""

    def __init__(self, most: int, seconds: float) -> None:
        self._quota = Quota(most, most * seconds)
        self._waiting: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, whose: str, number: int) -> int:
        """How many go now, these ``number`` among them; 0: none yet."""
        goes = self._quota.take(whose)
        with self._lock:
            number += self._waiting.pop(whose, 0)
            if goes:
                return number
            self._waiting[whose] = number
            if len(self._waiting) > _MOST:
                self._waiting.popitem(last=False)
            return 0
