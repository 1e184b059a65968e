"""What is used of limits, as far as edges can tell: for calls that have to do without a decision.

Theory of operation. With a decision comes what its payers may do and what they had used by then (``ScopeLimits``): the
newest of each is kept. From then on this edge counts itself: calls under way that it has begun, whoever decided them,
with their end as far as it is seen here or told by the peer where the BYE came; calls of this minute; and, of calls
begun without a decision, those of the day. Money is what was spent when it was decided, and what calls have cost here
since. A call without a decision is begun if these counts, with what the peers say of theirs, are below every limit.

So N edges can pass a limit together by as many calls as they begin in the moment in which they ask each other; an edge
that is restarted in the dark has forgotten its calls, and one that can't reach its peers counts alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lambdas.contract import ScopeLimits

SETUP = 600.0
"""Seconds for which a call that nobody has answered or given up counts, as at the control plane."""
LONGEST = 4 * 3600.0
"""Seconds for which an answered one does."""
_MOST = 20_000  # scopes, and calls


class ScopeUse(NamedTuple):
    """What one edge knows to be used of a scope: calls under way and of this minute; ``today`` and ``spent`` as the
    control plane had said last at ``at``, with the calls begun without it today (``undecided``) and what calls have
    cost since (``since``)."""

    calls: int = 0
    minute: int = 0
    undecided: int = 0
    since: float = 0.0
    today: int = 0
    spent: float = 0.0
    at: float = 0.0


@dataclass(slots=True)
class _Call:
    """One that this edge has begun. ``answered`` is 0 before that."""

    scopes: tuple[str, ...]
    expires: float
    rate: float = 0.0
    answered: float = 0.0
    legs: list[str] = field(default_factory=list)

    def cost(self, since: float, wall: float) -> float:
        return self.rate / 60 * max(0.0, wall - max(self.answered, since)) if self.answered else 0.0


@dataclass(slots=True)
class _Scope:
    limits: ScopeLimits | None = None
    at: float = 0.0
    calls: set[str] = field(default_factory=set)
    minute: int = 0
    in_minute: int = 0
    day: int = 0
    undecided: int = 0
    since: float = 0.0


class CallCounts:
    """``wall`` is Unix time; ``attempt`` is this edge's name for an INVITE, ``leg`` that of an answered one."""

    def __init__(self) -> None:
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._legs: dict[str, str] = {}

    def _scope(self, name: str) -> _Scope:
        found = self._scopes.get(name)
        if found is None:
            found = self._scopes[name] = _Scope()
            if len(self._scopes) > _MOST:
                self._scopes.popitem(last=False)
        return found

    # What is known of limits

    def note(self, limits: Iterable[ScopeLimits], wall: float) -> None:
        """A decision has just said so."""
        for one in limits:
            scope = self._scope(one.scope)
            scope.limits, scope.at, scope.since = one, wall, 0.0

    def limits(self, scopes: Iterable[str], kept: Sequence[ScopeLimits], wall: float) -> list[ScopeLimits]:
        """Those of ``scopes``, as last told; ``kept`` ones, as of today, where nothing newer is known."""
        self.note((one for one in kept if self._told(one.scope) is None), wall)
        names = dict.fromkeys((*(one.scope for one in kept), *scopes))
        return [told for told in map(self._told, names) if told is not None]

    def _told(self, name: str) -> ScopeLimits | None:
        scope = self._scopes.get(name)
        return scope.limits if scope is not None else None

    # Calls

    def begin(self, attempt: str, scopes: Iterable[str], wall: float, undecided: bool = False) -> None:
        """A call of these payers. Saying so twice does it once."""
        if attempt in self._calls:
            return
        call = self._calls[attempt] = _Call(tuple(scopes), wall + SETUP)
        minute = int(wall) // 60
        for name in call.scopes:
            scope = self._scope(name)
            scope.calls.add(attempt)
            if scope.minute != minute:
                scope.minute, scope.in_minute = minute, 0
            scope.in_minute += 1
            if scope.day != _day(wall):
                scope.day, scope.undecided = _day(wall), 0
            scope.undecided += undecided
        if len(self._calls) > _MOST:
            self.over(next(iter(self._calls)), wall)

    def answered(self, attempt: str, leg: str, rate: float, duration: int, wall: float) -> None:
        """It costs ``rate`` a minute from now on, for ``duration`` seconds at most (0: no limit)."""
        call = self._calls.get(attempt)
        if call is not None:
            call.rate, call.answered = rate, call.answered or wall
            call.expires = wall + (duration or LONGEST)
            call.legs.append(leg)
            self._legs[leg] = attempt

    def over(self, attempt: str, wall: float) -> None:
        """It has ended, or wasn't taken."""
        call = self._calls.pop(attempt, None)
        if call is None:
            return
        for leg in call.legs:
            self._legs.pop(leg, None)
        for name in call.scopes:
            scope = self._scopes.get(name)
            if scope is not None:
                scope.calls.discard(attempt)
                scope.since += call.cost(scope.at, wall)

    def leg_over(self, leg: str, wall: float) -> bool:
        """An answered call has ended; whether it is one of this edge's."""
        attempt = self._legs.pop(leg, None)
        if attempt is not None:
            self.over(attempt, wall)
        return attempt is not None

    # Counting

    def of(self, name: str, wall: float) -> ScopeUse:
        """What this edge knows of a scope."""
        scope = self._scopes.get(name)
        if scope is None:
            return ScopeUse()
        calls = [(attempt, self._calls[attempt]) for attempt in scope.calls]
        for attempt, call in calls:
            if call.expires <= wall:
                self.over(attempt, wall)
        live = [call for _, call in calls if call.expires > wall]
        today, limits = _day(wall), scope.limits
        told = limits is not None and _day(scope.at) == today
        return ScopeUse(
            len(live),
            scope.in_minute if scope.minute == int(wall) // 60 else 0,
            scope.undecided if scope.day == today else 0,
            scope.since + sum(call.cost(scope.at, wall) for call in live),
            limits.today if limits is not None and told else 0,
            limits.spent if limits is not None and told else 0.0,
            scope.at,
        )

    def __len__(self) -> int:
        return len(self._calls)


def together(uses: Sequence[ScopeUse]) -> ScopeUse:
    """What several processes of one edge know to be used of a scope."""
    newest = max(uses, key=lambda use: use.at)
    return ScopeUse(
        sum(use.calls for use in uses),
        sum(use.minute for use in uses),
        sum(use.undecided for use in uses),
        sum(use.since for use in uses),
        newest.today,
        newest.spent,
        newest.at,
    )


def broken(limits: ScopeLimits, uses: Iterable[ScopeUse]) -> str:
    """Which limit one call more would break, with what each edge has counted; "": none."""
    found = list(uses)
    newest = max(found, key=lambda use: use.at, default=ScopeUse())
    if limits.concurrent_calls is not None and sum(use.calls for use in found) >= limits.concurrent_calls:
        return f"{limits.concurrent_calls} calls at once (concurrent_calls)"
    if limits.calls_per_minute is not None and sum(use.minute for use in found) >= limits.calls_per_minute:
        return f"{limits.calls_per_minute} calls in this minute (calls_per_minute)"
    today = newest.today + sum(use.undecided for use in found)
    if limits.calls_per_day is not None and today >= limits.calls_per_day:
        return f"{limits.calls_per_day} calls today (calls_per_day)"
    spent = newest.spent + sum(use.since for use in found)
    if limits.daily_spend is not None and spent >= limits.daily_spend:
        return f"{limits.daily_spend:g} spent today (daily_spend)"
    return ""


def _day(wall: float) -> int:
    """Of UTC."""
    return int(wall // 86_400)
