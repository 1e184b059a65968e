"""A circuit breaker: nobody waits for a control plane that hasn't answered just now."""

from __future__ import annotations

import random

_FIRST, _LONGEST = 0.5, 8.0  # seconds
_FORGIVEN = 2  # bad answers in a row that may be those of single questions
_SILENCE = 30.0


class Breaker:
    """Open for a growing while after each failure; where nobody answered at all, until somebody does, since each try
    costs a phone seconds. Heartbeats ask anyway, and close it."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    def open(self, now: float) -> bool:
        return now < self._until

    def failed(self, now: float, silent: bool) -> None:
        """``silent``: no answer came, not even a bad one."""
        if silent:
            self._until = now + _SILENCE
            return
        self._failures = min(self._failures + 1, 10)
        if self._failures <= _FORGIVEN:
            return
        pause = min(_LONGEST, _FIRST * 2.0 ** (self._failures - _FORGIVEN - 1))
        self._until = now + random.uniform(pause / 2, pause)  # noqa: S311 - so that edges don't return in step

    def answered(self) -> None:
        self._failures = 0
        self._until = 0.0
