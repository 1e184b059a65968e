"""Calls and events, of a day or as they come."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lambdas.cli.client import ApiError, Unreachable
from lambdas.cli.shown import errors, moment
from lambdas.cli.state import state

_LOOK = 2.0  # seconds between looks for what is new
_OVERLAP = 3600  # seconds after midnight for which the day before is looked at, too
_CALL = ("started", "caller", "called", "status", "answered", "ended", "ended_by", "account")
_EVENT = ("at", "kind", "about", "text")
_Day = Annotated[str | None, typer.Option(help="UTC, like 2026-01-31; today, if left out.")]
_Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")]


def add_to(app: typer.Typer) -> None:
    app.command("calls")(show_calls)
    app.command("events")(show_events)


def show_calls(day: _Day = None, follow: _Follow = False) -> None:
    """Calls, answered or not."""
    _stream("/v1/calls", day, follow, _CALL, lambda item: (item["id"], item["ended"]), ("started", "answered", "ended"))


def show_events(
    day: _Day = None,
    follow: _Follow = False,
    kind: Annotated[str | None, typer.Option(help="plan, audit, abuse or hook.")] = None,
) -> None:
    """What dial plans have logged, and who changed what."""
    _stream("/v1/events", day, follow, _EVENT, lambda item: (item["at"], item["text"]), ("at",), kind=kind)


def _stream(
    path: str,
    day: str | None,
    follow: bool,
    columns: tuple[str, ...],
    mark: Callable[[dict[str, Any]], Any],
    times: tuple[str, ...],
    **query: Any,
) -> None:
    def shown(item: dict[str, Any]) -> dict[str, Any]:
        return item if state.output.as_json else {**item, **{name: moment(item[name]) for name in times}}

    if not follow:
        found = state.owned(path, day=day or _now().date().isoformat(), **query)
        state.output.table([shown(item) for item in found], columns)
        return
    if day is not None:
        raise ApiError("--follow shows what comes: leave --day out.")
    state.output.head(columns)
    seen: set[Any] = set()
    told = False
    while True:
        try:
            for one in _days():
                for item in state.owned(path, day=one, **query):
                    if mark(item) not in seen:
                        seen.add(mark(item))
                        state.output.line(shown(item), columns)
            told = False
        except Unreachable as error:
            if not told:
                errors.print(f"sipwizard: {error}; trying again ...")
            told = True
        time.sleep(_LOOK)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _days() -> list[str]:
    """Today, and soon after midnight yesterday: its last calls end today."""
    days = {(_now() - datetime.timedelta(seconds=_OVERLAP)).date(), _now().date()}
    return [day.isoformat() for day in sorted(days)]
