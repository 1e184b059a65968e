"""SIP accounts, one by one and by the thousand."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import track

from lambdas.cli.client import ApiError, path_of
from lambdas.cli.shown import errors
from lambdas.cli.state import given, state
from lambdas.cli.tenants import PREFIXES, something
from lambdas.cli.values import GivenSettings, OwnMedia, parsed

accounts = typer.Typer(no_args_is_help=True, help="SIP accounts.")

_Row = TypeVar("_Row")
_IMPORT = 1000  # accounts in one request
_Plan = Annotated[str | None, typer.Option(help="The dial plan of calls to it; empty for none.")]
_Digest = Annotated[
    str | None, typer.Option(help="By which its phones answer: auto, md5, sha256 (MD5 is refused) or both.")
]
_Site = Annotated[
    str | None, typer.Option(help="The place where its phones are, like head-office; empty: its tenant's.")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(accounts, name="account")


@accounts.command("list")
def list_accounts(
    prefix: Annotated[str | None, typer.Option(help="Only those whose names begin so.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only those of this domain.")] = None,
    suspended: bool | None = None,
    enabled: bool | None = None,
    plan: Annotated[str | None, typer.Option(help="Only those with this dial plan.")] = None,
) -> None:
    """A tenant's accounts."""
    columns = ("aor", "display_name", "enabled", "do_not_disturb", "plan", "caller_id", "suspended")
    found = state.owned("/v1/accounts", prefix=prefix, domain=domain, suspended=suspended, enabled=enabled, plan=plan)
    state.output.table(found, columns)


@accounts.command("add")
def add_account(
    aor: Annotated[str, typer.Argument(help="Like alice@example.com.")],
    password: Annotated[str | None, typer.Option(help="One is made if left out.")] = None,
    display_name: str = "",
    caller_id: str = "",
    plan: _Plan = None,
    digest: _Digest = None,
    media: OwnMedia = None,
    site: _Site = None,
) -> None:
    """Make an account. It can register at once."""
    username, at, domain = aor.rpartition("@")
    if not at:
        raise ApiError(f"{aor!r} isn't like alice@example.com")
    body = given(username=username, domain=domain, password=password, plan=plan, digest=digest)
    body |= given(media=media, site=site)
    body |= {"display_name": display_name, "caller_id": caller_id}
    state.output.one(state.client.call("POST", "/v1/accounts", body))


@accounts.command("show")
def show_account(aor: str) -> None:
    """One account, where its phones are, and what counts for its limits just now."""
    found = state.client.call("GET", path_of("accounts", aor))
    found["usage"] = state.client.call("GET", path_of("accounts", aor, "usage"))
    found["phones"] = state.client.call("GET", path_of("accounts", aor, "bindings"))
    state.output.one(found)


@accounts.command("set")
def set_account(
    aor: str,
    enabled: Annotated[bool | None, typer.Option(help="A disabled account can neither register nor call.")] = None,
    do_not_disturb: bool | None = None,
    display_name: str | None = None,
    caller_id: str | None = None,
    plan: _Plan = None,
    digest: _Digest = None,
    media: OwnMedia = None,
    site: _Site = None,
) -> None:
    """Change what is given."""
    body = given(enabled=enabled, do_not_disturb=do_not_disturb, display_name=display_name)
    body |= given(caller_id=caller_id, plan=plan, digest=digest, media=media, site=site)
    state.output.one(state.client.call("PATCH", path_of("accounts", aor), something(body)))


@accounts.command("limit")
def limit_account(aor: str, settings: GivenSettings) -> None:
    """Set limits, like concurrent_calls=2 daily_spend=5 blocked_prefixes=+449,+44870."""
    limits = parsed(settings, PREFIXES)
    state.output.one(state.client.call("PATCH", path_of("accounts", aor), {"limits": limits}))


@accounts.command("suspend")
def suspend_account(aor: str, reason: str) -> None:
    """It may neither register nor call any more, and its calls end."""
    state.output.one(state.client.call("PUT", path_of("accounts", aor, "suspension"), {"reason": reason}))


@accounts.command("lift")
def lift_account(aor: str) -> None:
    """Lift its suspension."""
    state.output.one(state.client.call("DELETE", path_of("accounts", aor, "suspension")))


@accounts.command("password")
def set_password(
    aor: str, password: Annotated[str | None, typer.Option(help="One is made if left out.")] = None
) -> None:
    """Set a new password."""
    state.output.one(state.client.call("POST", path_of("accounts", aor, "password"), given(password=password)))


@accounts.command("unbind")
def remove_binding(aor: str, binding: Annotated[str, typer.Argument(help="Its id, as `account show` has it.")]) -> None:
    """Forget where one phone is, until it registers again."""
    state.client.call("DELETE", path_of("accounts", aor, "bindings", binding))
    state.output.done(f"{binding} is gone.")


@accounts.command("remove")
def remove_account(aor: str) -> None:
    """Remove an account and its bindings."""
    state.client.call("DELETE", path_of("accounts", aor))
    state.output.done(f"{aor} is gone.")


@accounts.command("import")
def import_accounts(
    file: Annotated[
        str, typer.Argument(help="CSV with a first line that names columns, or JSON; - for the standard input.")
    ],
    skip: Annotated[int, typer.Option(min=0, help="So many at the beginning are there already.")] = 0,
) -> None:
    """Make many accounts; of each thousand all or none. The passwords made come out as CSV (--json: JSON)."""
    data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        text = data.decode("utf-8-sig")
        parts = list(_of_json(text, skip) if text.lstrip()[:1] in ("[", "{") else _of_csv(text, skip))
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ApiError(f"{file} isn't CSV in UTF-8, or JSON: {error}") from error
    if not parts:
        raise ApiError(f"There is nothing to import in {file}.")
    made: list[dict[str, Any]] = []
    try:
        for part in track(parts, "Importing", console=errors):
            made += _import(part, skip + len(made))
    finally:  # passwords that were made are shown this once
        if state.output.as_json:
            state.output.table(made, ())
        elif made:
            writer = csv.writer(sys.stdout)
            writer.writerow(("aor", "password"))
            writer.writerows((one["aor"], one["password"] or "") for one in made)


@dataclass(frozen=True)
class _FilePart:
    """One request: ``lines`` are where its accounts stand in the file, by where they stand in ``body``."""

    media: str
    body: str
    lines: dict[int, int]


def _import(part: _FilePart, before: int) -> list[dict[str, Any]]:
    tenant = state.client.tenant
    try:
        answer = state.client.call(
            "POST", "/v1/accounts:import", data=part.body.encode(), media=part.media, tenant=tenant
        )
    except ApiError as error:
        places = [
            {**fault, "line": str(part.lines.get(int(fault["line"]), fault["line"]))} if "line" in fault else fault
            for fault in error.faults
        ]
        rest = f"Mend it, then go on with --skip {before}." if before else ""
        text = f"accounts {before + 1} to {before + len(part.lines)} weren't imported: {error.args[0]} {rest}".strip()
        raise ApiError(text, error.status, places) from error
    found: list[dict[str, Any]] = answer["accounts"]
    return found


def _of_csv(text: str, skip: int) -> Iterator[_FilePart]:
    rows = _rows(text)
    for some in _parts(rows[1 + skip :]):
        buffer = io.StringIO()
        csv.writer(buffer).writerows([rows[0][1], *(row for _, row in some)])
        body = buffer.getvalue()
        there = [line for line, _ in _rows(body)][1:]
        yield _FilePart("text/csv", body, dict(zip(there, (line for line, _ in some), strict=True)))


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Each row, and the line that it ends in."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    return [(reader.line_num, row) for row in reader if row]


def _of_json(text: str, skip: int) -> Iterator[_FilePart]:
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("a list of accounts is wanted")
    for some in _parts(list(enumerate(rows, 1))[skip:]):
        lines = {place: line for place, (line, _) in enumerate(some, 1)}
        yield _FilePart("application/json", json.dumps([row for _, row in some]), lines)


def _parts(rows: list[_Row]) -> Iterator[list[_Row]]:
    for begin in range(0, len(rows), _IMPORT):
        yield rows[begin : begin + _IMPORT]


@accounts.command("export")
def export_accounts() -> None:
    """All accounts as CSV (--json: JSON) that can be imported again, without passwords and limits."""
    if state.output.as_json:
        found = (one for page in _exported("json") for one in page)
        state.output.table(found, ())
        return
    for number, page in enumerate(_exported("csv")):
        sys.stdout.write(page if not number else page.partition("\n")[2])


def _exported(form: str) -> Iterator[Any]:
    """Its pages."""
    cursor = None
    while True:
        yield state.client.call("GET", "/v1/accounts:export", tenant=state.client.tenant, format=form, cursor=cursor)
        cursor = state.client.following
        if cursor is None:
            return
