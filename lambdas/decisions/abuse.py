"""When somebody is suspended or banned without anybody's saying so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lambdas.decisions.limits import longest

STRETCH = 600
"""Seconds over which attempts are added up."""
NEW = 86_400
"""Seconds for which a destination that was called for the first time counts as new."""
BAN_AFTER = 100
"""Failed authentications from one source in a stretch of time after which it is banned."""
COUNTED_AS_ONE = 20
"""Of those as one and the same account so many count: a phone with a wrong password tries all day, and mustn't have its
office banned; whoever guesses tries many accounts, or is slowed down by the edge."""
MOST_OTHERS = 50
"""Of the sources that have tried an account, and of the accounts that a source has tried, so many are kept."""
BAN_SECONDS = 3600


def weight(times: int, tried: Mapping[str, int]) -> int:
    """What ``times`` failures of a source count for: those that are ``tried`` as one account up to a bound, others in
    full."""
    return times - sum(max(0, count - COUNTED_AS_ONE) for count in tried.values())


@dataclass(frozen=True, slots=True)
class Rules:
    """A tenant's; 0 switches one off. An account is suspended after ``failures`` failed authentications from
    ``sources`` addresses or more, or after ``premium_calls`` calls to numbers of ``premium_prefixes`` that it has begun
    to call within a day; both in ten minutes."""

    failures: int = 0  # whoever knows an account's name could have it suspended
    sources: int = 3
    premium_prefixes: tuple[str, ...] = ()
    premium_calls: int = 5

    def guessed(self, failures: int, sources: int) -> str:
        """Why an account is to be suspended, or ""."""
        wanted = min(max(1, self.sources), MOST_OTHERS)  # more aren't kept
        if self.failures and failures >= self.failures and sources >= wanted:
            return f"{failures} failed authentications from {sources} addresses in {STRETCH // 60} minutes"
        return ""

    def premium(self, number: str) -> str:
        """The prefix that makes ``number`` a premium one, or ""."""
        length = longest(self.premium_prefixes, number)
        return number[:length] if length > 0 else ""

    def burst(self, calls: int, prefixes: Sequence[str]) -> str:
        """Why an account is to be suspended, or ""."""
        if self.premium_calls and calls >= self.premium_calls:
            return f"{calls} calls to new premium numbers ({', '.join(prefixes)}) in {STRETCH // 60} minutes"
        return ""


DEFAULT = Rules()
