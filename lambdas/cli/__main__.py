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

from lambdas.cli import people, records
from lambdas.cli.client import ApiError, Client, path_of
from lambdas.cli.shown import Output, errors, moment
from lambdas.cli.state import state

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
records.add_to(app)
people.add_to(app)

_IMPORT = 1000  # accounts in one request
_FOLLOW = 2.0  # seconds between looks for what is new
_CALL = ("started", "caller", "called", "status", "answered", "ended", "ended_by", "account")
_EVENT = ("at", "kind", "about", "text")


@app.callback()
def settings(
    api: Annotated[str | None, typer.Option(help="The API's URL.")] = None,
    key: Annotated[str | None, typer.Option(help="An API key; better in SIPWIZARD_KEY than here.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose things; for an administration key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """What all commands share."""
    state.client = Client.found(api, key, tenant)
    state.output = Output(as_json)


# Tenants, domains, keys, edges


@tenants.command("list")
def list_tenants() -> None:
    """All tenants."""
    state.output.table(state.client.pages("/v1/tenants"), ("id", "name", "country", "outgoing_plan"))


@tenants.command("add")
def add_tenant(name: str) -> None:
    """Make a tenant."""
    state.output.one(state.client.call("POST", "/v1/tenants", {"name": name}))


@domains.command("list")
def list_domains() -> None:
    """A tenant's domains."""
    state.output.table(state.owned("/v1/domains"), ("name", "aliases", "default"))


@domains.command("add")
def add_domain(
    name: str,
    alias: Annotated[list[str] | None, typer.Option(help="Means the same domain.")] = None,
    default: Annotated[
        bool, typer.Option("--default", help="What phones mean that use an edge's address; with an administration key.")
    ] = False,
) -> None:
    """Make a domain."""
    body = {"name": name, "aliases": alias or [], "tenant": state.client.tenant, "default": default or None}
    state.output.one(state.client.call("POST", "/v1/domains", _given(body)))


@keys.command("list")
def list_keys() -> None:
    """API keys, without their secrets."""
    state.output.table(state.owned("/v1/keys"), ("id", "role", "note"))


@keys.command("add")
def add_key(note: str, role: Annotated[str, typer.Option(help="owner, admin or read-only.")] = "owner") -> None:
    """Make an API key; it is shown this once."""
    body = {"note": note, "role": role, "tenant": state.client.tenant}
    state.output.one(state.client.call("POST", "/v1/keys", _given(body)))


@keys.command("revoke")
def revoke_key(key: str) -> None:
    """Revoke an API key, at once."""
    state.client.call("DELETE", path_of("keys", key))
    state.output.done(f"{key} is revoked.")


@edges.command("list")
def list_edges() -> None:
    """The fleet."""
    state.output.table(state.client.pages("/v1/edges"), ("id", "addresses", "holds"))


@edges.command("add")
def add_edge(
    edge: str, public_key: str, address: Annotated[list[str], typer.Option(help="An address it may hold.")]
) -> None:
    """Register an edge by the key that `python -m edge public-key` prints."""
    body = {"id": edge, "public_key": public_key, "addresses": address}
    state.output.one(state.client.call("POST", "/v1/edges", body))


@edges.command("enrol")
def enrol_edge(
    edge: str,
    address: Annotated[list[str], typer.Option(help="An address it may hold, its own first.")],
    wait: Annotated[bool, typer.Option(help="Until it is there.")] = True,
) -> None:
    """Say what to run on a new machine for it to become an edge, and wait for it."""
    made = state.client.call("POST", "/v1/edges/tokens", {"id": edge, "addresses": address})
    command = f"sudo scripts/enrol --api {state.client.url} --token {made['token']}"
    if state.output.as_json:
        state.output.one({"command": command, **made})
    else:
        state.output.done(f"Within 15 minutes, on the machine, in a clone of sipwizard:\n\n    {command}\n")
    if not wait:
        return
    with errors.status(f"Waiting for {edge} to hold {address[0]} ..."):
        while not any(one["id"] == edge and one["holds"] for one in state.client.pages("/v1/edges")):
            time.sleep(_FOLLOW)
    state.output.done(f"{edge} is there.")


# Accounts


@accounts.command("list")
def list_accounts() -> None:
    """A tenant's accounts."""
    columns = ("aor", "display_name", "enabled", "do_not_disturb", "plan", "caller_id")
    state.output.table(state.owned("/v1/accounts"), columns)


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
    state.output.one(state.client.call("POST", "/v1/accounts", _given(body)))


@accounts.command("show")
def show_account(aor: str) -> None:
    """One account, and where its phones are."""
    found = state.client.call("GET", path_of("accounts", aor))
    found["phones"] = state.client.call("GET", path_of("accounts", aor, "bindings"))
    state.output.one(found)


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
    state.output.one(state.client.call("PATCH", path_of("accounts", aor), _given(body)))


@accounts.command("password")
def set_password(
    aor: str, password: Annotated[str | None, typer.Option(help="One is made if left out.")] = None
) -> None:
    """Set a new password."""
    state.output.one(state.client.call("POST", path_of("accounts", aor, "password"), _given({"password": password})))


@accounts.command("remove")
def remove_account(aor: str) -> None:
    """Remove an account and its bindings."""
    state.client.call("DELETE", path_of("accounts", aor))
    state.output.done(f"{aor} is gone.")


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
            made = state.client.call(
                "POST",
                "/v1/accounts:import",
                data=buffer.getvalue().encode(),
                kind="text/csv",
                tenant=state.client.tenant,
            )
        except ApiError as error:
            text = f"accounts {number * _IMPORT + 1} to {number * _IMPORT + len(part)} weren't imported: {error}"
            raise ApiError(text) from error
        writer.writerows((one["aor"], one["password"] or "") for one in made["accounts"])


@accounts.command("export")
def export_accounts() -> None:
    """All accounts as CSV that can be imported again, without passwords."""
    sys.stdout.write(state.client.call("GET", "/v1/accounts:export", tenant=state.client.tenant))


# Providers and plans


@providers.command("list")
def list_providers() -> None:
    """A tenant's provider accounts, and how their registrations stand."""
    rows = ({**item, "state": (item["registration"] or {}).get("state", "-")} for item in state.owned("/v1/providers"))
    state.output.table(rows, ("name", "host", "username", "enabled", "state", "incoming", "plan"))


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
    body["tenant"] = state.client.tenant
    state.output.one(state.client.call("POST", "/v1/providers", _given(body)))


@providers.command("show")
def show_provider(name: str) -> None:
    """One provider account."""
    state.output.one(state.client.call("GET", path_of("providers", name), tenant=state.client.tenant))


@providers.command("remove")
def remove_provider(name: str) -> None:
    """Remove a provider account; it is unregistered."""
    state.client.call("DELETE", path_of("providers", name), tenant=state.client.tenant)
    state.output.done(f"{name} is gone.")


@plans.command("list")
def list_plans() -> None:
    """A tenant's dial plans."""
    state.output.table(state.owned("/v1/plans"), ("name", "published", "latest", "published_by"))


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
    state.output.one(state.client.call("POST", where, data=data, kind="application/yaml", tenant=state.client.tenant))


@plans.command("rollback")
def roll_back(name: str, version: int) -> None:
    """Let another version count."""
    where = f"{path_of('plans', name)}/publish"
    state.output.one(state.client.call("POST", where, {"version": version}, tenant=state.client.tenant))


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
    found = state.client.call("POST", where, _given(body), tenant=state.client.tenant)
    if state.output.as_json:
        state.output.one(found)
        return
    if found["error"]:
        raise ApiError(f"The script fails: {found['error']}")
    state.output.table(found["rules"], ("rule", "outcome")) if found["rules"] else None
    for line in found["log"]:
        state.output.done(f"log: {line}")
    steps = [{**step, "rings": [leg["rings"] for leg in step["legs"]]} for step in found["steps"]]
    state.output.table(steps, ("rings", "timeout", "after", "forward", "status", "reason", "redirect", "as_dialled"))


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
    kind: Annotated[str | None, typer.Option(help="plan, audit, abuse or hook.")] = None,
) -> None:
    """What dial plans have logged, and who changed what."""
    _stream("/v1/events", day, follow, _EVENT, lambda item: (item["at"], item["text"]), ("at",), kind=kind)


def _stream(
    path: str, day: str | None, follow: bool, columns: tuple[str, ...], mark: Any, times: tuple[str, ...], **query: Any
) -> None:
    seen: set[Any] = set()
    while True:
        today = day or datetime.datetime.now(datetime.UTC).date().isoformat()
        new = [item for item in state.owned(path, day=today, **query) if mark(item) not in seen]
        seen |= {mark(item) for item in new}
        shown = [{**item, **{name: moment(item[name]) for name in times}} for item in new]
        if not follow:
            state.output.table(new if state.output.as_json else shown, columns)
            return
        for item in new if state.output.as_json else shown:
            state.output.line(item, columns)
        time.sleep(_FOLLOW)


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _quoted(text: str) -> str:
    """For YAML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def main() -> None:
    try:
        app(prog_name="python -m lambdas.cli", standalone_mode=True)
    except (ApiError, records.RecordsError) as error:
        errors.print(f"sipwizard: {error}", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
