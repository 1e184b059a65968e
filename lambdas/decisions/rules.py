"""Dial plans by rules: what they look like. A plan is data; its form is checked when it is stored.

Rules are read from the top. Each whose conditions hold adds its action: who is rung adds a stage, tried when those
before it have failed (``after`` says how); a refusal or a redirection ends the plan.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Outcome = Literal["busy", "no-answer", "unreachable", "declined", "failed"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MOST_RULES = 100
_RESERVED = frozenset(("via", "route", "from", "to", "call-id", "cseq", "contact", "max-forwards", "content-length"))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _pattern(text: str) -> str:
    if text.count("*") > 4 or not text.isprintable() or not text:
        raise ValueError("a pattern is a number or AOR in which * stands for anything and ? for one character")
    return text


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
Clock = Annotated[str, AfterValidator(_clock), Field(pattern=r"^\d\d:\d\d$", examples=["09:00"])]


class Hours(_Part):
    """A part of certain days; ``until`` may be earlier than ``since``, and then is the next day's."""

    days: list[Day] = list(DAYS)
    since: Clock = "00:00"
    until: Clock = "24:00"


class When(_Part):
    """All conditions given have to hold; of a list any one."""

    direction: Literal["incoming", "outgoing"] | None = None
    called: Patterns = []
    caller: Patterns = []
    caller_in: Annotated[str | None, Field(description="The name of one of the plan's lists.")] = None
    anonymous: bool | None = None
    provider: Annotated[list[str], Field(max_length=20, description="The provider that the call came from.")] = []
    hours: Annotated[list[Hours], Field(max_length=20)] = []
    holiday: bool | None = None
    registered: Annotated[str | None, Field(description="An account that has a phone registered.")] = None
    not_registered: str | None = None
    after: Annotated[list[Outcome], Field(description="How what was tried before has failed.")] = []


class Leg(_Part):
    """Somebody to ring: an account, or a number by way of providers (the tenant's routes if none is named)."""

    account: str | None = None
    number: Annotated[str | None, Field(max_length=64)] = None
    providers: Annotated[list[str], Field(max_length=4)] = []
    after: Annotated[float, Field(ge=0, le=120, description="Seconds until this leg begins.")] = 0.0
    headers: Annotated[
        list[Annotated[str, Field(max_length=300, pattern=r"^[A-Za-z0-9-]+: [\x20-\x7e]+$")]], Field(max_length=5)
    ] = []

    @model_validator(mode="after")
    def _one(self) -> Leg:
        if (self.account is None) == (self.number is None):
            raise ValueError("a leg has an account or a number")
        for line in self.headers:
            name = line.partition(":")[0].lower()
            if name not in ("alert-info", "call-info", "subject") and not name.startswith("x-"):
                raise ValueError(f"{name} may not be set; Alert-Info, Call-Info, Subject and X-… may")
        return self


class Ring(_Part):
    """Ring all ``legs``, for ``timeout`` seconds (0: as long as they ring)."""

    legs: Annotated[list[Leg], Field(min_length=1, max_length=20)]
    timeout: Annotated[float, Field(ge=0, le=180)] = 0.0


class Refuse(_Part):
    status: Annotated[int, Field(ge=400, le=699)] = 603
    reason: Annotated[str, Field(max_length=100, pattern=r"^[\x20-\x7e]*$")] = ""


class Rule(_Part):
    """``name`` is for people. One action, or numbers changed and a caller ID set for what follows."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    when: When = When()
    ring: Ring | None = None
    reject: Refuse | None = None
    redirect: Annotated[str | None, Field(max_length=200, pattern=r"^sip:[^\s<>]+$")] = None
    as_dialled: Annotated[
        bool, Field(description="Go on as if there were no plan: to the account, or by the routes.")
    ] = False
    strip: Annotated[int, Field(ge=0, le=20, description="Digits to take off the called number.")] = 0
    prefix: Annotated[str, Field(max_length=20, pattern=r"^[+0-9*#]*$")] = ""
    caller_id: Annotated[str, Field(max_length=32, pattern=r"^\+?[0-9]*$")] = ""

    @model_validator(mode="after")
    def _one_action(self) -> Rule:
        actions = [self.ring, self.reject, self.redirect, self.as_dialled or None]
        if sum(action is not None for action in actions) > 1:
            raise ValueError("a rule has one of ring, reject, redirect and as_dialled")
        if not any(action is not None for action in actions) and not (self.strip or self.prefix or self.caller_id):
            raise ValueError(
                "a rule without ring, reject, redirect, as_dialled, strip, prefix or caller_id does nothing"
            )
        return self


class Example(_Part):
    """A call, and what the plan is to do with it: it isn't published if it does something else. ``rings`` are the legs'
    accounts and numbers, in order."""

    caller: str
    called: str
    direction: Literal["incoming", "outgoing"] = "incoming"
    provider: str = ""
    at: datetime.datetime
    registered: list[str] = []
    rings: list[str] | None = None
    status: int | None = None


class Plan(_Part):
    """``holidays`` are days of the ``time_zone``; ``lists`` are patterns of callers by name."""

    rules: Annotated[list[Rule], Field(min_length=1, max_length=MOST_RULES)]
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    holidays: Annotated[list[datetime.date], Field(max_length=400)] = []
    lists: Annotated[dict[str, Annotated[list[Pattern], Field(max_length=1000)]], Field(max_length=20)] = {}
    examples: Annotated[list[Example], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _lists_exist(self) -> Plan:
        for rule in self.rules:
            if rule.when.caller_in is not None and rule.when.caller_in not in self.lists:
                raise ValueError(
                    f"rule {rule.name!r} names the list {rule.when.caller_in!r}, which the plan doesn't have"
                )
        return self
