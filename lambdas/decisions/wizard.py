"""Which rules of a plan fire for a call, and what becomes of it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from lambdas.decisions.rules import DAYS, Example, Hours, Leg, Outcome, Plan, Ring, Rule, When

OUTCOMES: dict[Outcome, tuple[int, ...]] = {
    "busy": (486, 600),
    "declined": (603, 607, 608),
    "no-answer": (408, 487),
    "unreachable": (404, 410, 430, 480, 500, 502, 503, 504),
    "failed": (),
}
"""The statuses that each outcome stands for; none stands for all."""


@dataclass(frozen=True, slots=True)
class Call:
    """``caller`` and ``called`` as the request has them, a number or an AOR; ``at`` is Unix time. ``registered`` tells
    whether an account has a phone."""

    direction: str
    caller: str
    called: str
    at: float
    registered: Callable[[str], bool]
    provider: str = ""

    @property
    def anonymous(self) -> bool:
        """RFC 3323 §4.1.1.3."""
        return self.caller.lower().startswith("anonymous")


@dataclass(frozen=True, slots=True)
class Step:
    """Ring ``legs``, if what was before had one of ``statuses`` (empty: whatever it had)."""

    legs: tuple[Leg, ...]
    timeout: float
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``steps`` in order; then ``status`` and ``reason`` (0: the best answer), or ``redirect``. ``as_dialled``: after
    the steps, or without any, go on as if there were no plan. ``fired`` has each rule's name and why it did or
    didn't."""

    steps: tuple[Step, ...] = ()
    status: int = 0
    reason: str = ""
    redirect: str = ""
    as_dialled: bool = False
    called: str = ""
    caller_id: str = ""
    fired: tuple[tuple[str, str], ...] = field(default=(), compare=False)


def evaluate(plan: Plan, call: Call, explain: bool = False) -> Verdict:
    """Read the rules from the top. ``explain``: say of each why it fired or didn't."""
    steps: list[Step] = []
    fired: list[tuple[str, str]] = []
    called, caller_id = call.called, ""
    clock = _clock_of(plan, call.at)
    end = Verdict()
    for rule in plan.rules:
        why = _why_not(rule.when, plan, call, called, clock, bool(steps))
        if explain:
            fired.append((rule.name, why or "fired"))
        if why:
            continue
        called = rule.prefix + called[rule.strip :]
        caller_id = rule.caller_id or caller_id
        if rule.ring is not None:
            steps.append(_step(rule, rule.ring))
        elif rule.reject is not None:
            end = Verdict(status=rule.reject.status, reason=rule.reject.reason)
            break
        elif rule.redirect is not None:
            end = Verdict(redirect=rule.redirect)
            break
        elif rule.as_dialled:
            end = Verdict(as_dialled=True)
            break
    return Verdict(tuple(steps), end.status, end.reason, end.redirect, end.as_dialled, called, caller_id, tuple(fired))


def failures(plan: Plan) -> list[str]:
    """The examples that the plan doesn't meet, each with what it does instead."""
    found = []
    for number, example in enumerate(plan.examples, 1):
        verdict = evaluate(plan, _call_of(example))
        rings = [leg.account or leg.number for step in verdict.steps for leg in step.legs]
        if example.rings is not None and rings != example.rings:
            found.append(f"example {number}: rings {rings}, not {example.rings}")
        if example.status is not None and verdict.status != example.status:
            found.append(f"example {number}: answers {verdict.status}, not {example.status}")
    return found


def _call_of(example: Example) -> Call:
    return Call(
        direction=example.direction,
        caller=example.caller,
        called=example.called,
        at=example.at.timestamp(),
        registered=example.registered.__contains__,
        provider=example.provider,
    )


def _step(rule: Rule, ring: Ring) -> Step:
    statuses: tuple[int, ...] = ()
    if rule.when.after and "failed" not in rule.when.after:
        statuses = tuple(status for outcome in rule.when.after for status in OUTCOMES[outcome])
    return Step(tuple(ring.legs), ring.timeout, statuses)


def _why_not(when: When, plan: Plan, call: Call, called: str, clock: _Clock, tried: bool) -> str:
    """The first condition that doesn't hold; "" if all do."""
    if when.direction is not None and when.direction != call.direction:
        return f"the call is {call.direction}"
    if when.called and not _matches(when.called, called):
        return f"{called} is none of {', '.join(when.called)}"
    if when.caller and not _matches(when.caller, call.caller):
        return f"{call.caller} is none of {', '.join(when.caller)}"
    if when.caller_in is not None and not _matches(plan.lists[when.caller_in], call.caller):
        return f"{call.caller} isn't in {when.caller_in}"
    if when.anonymous is not None and when.anonymous != call.anonymous:
        return "the caller is anonymous" if call.anonymous else "the caller isn't anonymous"
    if when.provider and call.provider not in when.provider:
        return f"it came from {call.provider or 'no provider'}"
    if when.hours and not any(clock.within(hours) for hours in when.hours):
        return f"it is {clock}"
    if when.holiday is not None and when.holiday != clock.holiday:
        return "it is a holiday" if clock.holiday else "it isn't a holiday"
    if when.after and not tried:
        return "nothing was tried before"
    if when.registered is not None and not call.registered(when.registered):
        return f"{when.registered} has no phone registered"
    if when.not_registered is not None and call.registered(when.not_registered):
        return f"{when.not_registered} has a phone registered"
    return ""


def _matches(patterns: list[str], text: str) -> bool:
    return any(fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class _Clock:
    """A moment in the plan's time zone: day of the week, and minutes since midnight."""

    day: int
    minute: int
    holiday: bool

    def within(self, hours: Hours) -> bool:
        since, until = _minutes(hours.since), _minutes(hours.until)
        if since < until:
            return DAYS[self.day] in hours.days and since <= self.minute < until
        # Over midnight: the days are those on which it begins.
        if self.minute >= since:
            return DAYS[self.day] in hours.days
        return self.minute < until and DAYS[self.day - 1] in hours.days

    def __str__(self) -> str:
        return f"{DAYS[self.day]} {self.minute // 60:02d}:{self.minute % 60:02d}"


def _clock_of(plan: Plan, at: float) -> _Clock:
    moment = datetime.datetime.fromtimestamp(at, ZoneInfo(plan.time_zone))
    return _Clock(moment.weekday(), moment.hour * 60 + moment.minute, moment.date() in plan.holidays)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
