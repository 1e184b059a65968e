"""SIP accounts, one by one and by the thousand."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from lambdas.cli.client import ApiError, path_of
from lambdas.cli.shown import errors
from lambdas.cli.state import given, state
from lambdas.cli.tenants import PREFIXES, something
from lambdas.cli.values import Settings, parsed

accounts = typer.Typer(no_args_is_help=True, help="SIP accounts.")

_IMPORT = 1000  # accounts in one request
_Plan = Annotated[str | None, typer.Option(help="The dial plan of calls to it; empty for none.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(accounts, name="account")


@accounts.command("list")
def list_accounts() -> None:
    """A tenant's accounts."""
    columns = ("aor", "display_name", "enabled", "do_not_disturb", "plan", "caller_id", "suspended")
    state.output.table(state.owned("/v1/accounts"), columns)


@accounts.command("add")
def add_account(
    aor: Annotated[str, typer.Argument(help="Like alice@example.com.")],
    password: Annotated[str | None, typer.Option(help="One is made if left out.")] = None,
    display_name: str = "",
    caller_id: str = "",
    plan: _Plan = None,
) -> None:
    """Make an account. It can register at once."""
    username, at, domain = aor.rpartition("@")
    if not at:
        raise ApiError(f"{aor!r} isn't like alice@example.com")
    body = given(username=username, domain=domain, password=password, plan=plan)
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
) -> None:
    """Change what is given."""
    body = given(enabled=enabled, do_not_disturb=do_not_disturb, display_name=display_name)
    body |= given(caller_id=caller_id, plan=plan)
    state.output.one(state.client.call("PATCH", path_of("accounts", aor), something(body)))


@accounts.command("limit")
def limit_account(aor: str, settings: Settings) -> None:
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
) -> None:
    """Make many accounts; of each thousand all or none. The passwords made come out as CSV (--json: JSON)."""
    data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        text = data.decode("utf-8-sig")
        parts = list(_of_json(text) if text.lstrip()[:1] in ("[", "{") else _of_csv(text))
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ApiError(f"{file} isn't CSV in UTF-8, or JSON: {error}") from error
    if not parts:
        raise ApiError(f"There is nothing to import in {file}.")
    made: list[dict[str, Any]] = []
    begun = done = 0
    try:
        for media, number, part in track(parts, "Importing", console=errors):
            begun, done = done, done + number
            answer = state.client.call(
                "POST", "/v1/accounts:import", data=part.encode(), media=media, tenant=state.client.tenant
            )
            made += answer["accounts"]
    except ApiError as error:
        raise ApiError(f"accounts {begun + 1} to {done} weren't imported: {error}") from error
    finally:  # passwords that were made are shown this once
        if state.output.as_json:
            state.output.table(made, ())
        elif made:
            writer = csv.writer(sys.stdout)
            writer.writerow(("aor", "password"))
            writer.writerows((one["aor"], one["password"] or "") for one in made)


def _of_csv(text: str) -> Iterator[tuple[str, int, str]]:
    """Media type, number of accounts and body of each request."""
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    for part in _parts(rows[1:]):
        buffer = io.StringIO()
        csv.writer(buffer).writerows([rows[0], *part])
        yield "text/csv", len(part), buffer.getvalue()


def _of_json(text: str) -> Iterator[tuple[str, int, str]]:
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("a list of accounts is wanted")
    for part in _parts(rows):
        yield "application/json", len(part), json.dumps(part)


def _parts(rows: list[Any]) -> Iterator[list[Any]]:
    for begin in range(0, len(rows), _IMPORT):
        yield rows[begin : begin + _IMPORT]


@accounts.command("export")
def export_accounts() -> None:
    """All accounts as CSV (--json: JSON) that can be imported again, without passwords and limits."""
    form = "json" if state.output.as_json else "csv"
    found = state.client.call("GET", "/v1/accounts:export", tenant=state.client.tenant, format=form)
    if state.output.as_json:
        state.output.table(found, ())
    else:
        sys.stdout.write(found)
