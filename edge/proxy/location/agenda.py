"""What is to be looked at when, so that nobody looks at everything: keys by the second."""

from __future__ import annotations

import heapq
from math import ceil
from typing import Generic, TypeVar

Key = TypeVar("Key")


class _Second(Generic[Key]):
    """``at``: seconds in the core's time, one object for all of its keys."""

    __slots__ = ("at", "keys")

    def __init__(self, at: int) -> None:
        self.at = at
        self.keys: list[Key] = []


class Agenda(Generic[Key]):
    """A key may stand in several seconds. Whoever put it there knows which of them counts (what ``put`` gave), so
    nothing is ever searched for or taken out: entries that count no more are passed over when they are due."""

    def __init__(self) -> None:
        self._seconds: dict[int, _Second[Key]] = {}
        self._order: list[int] = []  # a heap of the same seconds

    def put(self, key: Key, at: float) -> int:
        """Have ``key`` looked at in the first whole second from ``at`` on; which one that is."""
        number = ceil(at)
        second = self._seconds.get(number)
        if second is None:
            second = self._seconds[number] = _Second(number)
            heapq.heappush(self._order, number)
        second.keys.append(key)
        return second.at

    def due(self, now: float, most: int) -> list[tuple[int, Key]]:
        """Up to ``most`` entries, as (second, key); each is given once."""
        found: list[tuple[int, Key]] = []
        while self._order and self._order[0] <= now and len(found) < most:
            number = self._order[0]
            keys = self._seconds[number].keys
            rest = max(0, len(keys) - (most - len(found)))
            found += [(number, key) for key in keys[rest:]]
            del keys[rest:]
            if not keys:
                del self._seconds[heapq.heappop(self._order)]
        return found

    def __len__(self) -> int:
        """Entries, those that count no more included."""
        return sum(len(second.keys) for second in self._seconds.values())
