"""Providers, dial plans and webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lambdas.cli.client import ApiError, path_of
from lambdas.cli.shown import moment
from lambdas.cli.state import given, state
from lambdas.cli.tenants import listed, something
from lambdas.cli.values import OwnMedia

providers, plans, hooks = (
    typer.Typer(no_args_is_help=True, help=text)
    for text in ("Accounts with VoIP providers.", "Dial plans.", "Webhooks: your own server hears of calls.")
)

_Events = Annotated[list[str] | None, typer.Option(help="Like call.ended or registration.changed.")]
_Number = Annotated[list[str] | None, typer.Option("--number", help="What its calls may name: +442079460000.")]
_Ca = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="By whom its certificate has to be signed (PEM; an empty file: as usual)."
    ),
]
_Incoming = Annotated[list[str] | None, typer.Option(help="An account that its calls ring.")]


def add_to(app: typer.Typer) -> None:
    for name, group in (("provider", providers), ("plan", plans), ("hook", hooks)):
        app.add_typer(group, name=name)


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
    incoming: _Incoming = None,
    number: _Number = None,
    caller_id: str = "",
    transport: Annotated[str, typer.Option(help="udp, tcp, tls, or auto: as DNS says.")] = "udp",
    ca: _Ca = None,
    registers: Annotated[bool, typer.Option(help="Or the provider knows calls by our address.")] = True,
    media: OwnMedia = None,
) -> None:
    """Add an account with a VoIP provider; it is registered within seconds."""
    state.make(
        "/v1/providers",
        name=name,
        host=host,
        username=username,
        password=password,
        caller_id=caller_id,
        transport=transport,
        ca=_pem(ca) or "",
        incoming=incoming or [],
        numbers=number or [],
        registers=registers,
        media=media,
    )


@providers.command("show")
def show_provider(name: str) -> None:
    """One provider account."""
    state.output.one(state.call("GET", path_of("providers", name)))


@providers.command("set")
def set_provider(
    name: str,
    host: str | None = None,
    password: str | None = None,
    enabled: bool | None = None,
    incoming: _Incoming = None,
    number: _Number = None,
    caller_id: str | None = None,
    transport: Annotated[str | None, typer.Option(help="udp, tcp, tls, or auto: as DNS says.")] = None,
    ca: _Ca = None,
    plan: Annotated[str | None, typer.Option(help="The dial plan of its calls; empty for none.")] = None,
    media: OwnMedia = None,
) -> None:
    """Change what is given."""
    body = given(host=host, password=password, enabled=enabled, caller_id=caller_id, transport=transport)
    body |= given(ca=_pem(ca), media=media)
    body |= given(incoming=listed(incoming), numbers=listed(number))
    state.output.one(state.call("PATCH", path_of("providers", name), something(body | given(plan=plan))))


@providers.command("remove")
def remove_provider(name: str) -> None:
    """Remove a provider account; it is unregistered."""
    state.call("DELETE", path_of("providers", name))
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
    try:
        text = "\n".join(f"  {line}" for line in file.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise ApiError(f"{file} isn't text in UTF-8: {error}") from error
    data = f"publish: true\nnote: {_quoted(note)}\nplan:\n{text}\n".encode()
    where = f"{path_of('plans', name)}/versions"
    state.output.one(state.client.call("POST", where, data=data, media="application/yaml", tenant=state.client.tenant))


@plans.command("show")
def show_plan(
    name: str, version: Annotated[int | None, typer.Option(help="The one that counts, if left out.")] = None
) -> None:
    """One version of a plan, as it can be published again."""
    number = version or state.call("GET", path_of("plans", name))["published"]
    if not number:
        raise ApiError(f"No version of {name!r} is published; say which one with --version.")
    found = state.call("GET", f"{path_of('plans', name)}/versions/{number}")
    state.output.json(found if state.output.as_json else found["plan"])


@plans.command("versions")
def list_versions(name: str) -> None:
    """All versions of a plan: who stored one when, and why."""
    rows = state.owned(f"{path_of('plans', name)}/versions")
    if not state.output.as_json:
        rows = ({**one, "at": moment(one["at"])} for one in rows)
    state.output.table(rows, ("version", "at", "author", "note"))


@plans.command("rollback")
def roll_back(name: str, version: int) -> None:
    """Let another version count."""
    state.output.one(state.call("POST", f"{path_of('plans', name)}/publish", {"version": version}))


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
    body = given(caller=caller, called=called, at=at, direction=direction, provider=provider)
    found = state.call("POST", f"{path_of('plans', name)}:simulate", body)
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


@plans.command("remove")
def remove_plan(name: str) -> None:
    """Remove a plan and all its versions."""
    state.call("DELETE", path_of("plans", name))
    state.output.done(f"{name} is gone.")


@hooks.command("list")
def list_hooks() -> None:
    """A tenant's webhooks."""
    state.output.table(state.owned("/v1/hooks"), ("name", "url", "events"))


@hooks.command("add")
def add_hook(
    name: str,
    url: str,
    event: _Events = None,
) -> None:
    """Have events told to a URL, all of them if none is named. The secret that signs them is shown this once."""
    state.make("/v1/hooks", name=name, url=url, events=event or None)


@hooks.command("set")
def set_hook(name: str, url: str | None = None, event: _Events = None) -> None:
    """Change what is given. The secret stays."""
    state.output.one(state.call("PATCH", path_of("hooks", name), something(given(url=url, events=event or None))))


@hooks.command("ping")
def ping_hook(name: str) -> None:
    """See that it arrives."""
    state.call("POST", path_of("hooks", name, "ping"))
    state.output.done(f"A ping is on its way to {name}.")


@hooks.command("remove")
def remove_hook(name: str) -> None:
    """Tell it nothing more."""
    state.call("DELETE", path_of("hooks", name))
    state.output.done(f"{name} is gone.")


def _pem(file: Path | None) -> str | None:
    try:
        return file.read_text(encoding="utf-8") if file is not None else None
    except UnicodeDecodeError as error:
        raise ApiError(f"{file} isn't PEM, which begins with -----BEGIN CERTIFICATE-----.") from error


def _quoted(text: str) -> str:
    """For YAML."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
