"""Records to look into: fetched or converted into Parquet files, asked in SQL, and who stands out."""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.progress import track

from lambdas.cli import tables
from lambdas.cli.shown import errors
from lambdas.cli.state import state

_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_Data = Annotated[str, typer.Option(help="Where the Parquet files are: a folder, or an s3:// prefix.")]

records = typer.Typer(no_args_is_help=True, help="Records of calls and events as Parquet files.")
abuse = typer.Typer(no_args_is_help=True, help="Who stands out.")


class RecordsError(Exception):
    """What was asked for can't be had; the text says why."""


def add_to(app: typer.Typer) -> None:
    app.add_typer(records, name="records")
    app.add_typer(abuse, name="abuse")
    app.command("sql")(ask)


@records.command("fetch")
def fetch(
    since: Annotated[str, typer.Option(help="The first day, UTC, like 2026-01-31.")],
    until: Annotated[str | None, typer.Option(help="The last day; today, if left out.")] = None,
    attempts: Annotated[bool, typer.Option(help="Those of strangers too; with an administration key.")] = False,
    data: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("records"),
) -> None:
    """A tenant's calls and events by the API, a file for each day."""
    first, last = _day(since), _day(until) if until else datetime.datetime.now(datetime.UTC).date()
    if last < first:
        raise RecordsError(f"--until {last} is before --since {first}")
    days = [(first + datetime.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    found = {"calls": 0, "events": 0} | ({"attempts": 0} if attempts else {})
    for day in track(days, "Fetching", console=errors):
        for table in ("calls", "events"):
            items = ({**item, "tenant": state.client.tenant or ""} for item in state.owned(f"/v1/{table}", day=day))
            found[table] += tables.write(table, items, data, day)
        if attempts:
            found["attempts"] += tables.write("attempts", state.client.pages("/v1/attempts", day=day), data, day)
    _tell(found, data)


@records.command("convert")
def convert(
    files: Annotated[str, typer.Argument(help="The data files of an export in DynamoDB's JSON: 'data/*.json.gz'.")],
    data: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("records"),
) -> None:
    """An export of the table of calls (`aws dynamodb export-table-to-point-in-time`): every tenant's records."""
    try:
        _tell(tables.convert(files, data), data)
    except duckdb.Error as error:
        raise RecordsError(f"{files} can't be converted: {error}") from error


def _tell(found: dict[str, int], data: Path) -> None:
    state.output.done(f"{', '.join(f'{number} {table}' for table, number in found.items())} are in {data}.")


def ask(
    query: Annotated[str, typer.Argument(help="SQL, over calls, legs, events and attempts.")], data: _Data = "records"
) -> None:
    """Ask the records in SQL (DuckDB's). `DESCRIBE calls` shows what there is."""
    _show(data, lambda connection: connection.sql(query))


@abuse.command("top")
def top(
    by: Annotated[str, typer.Option(help=f"One of {', '.join(tables.TOP)}.")] = "failures",
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h or 7d.")] = "24h",
    digits: Annotated[int, typer.Option(min=1, max=16, help="Of a number, + included, that make a destination.")] = 6,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    data: _Data = "records",
) -> None:
    """Who has failed to authenticate most, and from where; which destinations and accounts have most calls."""
    match = re.fullmatch(r"(\d{1,6})([mhd])", since)
    if by not in tables.TOP or match is None:
        raise RecordsError(f"--by is one of {', '.join(tables.TOP)}, and --since like 90m, 24h or 7d")
    seconds = int(match[1]) * _UNITS[match[2]]
    _show(data, lambda connection: tables.top(connection, by, seconds, digits).limit(limit))


def _show(data: str, query: Any) -> None:
    try:
        connection = tables.open_tables(data)
        found = query(connection)
        columns = found.columns if found is not None else []
        rows = found.fetchall() if found is not None else []
    except duckdb.Error as error:
        if "://" not in data and not any(Path(data).glob("*/*.parquet")):
            raise RecordsError(f"There are no records in {data}; see `records fetch`.") from error
        raise RecordsError(str(error)) from error
    shown = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    state.output.table(shown, columns)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise RecordsError(f"{text!r} isn't a day like 2026-01-31") from error
