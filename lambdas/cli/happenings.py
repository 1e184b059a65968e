"""Calls and events, of a day or as they come."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lambdas.cli.client import ApiError, Unreachable
from lambdas.cli.shown import errors, moment
from lambdas.cli.state import state

_LOOK = 2.0  # seconds between looks for what is new
_ENDS = 15  # looks, of which one is for the ends of calls that began long ago, too
_CALLS_LATE, _EVENTS_LATE = 900.0, 60.0  # seconds after its beginning within which something is shown
_LONGEST = 86_400.0  # seconds for which the end of a call is waited for
_CALL = ("started", "caller", "called", "status", "answered", "ended", "ended_by", "account")
_EVENT = ("at", "kind", "about", "text")
_Day = Annotated[str | None, typer.Option(help="UTC, like 2026-01-31; today, if left out.")]
_Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")]


@dataclass(frozen=True)
class _Kind:
    """Where things are listed, what is shown of them, which of it are times (the first is when it began), for how long
    one may come late, and what tells one state of one from all others."""

    path: str
    columns: tuple[str, ...]
    times: tuple[str, ...]
    late: float
    mark: Callable[[dict[str, Any]], Any]

    def shown(self, item: dict[str, Any]) -> dict[str, Any]:
        return item if state.output.as_json else {**item, **{name: moment(item[name]) for name in self.times}}


_CALLS = _Kind(
    "/v1/calls", _CALL, ("started", "answered", "ended"), _CALLS_LATE, lambda item: (item["id"], item["ended"])
)
_EVENTS = _Kind("/v1/events", _EVENT, ("at",), _EVENTS_LATE, lambda item: (item["at"], item["text"]))


def add_to(app: typer.Typer) -> None:
    app.command("calls")(show_calls)
    app.command("events")(show_events)


def show_calls(
    day: _Day = None,
    follow: _Follow = False,
    account: Annotated[str | None, typer.Option(help="Only those that count to this account.")] = None,
    caller: Annotated[str | None, typer.Option(help="Only those by this caller.")] = None,
    called: Annotated[str | None, typer.Option(help="Only those to this.")] = None,
    answered: Annotated[
        bool | None, typer.Option("--answered/--failed", help="Only those that somebody took, or nobody.")
    ] = None,
) -> None:
    """Calls, answered or not."""
    _show(_CALLS, day, follow, account=account, caller=caller, called=called, answered=answered)


def show_events(
    day: _Day = None,
    follow: _Follow = False,
    kind: Annotated[str | None, typer.Option(help="plan, audit, abuse, hook or emergency.")] = None,
    about: Annotated[str | None, typer.Option(help="Only those about this, or with this key.")] = None,
) -> None:
    """What dial plans have logged, and who changed what."""
    _show(_EVENTS, day, follow, kind=kind, about=about)


def _show(what: _Kind, day: str | None, follow: bool, **query: Any) -> None:
    if follow and day is not None:
        raise ApiError("--follow shows what comes: leave --day out.")
    if follow:
        _follow(what, **query)
    found = state.owned(what.path, day=day or _day(time.time()), **query)
    state.output.table([what.shown(item) for item in found], what.columns)


def _follow(what: _Kind, **query: Any) -> None:
    """From a little while ago on, for ever. Only what may be new is asked for."""
    state.output.head(what.columns)
    seen: dict[Any, float] = {}  # and when it began
    unended: dict[str, float] = {}
    told = False
    for look in itertools.count():
        now = time.time()
        since = now - what.late
        if look % _ENDS == 0:
            since = min([since, *unended.values()])
        try:
            for day in sorted({_day(since), _day(now)}):
                for item in state.owned(what.path, day=day, since=since, **query):
                    mark, began = what.mark(item), item[what.times[0]]
                    if mark not in seen:
                        seen[mark] = began
                        state.output.line(what.shown(item), what.columns)
                    if item.get("answered") and item["ended"] is None:
                        unended[item["id"]] = began
                    else:
                        unended.pop(item.get("id", ""), None)
            told = False
        except Unreachable as error:
            if not told:
                errors.print(f"sipwizard: {error}; trying again ...")
            told = True
        seen = {mark: began for mark, began in seen.items() if began >= now - _LONGEST}
        unended = {name: began for name, began in unended.items() if began >= now - _LONGEST}
        time.sleep(_LOOK)


def _day(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).date().isoformat()
