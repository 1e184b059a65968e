"""Hours and holidays: what a plan's time zone makes of a moment."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from lambdas.decisions.rules import DAYS, Hours, Plan


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment in the plan's time zone: day of the week, and minutes since midnight."""

    day: int
    minute: int
    holiday: bool
    date: datetime.date

    def within(self, hours: Hours) -> bool:
        since, until = minutes(hours.since), minutes(hours.until)
        if since < until:
            return DAYS[self.day] in hours.days and since <= self.minute < until
        # Over midnight: the days are those on which it begins.
        if self.minute >= since:
            return DAYS[self.day] in hours.days
        return self.minute < until and DAYS[self.day - 1] in hours.days

    def __str__(self) -> str:
        return f"{DAYS[self.day]} {self.minute // 60:02d}:{self.minute % 60:02d}"


def clock_of(plan: Plan, at: float) -> Clock:
    moment = datetime.datetime.fromtimestamp(at, ZoneInfo(plan.time_zone))
    return Clock(moment.weekday(), moment.hour * 60 + moment.minute, moment.date() in plan.holidays, moment.date())


def minutes(text: str) -> int:
    """Since midnight, of ``HH:MM``."""
    return int(text[:2]) * 60 + int(text[3:])
