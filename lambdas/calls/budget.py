"""What one decision may still use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

MOST_DIVERSIONS = 5
"""How often a call may be sent on to somewhere else, here and before it came here."""
MOST_TARGETS = 100
"""Phones and numbers that one decision rings, in all its stages; further legs are left out."""
MOST_OUTSIDE = 3
"""Addresses outside that one call is sent to, however often its script is asked again; further ones are left out."""
MOST_NUMBERS = 3
"""Numbers that one decision looks up by ENUM, beside those of scripts."""
TIME = 2.5
"""Seconds in which plans have to have decided: the edge waits for 4.5."""


class Budget:
    """Of one decision, which was diverted ``diversions`` times before it came here. ``monotonic`` tells the time in
    seconds."""

    def __init__(self, monotonic: Callable[[], float], diversions: int, outside: int = 0) -> None:
        """``outside``: so many addresses it has been sent to before its script was asked again."""
        self._monotonic = monotonic
        self._diversions = diversions
        self._end = monotonic() + TIME
        self._left = {"enum": MOST_NUMBERS, "targets": MOST_TARGETS}
        self._outside_before = outside
        self._hosts: set[str] = set()
        self._visited: list[str] = []

    @property
    def seconds(self) -> float:
        """That are left."""
        return self._end - self._monotonic()

    @property
    def late(self) -> bool:
        """Whether no more may be looked up."""
        return self.seconds < 0

    def take(self, what: Literal["enum", "targets"]) -> bool:
        """Whether there is one left."""
        if not self._left[what] or self.late:
            return False
        self._left[what] -= 1
        return True

    def take_outside(self, host: str) -> str:
        """Why the call may not be sent to ``host``; "" if it may, which counts."""
        if host in self._hosts:
            return f"{host} is called already"
        if self.outside >= MOST_OUTSIDE:
            return f"a call is sent to at most {MOST_OUTSIDE} addresses outside"
        self._hosts.add(host)
        return ""

    @property
    def outside(self) -> int:
        """How many addresses outside the call has been sent to, or will be."""
        return self._outside_before + len(self._hosts)

    def visit(self, aor: str) -> None:
        """The account's plan is asked."""
        self._visited.append(aor)

    def visited(self, aor: str) -> bool:
        return aor in self._visited

    @property
    def may_divert(self) -> bool:
        """Whether the call may be sent on once more."""
        return len(self._visited) + self._diversions <= MOST_DIVERSIONS
