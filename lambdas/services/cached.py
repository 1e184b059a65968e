"""What a warm process remembers for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Cached(Generic[_Value]):
    """A value read again once it is ``seconds`` old."""

    def __init__(self, read: Callable[[], _Value], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._until = 0.0
        self._value: _Value | None = None

    def get(self, fresh: bool = False) -> _Value:
        now = time.monotonic()
        if self._value is None or fresh or now >= self._until:
            self._value = self._read()
            self._until = now + self._seconds
        return self._value

    def put(self, value: _Value) -> None:
        """It is ``value`` by now, for as long as the last reading counts."""
        self._value = value
