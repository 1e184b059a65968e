"""Which rules of a plan fire for a call, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from lambdas.contract import OUTCOMES
from lambdas.decisions.clock import Clock, clock_of, minutes
from lambdas.decisions.rules import (
    Example,
    Hours,
    Leg,
    Outcome,
    Plan,
    Refuse,
    Ring,
    RuleAction,
    ScriptAction,
    When,
)

_DAY = 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class DialledCall:
    """``caller`` and ``called`` as the request has them, a number or an AOR; ``at`` is Unix time. ``registered`` and
    ``disturbing`` tell whether an account has a phone, and doesn't want to be disturbed. ``outcomes`` are the statuses
    of what has been tried already."""

    direction: str
    caller: str
    called: str
    at: float
    registered: Callable[[str], bool]
    provider: str = ""
    disturbing: Callable[[str], bool] = lambda aor: False
    outcomes: tuple[int, ...] = ()

    @property
    def anonymous(self) -> bool:
        """RFC 3323 §4.1.1.3."""
        return self.caller.lower().startswith("anonymous")


@dataclass(frozen=True, slots=True)
class Step:
    """Ring ``legs``, or one of the ends, if what was before had one of ``statuses`` (empty: whatever it had); not
    without the step ``part_of`` (-1: without any). ``called`` and ``caller_id`` are as the plan has changed them."""

    statuses: tuple[int, ...] = ()
    part_of: int = -1
    legs: tuple[Leg, ...] = ()
    timeout: float = 0.0
    early_media: str = "pass"
    forward: str = ""
    reject: Refuse | None = None
    redirect: str = ""
    as_dialled: bool = False
    again: str = ""
    called: str = ""
    caller_id: str = ""
    max_duration: int = 0

    @property
    def ends(self) -> bool:
        return not self.legs


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a verdict rests on beside whom the call is for: the caller, the time (it holds ``until`` then), and what may
    be otherwise at any moment (``volatile``)."""

    caller: bool = False
    until: float = float("inf")
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """``fired`` has each rule's name and why it did or didn't."""

    steps: tuple[Step, ...] = ()
    inputs: Inputs = Inputs()
    fired: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def rings(self) -> list[str]:
        return [leg.who for step in self.steps for leg in step.legs]

    @property
    def status(self) -> int:
        """Of the refusal at the end; 0 if there is none."""
        last = self.steps[-1].reject if self.steps else None
        return last.status if last is not None else 0

    @property
    def forward(self) -> str:
        return self.steps[-1].forward if self.steps else ""


def evaluate(plan: Plan, call: DialledCall, explain: bool = False) -> Verdict:
    """Read the rules from the top. ``explain``: say of each why it fired or didn't."""
    steps: list[Step] = []
    fired: list[tuple[str, str]] = []
    reads = _Reads(clock_of(plan, call.at), call.at)
    changes = Step(called=call.called)
    for rule in plan.rules:
        why = _why_not(rule.when, plan, call, changes.called, bool(steps), reads)
        if explain:
            fired.append((rule.name, why or "fired"))
        if why:
            continue
        changes = _changed(changes, rule)
        added = _steps(rule, plan, replace(changes, statuses=_statuses(rule.when.after)), len(steps))
        steps += added
        if added and added[-1].ends and not added[-1].statuses:
            break
    return Verdict(tuple(steps), reads.inputs(), tuple(fired))


def follow(plan: Plan, actions: Iterable[ScriptAction], call: DialledCall) -> tuple[Step, ...]:
    """What a script has returned. Each action's changes are its own. Raises ValueError."""
    steps: list[Step] = []
    begins: list[int] = []  # the first step of each action
    for number, action in enumerate(actions):
        plan.check_groups(f"action {number}", action)
        if action.part_of >= number:
            raise ValueError(f"action {number} can't be part of a later one")
        changes = replace(
            _changed(Step(called=call.called), action),
            statuses=_statuses(action.after),
            part_of=begins[action.part_of] if action.part_of >= 0 else -1,
        )
        begins.append(len(steps))
        if action.again:
            steps.append(replace(changes, again=action.again))
        else:
            added = _steps(action, plan, changes, len(steps))
            if not added:
                raise ValueError(f"action {number} does nothing")
            steps += added
    return tuple(steps)


def failures(plan: Plan, judge: Callable[[Example], Verdict] | None = None) -> list[str]:
    """The examples that the plan doesn't meet, each with what it does instead. ``judge`` evaluates a script."""
    found = []
    for number, example in enumerate(plan.examples, 1):
        verdict = judge(example) if judge is not None else evaluate(plan, call_of(example))
        for what, wanted, got in (
            ("rings", example.rings, verdict.rings),
            ("forwards to", example.forward, verdict.forward),
            ("answers", example.status, verdict.status),
        ):
            if wanted is not None and wanted != got:
                found.append(
                    f"example {number}: {what} {got or 'nobody' if what == 'forwards to' else got}, not {wanted}"
                )
    return found


def call_of(example: Example) -> DialledCall:
    return DialledCall(
        direction=example.direction,
        caller=example.caller,
        called=example.called,
        at=example.at.timestamp(),
        registered=example.registered.__contains__,
        provider=example.provider,
        disturbing=example.do_not_disturb.__contains__,
    )


def tried(call: DialledCall, outcomes: tuple[int, ...]) -> DialledCall:
    """``call`` after what was tried had these ``outcomes``."""
    return replace(call, outcomes=outcomes)


def _statuses(after: list[Outcome]) -> tuple[int, ...]:
    """None stands for all."""
    if "failed" in after:
        return ()
    return tuple(status for outcome in after for status in OUTCOMES[outcome])


def _changed(before: Step, action: RuleAction) -> Step:
    return replace(
        before,
        called=action.prefix + before.called[action.strip :],
        caller_id=action.caller_id or before.caller_id,
        max_duration=before.max_duration if action.max_duration is None else action.max_duration,
    )


def _steps(action: RuleAction, plan: Plan, changes: Step, index: int) -> list[Step]:
    """The steps of an action, the first of which will be number ``index``."""
    if action.ring is not None:
        return _rung(action.ring, plan, changes, index)
    if action.forward is not None:
        return [replace(changes, forward=action.forward)]
    if action.reject is not None:
        return [replace(changes, reject=action.reject)]
    if action.redirect is not None:
        return [replace(changes, redirect=action.redirect)]
    return [replace(changes, as_dialled=True)] if action.as_dialled else []


def _rung(ring: Ring, plan: Plan, changes: Step, index: int) -> list[Step]:
    legs = [one for leg in ring.legs for one in _members(leg, plan)]
    together = replace(changes, timeout=ring.timeout, early_media=ring.early_media)
    if not ring.in_turn:
        return [replace(together, legs=tuple(legs))]
    first, *others = legs
    rest = replace(together, statuses=(), part_of=index)
    return [replace(together, legs=(first,)), *(replace(rest, legs=(leg,)) for leg in others)]


def _members(leg: Leg, plan: Plan) -> list[Leg]:
    if leg.group is None:
        return [leg]
    return [
        member.model_copy(update={"after": leg.after + member.after, "headers": [*leg.headers, *member.headers]})
        for member in plan.groups[leg.group]
    ]


def _why_not(when: When, plan: Plan, call: DialledCall, called: str, tried: bool, reads: _Reads) -> str:
    """The first condition that doesn't hold; "" if all do."""
    if when.direction is not None and when.direction != call.direction:
        return f"the call is {call.direction}"
    if when.called and not matches(when.called, called):
        return f"{called} is none of {', '.join(when.called)}"
    if when.provider and call.provider not in when.provider:
        return f"it came from {call.provider or 'no provider'}"
    if when.after and not tried:
        return "nothing was tried before"
    if when.caller or when.caller_in is not None or when.anonymous is not None:
        reads.caller = True
    if when.caller and not matches(when.caller, call.caller):
        return f"{call.caller} is none of {', '.join(when.caller)}"
    if when.caller_in is not None and not matches(plan.lists[when.caller_in], call.caller):
        return f"{call.caller} isn't in {when.caller_in}"
    if when.anonymous is not None and when.anonymous != call.anonymous:
        return "the caller is anonymous" if call.anonymous else "the caller isn't anonymous"
    if when.hours and not any(reads.within(hours) for hours in when.hours):
        return f"it is {reads.clock}"
    if when.holiday is not None and when.holiday != reads.holiday():
        return "it is a holiday" if reads.clock.holiday else "it isn't a holiday"
    return _accounts_why_not(when, call, reads)


def _accounts_why_not(when: When, call: DialledCall, reads: _Reads) -> str:
    if when.registered is not None or when.not_registered is not None or when.do_not_disturb is not None:
        reads.volatile = True
    if when.registered is not None and not call.registered(when.registered):
        return f"{when.registered} has no phone registered"
    if when.not_registered is not None and call.registered(when.not_registered):
        return f"{when.not_registered} has a phone registered"
    if when.do_not_disturb is not None and not call.disturbing(when.do_not_disturb):
        return f"{when.do_not_disturb} may be disturbed"
    return ""


def matches(patterns: list[str], text: str) -> bool:
    """Whether ``text`` is like one of ``patterns``."""
    return any(fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)


class _Reads:
    """What of a call's circumstances was looked at."""

    def __init__(self, clock: Clock, at: float) -> None:
        self.clock = clock
        self.caller = False
        self.volatile = False
        self._at = at
        self._changes: set[int] = set()  # minutes at which the answer may be another one

    def within(self, hours: Hours) -> bool:
        self._changes |= {minutes(hours.since), minutes(hours.until), _DAY}
        return self.clock.within(hours)

    def holiday(self) -> bool:
        self._changes.add(_DAY)
        return self.clock.holiday

    def inputs(self) -> Inputs:
        later = [minute for minute in self._changes if minute > self.clock.minute]
        until = self._at - self._at % 60 + (min(later) - self.clock.minute) * 60 if later else float("inf")
        return Inputs(self.caller, until, self.volatile)
