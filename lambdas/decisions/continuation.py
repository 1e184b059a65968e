"""What an edge brings back when it asks again about a call: which function of which script is to go on."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 5
"""Times that a script is asked again in one call."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """``plan`` is the plan's name, ``version`` the one that the call began by, ``owner`` the account whose calls it
    decides ("" : a provider account's, or the tenant's outgoing ones), ``times`` how often it was asked again,
    ``outside`` how many addresses outside it has been sent to."""

    plan: str
    version: int
    function: str
    owner: str
    times: int
    outside: int = 0

    def __str__(self) -> str:
        return f"{self.plan} {self.version} {self.function} {self.times}/{self.outside} {self.owner}"

    @classmethod
    def parse(cls, text: str) -> Continuation | None:
        """None if it can't be read."""
        plan, version, function, times, owner = [*text.split(" ", 4), "", "", "", "", ""][:5]
        times, _, outside = times.partition("/")
        if not (version.isdecimal() and times.isdecimal() and function and plan):
            return None
        return cls(plan, int(version), function, owner, int(times), int(outside) if outside.isdecimal() else 0)
