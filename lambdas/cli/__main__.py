"""``python -m lambdas.cli``: see ``--help``. It finds the API by SIPWIZARD_API and SIPWIZARD_KEY (and SIPWIZARD_TENANT
for an administration key), or the development fleet that ``scripts/up`` runs in this folder."""

from __future__ import annotations

import csv
import datetime
import io
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from lambdas.cli.client import ApiError, Client, path_of
from lambdas.cli.shown import Output, errors, moment

app = typer.Typer(help=__doc__, no_args_is_help=True)
tenants, domains, accounts, providers, plans, edges, keys = (
    typer.Typer(no_args_is_help=True, help=text)
    for text in (
        "Tenants.", "SIP domains.", "SIP accounts.", "Accounts with VoIP providers.", "Dial plans.", "Edges.",
        "API keys.",
    )
)  # fmt: skip
for name, group in (
    ("tenant", tenants), ("domain", domains), ("account", accounts), ("provider", providers), ("plan", plans),
    ("edge", edges), ("key", keys),
):  # fmt: skip
    app.add_typer(group, name=name)

_IMPORT = 1000  # accounts in one request
_FOLLOW = 2.0  # seconds between looks for what is new
_CALL = ("started", "caller", "called", "status", "answered", "ended", "ended_by", "account")
_EVENT = ("at", "kind", "about", "text")


class _State:
    client: Client
    output: Output


_state = _State()


@app.callback()
def settings(
    api: Annotated[str | None, typer.Option(help="The API's URL.")] = None,
    key: Annotated[str | None, typer.Option(help="An API key; better in SIPWIZARD_KEY than here.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose things; for an administration key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """What all commands share."""
    _state.client = Client.found(api, key, tenant)
    _state.output = Output(as_json)


def _owned(path: str, **query: Any) -> Any:
    return _state.client.pages(path, tenant=_state.client.tenant, **query)


# Tenants, domains, keys, edges


@tenants.command("list")
def list_tenants() -> None:
    """All tenants."""
    _state.output.table(_state.client.pages("/v1/tenants"), ("id", "name", "country", "outgoing_plan"))


@tenants.command("add")
def add_tenant(name: str) -> None:
    """Make a tenant."""
    _state.output.one(_state.client.call("POST", "/v1/tenants", {"name": name}))


@domains.command("list")
def list_domains() -> None:
    """A tenant's domains."""
    _state.output.table(_owned("/v1/domains"), ("name", "aliases", "default"))


@domains.command("add")
def add_domain(
    name: str, alias: Annotated[list[str] | None, typer.Option(help="Means the same domain.")] = None
) -> None:
    """Make a domain."""
    body = {"name": name, "aliases": alias or [], "tenant": _state.client.tenant}
    _state.output.one(_state.client.call("POST", "/v1/domains", _given(body)))


@keys.command("list")
def list_keys() -> None:
    """API keys, without their secrets."""
    _state.output.table(_owned("/v1/keys"), ("id", "role", "note"))


@keys.command("add")
def add_key(note: str, role: Annotated[str, typer.Option(help="owner, admin or read-only.")] = "owner") -> None:
    """Make an API key; it is shown this once."""
    body = {"note": note, "role": role, "tenant": _state.client.tenant}
    _state.output.one(_state.client.call("POST", "/v1/keys", _given(body)))


@keys.command("revoke")
def revoke_key(key: str) -> None:
    """Revoke an API key, at once."""
    _state.client.call("DELETE", path_of("keys", key))
    _state.output.done(f"{key} is revoked.")


@edges.command("list")
def list_edges() -> None:
    """The fleet."""
    _state.output.table(_state.client.pages("/v1/edges"), ("id", "addresses", "state"))


@edges.command("add")
def add_edge(
    edge: str, public_key: str, address: Annotated[list[str], typer.Option(help="An address it may hold.")]
) -> None:
    """Register an edge by the key that `python -m edge public-key` prints."""
    body = {"id": edge, "public_key": public_key, "addresses": address}
    _state.output.one(_state.client.call("POST", "/v1/edges", body))


# Accounts


@accounts.command("list")
def list_accounts() -> None:
    """A tenant's accounts."""
    columns = ("aor", "display_name", "enabled", "do_not_disturb", "plan", "caller_id")
    _state.output.table(_owned("/v1/accounts"), columns)


@accounts.command("add")
def add_account(
    aor: Annotated[str, typer.Argument(help="Like alice@example.com.")],
    password: Annotated[str | None, typer.Option(help="One is made if left out.")] = None,
    display_name: str = "",
    caller_id: str = "",
    plan: str = "",
) -> None:
    """Make an account. It can register at once."""
    username, _, domain = aor.rpartition("@")
    body = {"username": username, "domain": domain, "password": password}
    body |= {"display_name": display_name, "caller_id": caller_id, "plan": plan}
    _state.output.one(_state.client.call("POST", "/v1/accounts", _given(body)))


@accounts.command("show")
def show_account(aor: str) -> None:
    """One account, and where its phones are."""
    found = _state.client.call("GET", path_of("accounts", aor))
    found["phones"] = _state.client.call("GET", path_of("accounts", aor, "bindings"))
    _state.output.one(found)


@accounts.command("set")
def set_account(
    aor: str,
    enabled: Annotated[bool | None, typer.Option(help="A disabled account can neither register nor call.")] = None,
    do_not_disturb: bool | None = None,
    display_name: str | None = None,
    caller_id: str | None = None,
    plan: Annotated[str | None, typer.Option(help="The dial plan of calls to it; empty for none.")] = None,
) -> None:
    """Change what is given."""
    body = {"enabled": enabled, "do_not_disturb": do_not_disturb, "display_name": display_name}
    body |= {"caller_id": caller_id, "plan": plan}
    _state.output.one(_state.client.call("PATCH", path_of("accounts", aor), _given(body)))


@accounts.command("password")
def set_password(
    aor: str, password: Annotated[str | None, typer.Option(help="One is made if left out.")] = None
) -> None:
    """Set a new password."""
    _state.output.one(_state.client.call("POST", path_of("accounts", aor, "password"), _given({"password": password})))


@accounts.command("remove")
def remove_account(aor: str) -> None:
    """Remove an account and its bindings."""
    _state.client.call("DELETE", path_of("accounts", aor))
    _state.output.done(f"{aor} is gone.")


@accounts.command("import")
def import_accounts(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a first line that names columns.")
    ],
) -> None:
    """Make many accounts; of each thousand all or none. The passwords made come out as CSV."""
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")))
    head, lines = rows[:1], rows[1:]
    parts = [lines[begin : begin + _IMPORT] for begin in range(0, len(lines), _IMPORT)]
    writer = csv.writer(sys.stdout)
    writer.writerow(("aor", "password"))
    for number, part in enumerate(track(parts, "Importing", console=errors)):
        buffer = io.StringIO()
        csv.writer(buffer).writerows(head + part)
        try:
            made = _state.client.call(
                "POST",
                "/v1/accounts:import",
                data=buffer.getvalue().encode(),
                kind="text/csv",
                tenant=_state.client.tenant,
            )
        except ApiError as error:
            text = f"accounts {number * _IMPORT + 1} to {number * _IMPORT + len(part)} weren't imported: {error}"
            raise ApiError(text) from error
        writer.writerows((one["aor"], one["password"] or "") for one in made["accounts"])


@accounts.command("export")
def export_accounts() -> None:
    """All accounts as CSV that can be imported again, without passwords."""
    sys.stdout.write(_state.client.call("GET", "/v1/accounts:export", tenant=_state.client.tenant))


# Providers and plans


@providers.command("list")
def list_providers() -> None:
    """A tenant's provider accounts, and how their registrations stand."""
    rows = ({**item, "state": (item["registration"] or {}).get("state", "-")} for item in _owned("/v1/providers"))
    _state.output.table(rows, ("name", "host", "username", "enabled", "state", "incoming", "plan"))


@providers.command("add")
def add_provider(
    name: str,
    host: str,
    username: str,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True)],
    incoming: Annotated[list[str] | None, typer.Option(help="An account that its calls ring.")] = None,
    caller_id: str = "",
    transport: str = "udp",
) -> None:
    """Add an account with a VoIP provider; it is registered within seconds."""
    body: dict[str, Any] = {"name": name, "host": host, "username": username, "password": password}
    body |= {"caller_id": caller_id, "transport": transport, "incoming": incoming or []}
    body["tenant"] = _state.client.tenant
    _state.output.one(_state.client.call("POST", "/v1/providers", _given(body)))


@providers.command("show")
def show_provider(name: str) -> None:
    """One provider account."""
    _state.output.one(_state.client.call("GET", path_of("providers", name), tenant=_state.client.tenant))


@providers.command("remove")
def remove_provider(name: str) -> None:
    """Remove a provider account; it is unregistered."""
    _state.client.call("DELETE", path_of("providers", name), tenant=_state.client.tenant)
    _state.output.done(f"{name} is gone.")


@plans.command("list")
def list_plans() -> None:
    """A tenant's dial plans."""
    _state.output.table(_owned("/v1/plans"), ("name", "published", "latest", "published_by"))


@plans.command("publish")
def publish_plan(
    name: str,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The plan, in YAML or JSON.")],
    note: str = "",
) -> None:
    """Store a plan from a file and let it count, once it has done what its examples say."""
    text = "\n".join(f"  {line}" for line in file.read_text(encoding="utf-8").splitlines())
    data = f"publish: true\nnote: {_quoted(note)}\nplan:\n{text}\n".encode()
    where = f"{path_of('plans', name)}/versions"
    _state.output.one(
        _state.client.call("POST", where, data=data, kind="application/yaml", tenant=_state.client.tenant)
    )


@plans.command("rollback")
def roll_back(name: str, version: int) -> None:
    """Let another version count."""
    where = f"{path_of('plans', name)}/publish"
    _state.output.one(_state.client.call("POST", where, {"version": version}, tenant=_state.client.tenant))


@plans.command("try")
def try_plan(
    name: str,
    caller: str,
    called: str,
    at: Annotated[str | None, typer.Option(help="Like 2026-03-02T21:00:00Z; now, if left out.")] = None,
    direction: str = "incoming",
    provider: str = "",
) -> None:
    """What would become of a call. Nobody is rung."""
    body = {"caller": caller, "called": called, "at": at, "direction": direction, "provider": provider}
    where = f"{path_of('plans', name)}:simulate"
    found = _state.client.call("POST", where, _given(body), tenant=_state.client.tenant)
    if _state.output.as_json:
        _state.output.one(found)
        return
    if found["error"]:
        raise ApiError(f"The script fails: {found['error']}")
    _state.output.table(found["rules"], ("rule", "outcome")) if found["rules"] else None
    for line in found["log"]:
        _state.output.done(f"log: {line}")
    steps = [{**step, "rings": [leg["rings"] for leg in step["legs"]]} for step in found["steps"]]
    _state.output.table(steps, ("rings", "timeout", "after", "forward", "status", "reason", "redirect", "as_dialled"))


# What happens


@app.command("calls")
def show_calls(
    day: Annotated[str | None, typer.Option(help="UTC, like 2026-01-31; today, if left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """Calls, answered or not."""
    _stream("/v1/calls", day, follow, _CALL, lambda item: (item["id"], item["ended"]), ("started", "answered", "ended"))


@app.command("events")
def show_events(
    day: Annotated[str | None, typer.Option(help="UTC, like 2026-01-31; today, if left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    kind: Annotated[str | None, typer.Option(help="plan, audit or abuse.")] = None,
) -> None:
    """What dial plans have logged, and who changed what."""
    _stream("/v1/events", day, follow, _EVENT, lambda item: (item["at"], item["text"]), ("at",), kind=kind)


def _stream(
    path: str, day: str | None, follow: bool, columns: tuple[str, ...], mark: Any, times: tuple[str, ...], **query: Any
) -> None:
    seen: set[Any] = set()
    while True:
        today = day or datetime.datetime.now(datetime.UTC).date().isoformat()
        new = [item for item in _owned(path, day=today, **query) if mark(item) not in seen]
        seen |= {mark(item) for item in new}
        shown = [{**item, **{name: moment(item[name]) for name in times}} for item in new]
        if not follow:
            _state.output.table(new if _state.output.as_json else shown, columns)
            return
        for item in new if _state.output.as_json else shown:
            _state.output.line(item, columns)
        time.sleep(_FOLLOW)


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _quoted(text: str) -> str:
    """For YAML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def main() -> None:
    try:
        app(prog_name="python -m lambdas.cli", standalone_mode=True)
    except ApiError as error:
        errors.print(f"sipwizard: {error}", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
