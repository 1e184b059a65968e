"""Tenants with their domains, API keys, routes and limits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lambdas.cli.client import ApiError, path_of
from lambdas.cli.state import given, state
from lambdas.cli.values import GivenSettings, parsed

tenants, domains, keys, routes = (
    typer.Typer(no_args_is_help=True, help=text)
    for text in ("Tenants.", "SIP domains.", "API keys.", "Which providers calls go out by.")
)
_RACES = 8
_CHANGED = 412
PREFIXES = ("allowed_prefixes", "blocked_prefixes")


def add_to(app: typer.Typer) -> None:
    for name, group in (("tenant", tenants), ("domain", domains), ("key", keys), ("route", routes)):
        app.add_typer(group, name=name)


@tenants.command("list")
def list_tenants() -> None:
    """All tenants."""
    state.output.table(state.client.pages("/v1/tenants"), ("id", "name", "country", "outgoing_plan", "suspended"))


@tenants.command("add")
def add_tenant(name: str) -> None:
    """Make a tenant. Premium and international calls are barred until `tenant set` allows them."""
    state.output.one(state.client.call("POST", "/v1/tenants", {"name": name}))


@tenants.command("show")
def show_tenant(tenant: str) -> None:
    """One tenant, and what counts for its limits just now."""
    found = state.client.call("GET", path_of("tenants", tenant))
    state.output.one({**found, "usage": state.client.call("GET", path_of("tenants", tenant, "usage"))})


@tenants.command("set")
def set_tenant(
    tenant: str,
    country: Annotated[str | None, typer.Option(help="Tells what national numbers mean, like GB.")] = None,
    outgoing_plan: Annotated[str | None, typer.Option(help="The dial plan of its calls; empty for none.")] = None,
    emergency: Annotated[
        list[str] | None, typer.Option(help="A provider that emergency calls go to; '' for none.")
    ] = None,
    name: str | None = None,
    script_host: Annotated[
        list[str] | None, typer.Option(help="A host that scripts may get pages of; '' for none.")
    ] = None,
    premium: Annotated[bool | None, typer.Option(help="Calls to premium numbers.")] = None,
    international: Annotated[bool | None, typer.Option(help="Calls to numbers abroad.")] = None,
    costly_without_control_plane: Annotated[
        bool | None, typer.Option(help="Both while edges can't reach the control plane, too.")
    ] = None,
    media: Annotated[
        str | None, typer.Option(help="Media of its calls: auto, relay or direct; accounts and providers may say else.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="The place where phones are of accounts that name none, like head-office.")
    ] = None,
) -> None:
    """Change what is given."""
    body = given(country=country, outgoing_plan=outgoing_plan, name=name)
    body |= given(premium=premium, international=international, media=media, site=site)
    body |= given(costly_without_control_plane=costly_without_control_plane)
    body |= given(emergency_providers=listed(emergency), script_hosts=listed(script_host))
    state.output.one(state.client.call("PATCH", path_of("tenants", tenant), something(body)))


@tenants.command("limit")
def limit_tenant(
    tenant: str,
    settings: GivenSettings,
    each: Annotated[bool, typer.Option("--each", help="Of each account that has none of its own.")] = False,
) -> None:
    """Set limits of all its accounts together, like calls_per_day=1000 or blocked_prefixes=+449,+44870."""
    limits = parsed(settings, PREFIXES)
    if each:
        state.output.one(state.client.call("PATCH", path_of("tenants", tenant), {"account_limits": limits}))
    else:
        state.output.one(state.client.call("PATCH", path_of("tenants", tenant, "bounds"), {"limits": limits}))


@tenants.command("rate")
def rate_tenant(tenant: str, settings: Annotated[list[str], typer.Argument(metavar="PREFIX=PER-MINUTE...")]) -> None:
    """Say what a minute costs of calls to numbers that begin so, like +44=0.02 +449=1.5; all rates at once."""
    rates = [{"prefix": prefix, "per_minute": float(value or 0)} for prefix, value in parsed(settings).items()]
    state.output.one(state.client.call("PATCH", path_of("tenants", tenant, "bounds"), {"rates": rates}))


@tenants.command("rules")
def rule_tenant(tenant: str, settings: GivenSettings) -> None:
    """Say when accounts are suspended, like failures=50 sources=3 premium_prefixes=+449,+44870 premium_calls=5."""
    rules = parsed(settings, ("premium_prefixes",))
    state.output.one(state.client.call("PATCH", path_of("tenants", tenant), {"suspension_rules": rules}))


@tenants.command("suspend")
def suspend_tenant(tenant: str, reason: str) -> None:
    """Nobody of it may register or call any more, and its calls end."""
    state.output.one(state.client.call("PUT", path_of("tenants", tenant, "suspension"), {"reason": reason}))


@tenants.command("lift")
def lift_tenant(tenant: str) -> None:
    """Lift its suspension."""
    state.output.one(state.client.call("DELETE", path_of("tenants", tenant, "suspension")))


@tenants.command("remove")
def remove_tenant(tenant: str) -> None:
    """Remove a tenant that has nothing left."""
    state.client.call("DELETE", path_of("tenants", tenant))
    state.output.done(f"{tenant} is gone.")


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
    state.make("/v1/domains", name=name, aliases=alias or [], default=default or None)


@domains.command("alias")
def set_aliases(name: str, alias: Annotated[list[str], typer.Argument(help="All of them; '' for none.")]) -> None:
    """Say which other names mean a domain."""
    state.output.one(state.client.call("PATCH", path_of("domains", name), {"aliases": listed(alias) or []}))


@domains.command("remove")
def remove_domain(name: str) -> None:
    """Remove a domain that has no accounts left."""
    state.client.call("DELETE", path_of("domains", name))
    state.output.done(f"{name} is gone.")


@keys.command("list")
def list_keys() -> None:
    """API keys, without their secrets."""
    state.output.table(state.owned("/v1/keys"), ("id", "role", "note", "member"))


@keys.command("add")
def add_key(note: str, role: Annotated[str, typer.Option(help="owner, admin or read-only.")] = "owner") -> None:
    """Make an API key; it is shown this once."""
    state.make("/v1/keys", note=note, role=role)


@keys.command("revoke")
def revoke_key(key: str) -> None:
    """Revoke an API key, at once."""
    state.client.call("DELETE", path_of("keys", key))
    state.output.done(f"{key} is revoked.")


@routes.command("list")
def list_routes() -> None:
    """By the beginning of the number; the longest one that fits counts."""
    state.output.table(_routes(), ("prefix", "providers"))


@routes.command("set")
def set_route(
    prefix: Annotated[str, typer.Argument(help="Like +44; '' for all that no other one fits.")],
    provider: Annotated[list[str], typer.Argument(help="In the order in which they are tried.")],
) -> None:
    """Have numbers that begin so go out by these providers."""
    _change(prefix, {"prefix": prefix, "providers": provider})


@routes.command("remove")
def remove_route(prefix: str) -> None:
    """Let it be as if there weren't this one."""
    _change(prefix)


def _routes() -> list[dict[str, Any]]:
    routes_: list[dict[str, Any]] = state.client.call("GET", _own())["outbound_routes"]
    return routes_


def _change(prefix: str, *instead: dict[str, Any]) -> None:
    """Leave the routes of other prefixes as they are, whoever changes them meanwhile."""
    for _ in range(_RACES):
        others = [route for route in _routes() if route["prefix"] != prefix]
        try:
            body = {"outbound_routes": [*others, *instead]}
            made = state.client.call("PATCH", _own(), body, if_match=state.client.etag)
        except ApiError as error:
            if error.status != _CHANGED:
                raise
            continue
        state.output.table(made["outbound_routes"], ("prefix", "providers"))
        return
    raise ApiError("The tenant is being changed by others just now; try again.")


def _own() -> str:
    """The path of the tenant that the command is about."""
    if state.client.tenant is None:
        owners = {one["tenant"] for one in state.client.call("GET", "/v1/keys", limit=1)["items"]}
        if owners in (set(), {None}):
            raise ApiError("Say whose: --tenant ID (see `tenant list`).")
        state.client.tenant = owners.pop()
    return path_of("tenants", str(state.client.tenant))


def something(body: dict[str, Any]) -> dict[str, Any]:
    """Raises ApiError if there is nothing to change."""
    if not body:
        raise ApiError("Say what to change; --help lists it.")
    return body


def listed(values: list[str] | None) -> list[str] | None:
    """Of an option that may be given several times: None if it wasn't, nothing if it was empty."""
    return [one for one in values if one] if values else None
