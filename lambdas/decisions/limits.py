"""What accounts and tenants may do: where to, how many calls at once and in which time, for how long, for how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

SETUP = 600
"""Seconds for which a call that nobody has reported on counts as being set up."""
LONGEST = 4 * 3600
"""Seconds for which an answered call counts that nobody has seen end, if it has no limit of its own."""
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class CallLimits:
    """None stands for no limit, of ``relayed_calls`` for the usual one; these are counted at each edge address by
    itself. Prefixes are of E.164 numbers, or of what is dialled; money is in the unit of the rate table; a call past
    ``max_call_seconds`` is ended."""

    concurrent_calls: int | None = None
    calls_per_minute: int | None = None
    calls_per_day: int | None = None
    daily_spend: float | None = None
    max_call_seconds: int | None = None
    registrations: int | None = None
    allowed_prefixes: tuple[str, ...] | None = None
    blocked_prefixes: tuple[str, ...] | None = None
    relayed_calls: int | None = None

    def otherwise(self, others: CallLimits) -> CallLimits:
        """With those of ``others`` where there is none."""
        return CallLimits(
            *(
                getattr(others, field.name) if getattr(self, field.name) is None else getattr(self, field.name)
                for field in fields(CallLimits)
            )
        )

    @property
    def counting(self) -> bool:
        """Whether calls have to be counted for them."""
        counted = (self.concurrent_calls, self.calls_per_minute, self.calls_per_day, self.daily_spend)
        return any(limit is not None for limit in counted)

    @property
    def chooses(self) -> bool:
        """Whether it matters which number is called."""
        return bool(self.blocked_prefixes) or self.allowed_prefixes is not None

    def permits(self, number: str) -> bool:
        """Whether ``number`` may be called. The longest prefix that is in one of the lists decides; one in both is
        blocked."""
        allowed = longest(self.allowed_prefixes or ("",), number)
        blocked = longest(self.blocked_prefixes or (), number)
        return allowed > blocked


def longest(prefixes: Iterable[str], number: str) -> int:
    """The length of the longest of ``prefixes`` that ``number`` begins with; -1 if there is none."""
    return max((len(prefix) for prefix in prefixes if number.startswith(prefix)), default=-1)


NONE = CallLimits()
EMERGENCY = CallLimits(concurrent_calls=5, calls_per_minute=20)
"""Of an account's emergency calls, which have no other: enough for whoever is in need, too few for a flood."""
_EMERGENCY_SCOPE = "emergency "


def emergency_scope(aor: str) -> str:
    """What counts an account's emergency calls."""
    return _EMERGENCY_SCOPE + aor


def is_emergency_scope(scope: str) -> bool:
    return scope.startswith(_EMERGENCY_SCOPE)


@dataclass(frozen=True, slots=True)
class NumberRate:
    """What a minute costs of calls to numbers that begin with ``prefix``; seconds count."""

    prefix: str
    per_minute: float


def rate_of(number: str, rates: Sequence[NumberRate]) -> float:
    """The rate of the longest prefix; what no prefix fits costs nothing."""
    fitting = [rate for rate in rates if number and number.startswith(rate.prefix)]
    return max(fitting, key=lambda rate: len(rate.prefix)).per_minute if fitting else 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """Calls that one Region has admitted in a minute (Unix time / 60) and on a day (YYYY-MM-DD, UTC)."""

    minute: int = 0
    in_minute: int = 0
    day: str = ""
    in_day: int = 0

    def at(self, minute: int, day: str) -> Count:
        """As it is then."""
        in_minute = self.in_minute if self.minute == minute else 0
        in_day = self.in_day if self.day == day else 0
        return Count(minute, in_minute, day, in_day)


@dataclass(frozen=True, slots=True)
class Slot:
    """A call that is under way. ``rate`` is a minute's; ``answered`` 0 before that; ``latest`` is when it has to end
    whatever it costs. Times are Unix time in seconds."""

    call: str
    expires: float
    rate: float = 0.0
    answered: float = 0.0
    latest: float = 0.0

    def cost(self, now: float) -> float:
        """So far."""
        return self.rate * max(0.0, now - self.answered) / _MINUTE if self.answered else 0.0


@dataclass(frozen=True, slots=True)
class Used:
    """What an account or tenant has used: ``own`` and ``others`` are the counts of this Region and of the other ones;
    ``spent`` is the day's, of calls that have ended."""

    own: Count
    others: tuple[Count, ...]
    slots: tuple[Slot, ...]
    spent: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """One call more: this Region's count with it, calls of the ``day`` in all Regions, and what the day's have cost so
    far."""

    own: Count
    today: int
    spent: float


def admit(limits: CallLimits, used: Used, call: str, now: float, day: str) -> Admitted | str:
    """One call more, or which limit that would break. A call that has a slot is admitted already, and counts no
    more."""
    minute = int(now) // _MINUTE
    own = used.own.at(minute, day)
    live = [slot for slot in used.slots if slot.expires > now]
    counts = [own, *(count.at(minute, day) for count in used.others)]
    today = sum(count.in_day for count in counts)
    spent = used.spent + sum(slot.cost(now) for slot in live)
    if any(slot.call == call for slot in live):
        return Admitted(own, today, spent)
    if limits.concurrent_calls is not None and len(live) >= limits.concurrent_calls:
        return f"{limits.concurrent_calls} calls at once (concurrent_calls)"
    if limits.calls_per_minute is not None and sum(count.in_minute for count in counts) >= limits.calls_per_minute:
        return f"{limits.calls_per_minute} calls in this minute (calls_per_minute)"
    if limits.calls_per_day is not None and today >= limits.calls_per_day:
        return f"{limits.calls_per_day} calls today (calls_per_day)"
    if limits.daily_spend is not None and spent >= limits.daily_spend:
        return f"{limits.daily_spend:g} spent today (daily_spend)"
    return Admitted(replace(own, in_minute=own.in_minute + 1, in_day=own.in_day + 1), today + 1, spent)


def money_lasts_until(limits: CallLimits, used: Used, now: float) -> float:
    """When the calls that are under way will have used up the day's money, if none begins or ends."""
    burning = [slot for slot in used.slots if slot.answered and slot.rate and slot.expires > now]
    if limits.daily_spend is None or not burning:
        return float("inf")
    left = limits.daily_spend - used.spent - sum(slot.cost(now) for slot in burning)
    return now + max(0.0, left) * _MINUTE / sum(slot.rate for slot in burning)


def sums(used: Used, now: float, day: str) -> dict[str, float]:
    """For people to see."""
    counts = [count.at(int(now) // _MINUTE, day) for count in (used.own, *used.others)]
    live = [slot for slot in used.slots if slot.expires > now]
    return {
        "calls": len(live),
        "this_minute": sum(count.in_minute for count in counts),
        "today": sum(count.in_day for count in counts),
        "spent_today": round(used.spent + sum(slot.cost(now) for slot in live), 4),
    }
