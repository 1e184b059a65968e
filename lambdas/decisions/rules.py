"""Dial plans: what they look like. A plan is data; its form is checked when it is stored.

Rules are read from the top. Each whose conditions hold adds its action, which comes to bear when what was added before
has failed (``after`` says how). Whom it rings is tried then; a refusal, a redirection or a forwarding is the end.
A script, where there is one instead of rules, returns such actions.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lambdas.decisions.uris import SIP_URI, is_aor, is_destination

Outcome = Literal["busy", "no-answer", "unreachable", "declined", "redirected", "failed"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MOST_RULES = 100
MOST_SCRIPT = 64_000
MOST_PATTERNS = 5_000  # in a plan: all may have to be looked at in one call


class _PlanPart(BaseModel):
    # Most processes read no plan: the validators are built when the first one is read.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _pattern(text: str) -> str:
    if text.count("*") > 4 or not text.isprintable() or not text:
        raise ValueError("a pattern is a number or AOR in which * stands for anything and ? for one character")
    return text


def _destination(text: str) -> str:
    if not is_destination(text):
        raise ValueError("not like alice@example.com, +442079460000 or sip:front@example.net")
    return text


def _account(text: str) -> str:
    if not is_aor(text):
        raise ValueError("not an account like alice@example.com")
    return text


def _moment(value: datetime.datetime) -> datetime.datetime:
    if not 1971 <= value.year <= 2199:
        raise ValueError("not between the years 1971 and 2199")
    return value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)


Moment = Annotated[datetime.datetime, AfterValidator(_moment)]
"""Without an offset it is UTC."""
Aor = Annotated[str, AfterValidator(_account), Field(max_length=320, examples=["alice@example.com"])]


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("not a time zone like Europe/London") from error
    return text


def _clock(text: str) -> str:
    if text != "24:00":
        datetime.time.fromisoformat(text)
    return text


Pattern = Annotated[str, AfterValidator(_pattern), Field(max_length=100, examples=["+4420*"])]
Patterns = Annotated[list[Pattern], Field(max_length=100)]
ClockText = Annotated[str, AfterValidator(_clock), Field(pattern=r"^\d\d:\d\d$", examples=["09:00"])]


class Hours(_PlanPart):
    """A part of certain days; ``until`` may be earlier than ``since``, and then is the next day's."""

    days: list[Weekday] = list(DAYS)
    since: ClockText = "00:00"
    until: ClockText = "24:00"


class When(_PlanPart):
    """All conditions given have to hold; of a list any one."""

    direction: Literal["incoming", "outgoing"] | None = None
    called: Patterns = []
    caller: Patterns = []
    caller_in: Annotated[str | None, Field(description="The name of one of the plan's lists.")] = None
    anonymous: bool | None = None
    provider: Annotated[list[str], Field(max_length=20, description="The provider that the call came from.")] = []
    hours: Annotated[list[Hours], Field(max_length=20)] = []
    holiday: bool | None = None
    registered: Annotated[Aor | None, Field(description="An account that has a phone registered.")] = None
    not_registered: Aor | None = None
    do_not_disturb: Annotated[Aor | None, Field(description="An account that doesn't want to be disturbed.")] = None
    after: Annotated[list[Outcome], Field(description="How what was tried before has failed.")] = []


_SipUri = Annotated[str, Field(max_length=200, pattern=f"^{SIP_URI}$", examples=["sip:front@example.net"])]
_Destination = Annotated[str, AfterValidator(_destination), Field(max_length=320)]
_Duration = Annotated[int, Field(ge=0, le=86_400, description="Seconds after which we end the call; 0 for never.")]


class Leg(_PlanPart):
    """Somebody to ring: an account, a number by way of providers (the tenant's routes if none is named), a SIP address
    elsewhere, or a group of the plan. With ``enum`` the number is looked up under that zone first (RFC 6116), and
    called at the SIP address that it has there."""

    account: Aor | None = None
    number: Annotated[str, Field(max_length=32, pattern=r"^[+0-9*#][0-9*#().\- ]*$")] | None = None
    uri: _SipUri | None = None
    group: str | None = None
    providers: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]], Field(max_length=4)] = []
    enum: Annotated[str, Field(max_length=100, pattern=r"^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)?$")] = ""
    after: Annotated[float, Field(ge=0, le=120, description="Seconds until this leg begins.")] = 0.0
    headers: Annotated[
        list[Annotated[str, Field(max_length=300, pattern=r"^[A-Za-z0-9-]+: [\x20-\x7e]+$")]], Field(max_length=5)
    ] = []

    @property
    def who(self) -> str:
        return self.account or self.number or self.uri or ""

    @model_validator(mode="after")
    def _one(self) -> Leg:
        if sum(one is not None for one in (self.account, self.number, self.uri, self.group)) != 1:
            raise ValueError("a leg has an account or a number, or else a uri or a group")
        for line in self.headers:
            name = line.partition(":")[0].lower()
            if name not in ("alert-info", "call-info", "subject") and not name.startswith("x-"):
                raise ValueError(f"{name} may not be set; Alert-Info, Call-Info, Subject and X-… may")
        return self


class Ring(_PlanPart):
    """Ring all ``legs`` at once, or one after the other (``in_turn``), for ``timeout`` seconds (0: as long as they
    ring). ``early_media``: what they play before they answer is passed on, or the caller hears ringing instead."""

    legs: Annotated[list[Leg], Field(min_length=1, max_length=20)]
    timeout: Annotated[float, Field(ge=0, le=180)] = 0.0
    in_turn: bool = False
    early_media: Literal["pass", "ringing"] = "pass"


class Refuse(_PlanPart):
    status: Annotated[int, Field(ge=400, le=699)] = 603
    reason: Annotated[str, Field(max_length=100, pattern=r"^[\x20-\x7e]*$")] = ""


class RuleAction(_PlanPart):
    """One of ring, forward, reject, redirect and as_dialled, or changes for what follows."""

    ring: Ring | None = None
    forward: Annotated[
        _Destination | None, Field(description="The call goes to this account, number or SIP address instead.")
    ] = None
    reject: Refuse | None = None
    redirect: _SipUri | None = None
    as_dialled: Annotated[
        bool, Field(description="Go on as if there were no plan: to the account, or by the routes.")
    ] = False
    strip: Annotated[int, Field(ge=0, le=20, description="Digits to take off the called number.")] = 0
    prefix: Annotated[str, Field(max_length=20, pattern=r"^[+0-9*#]*$")] = ""
    caller_id: Annotated[str, Field(max_length=32, pattern=r"^\+?[0-9]*$")] = ""
    max_duration: _Duration | None = None

    def _actions(self) -> list[object]:
        return [self.ring, self.forward, self.reject, self.redirect, self.as_dialled or None]

    @property
    def does_nothing(self) -> bool:
        changes = self.strip or self.prefix or self.caller_id or self.max_duration is not None
        return not changes and all(action is None for action in self._actions())

    @model_validator(mode="after")
    def _one_action(self) -> RuleAction:
        if sum(action is not None for action in self._actions()) > 1:
            raise ValueError("a rule has one of ring, forward, reject, redirect and as_dialled")
        return self


class Rule(RuleAction):
    """``name`` is for people."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    when: When = When()

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        if self.does_nothing:
            raise ValueError(
                "a rule without ring, forward, reject, redirect, as_dialled, strip, prefix, caller_id or max_duration "
                "does nothing"
            )
        return self


class ScriptAction(RuleAction):
    """What a script returns is a list of these. ``after``: only if what was before has failed so. ``part_of``: only
    with the action of that number in the list, counted from 0. ``again``: the function to ask then."""

    after: list[Outcome] = []
    part_of: Annotated[int, Field(ge=-1)] = -1
    again: Annotated[str, Field(max_length=100)] = ""


class Example(_PlanPart):
    """A call, and what the plan is to do with it: it isn't published if it does something else. ``rings`` are the legs'
    accounts, numbers and addresses, in order; ``status`` is the refusal at the end, 0 for none. For scripts: ``store``
    is what is stored, ``pages`` are the texts at URLs, ``enum`` the addresses of numbers; with ``outcomes``, the
    statuses of what was tried, the function for that case is asked too."""

    caller: str
    called: str
    direction: Literal["incoming", "outgoing"] = "incoming"
    provider: str = ""
    at: Moment
    registered: list[str] = []
    do_not_disturb: list[str] = []
    store: dict[str, str] = {}
    pages: dict[str, str] = {}
    enum: dict[str, str] = {}
    outcomes: Annotated[list[int], Field(max_length=20)] = []
    rings: list[str] | None = None
    forward: str | None = None
    status: int | None = None


class Plan(_PlanPart):
    """Either ``rules`` or a ``script``. ``holidays`` are days of the ``time_zone``; ``lists`` are patterns of callers
    by name, ``groups`` whom to ring together."""

    rules: Annotated[list[Rule], Field(max_length=MOST_RULES)] = []
    script: Annotated[str, Field(max_length=MOST_SCRIPT, description="Starlark; see dialplans.md.")] = ""
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    holidays: Annotated[list[datetime.date], Field(max_length=400)] = []
    lists: Annotated[dict[str, Annotated[list[Pattern], Field(max_length=1000)]], Field(max_length=20)] = {}
    groups: Annotated[dict[str, Annotated[list[Leg], Field(min_length=1, max_length=20)]], Field(max_length=20)] = {}
    examples: Annotated[list[Example], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _complete(self) -> Plan:
        if bool(self.rules) == bool(self.script):
            raise ValueError("a plan has rules (at least 1) or a script")
        for rule in self.rules:
            if rule.when.caller_in is not None and rule.when.caller_in not in self.lists:
                raise ValueError(
                    f"rule {rule.name!r} names the list {rule.when.caller_in!r}, which the plan doesn't have"
                )
            self.check_groups(rule.name, rule)
        patterns = sum(len(rule.when.called) + len(rule.when.caller) for rule in self.rules)
        if patterns + sum(map(len, self.lists.values())) > MOST_PATTERNS:
            raise ValueError(f"a plan has at most {MOST_PATTERNS} patterns, those of its lists included")
        if any(leg.group is not None for legs in self.groups.values() for leg in legs):
            raise ValueError("a group has no groups in it")
        return self

    def check_groups(self, name: str, action: RuleAction) -> None:
        """Raises ValueError if ``action`` rings a group that the plan doesn't have."""
        for leg in action.ring.legs if action.ring is not None else ():
            if leg.group is not None and leg.group not in self.groups:
                raise ValueError(f"{name!r} rings the group {leg.group!r}, which the plan doesn't have")
