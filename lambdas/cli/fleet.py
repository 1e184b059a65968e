"""Edges, their certificates, and whom they take nothing from."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import quote

import typer

from lambdas.cli.client import path_of
from lambdas.cli.shown import errors, moment
from lambdas.cli.state import state

edges = typer.Typer(no_args_is_help=True, help="Edges.")
certificates = typer.Typer(
    invoke_without_command=True, help="Certificates of edges' names and of domains; without a command, all of them."
)
bans = typer.Typer(no_args_is_help=True, help="Networks that no edge takes anything from.")
networks = typer.Typer(no_args_is_help=True, help="Public networks: between two of them media need no relay.")

_LOOK = 2.0  # seconds
_ADDRESS6 = "The IPv6 side of its own address."
_NAME = "The host name of its own address."


def add_to(app: typer.Typer) -> None:
    app.add_typer(edges, name="edge")
    app.add_typer(certificates, name="certificates")
    app.add_typer(bans, name="ban")
    app.add_typer(networks, name="network")


def _places(address: str, address6: str, name: str) -> list[dict[str, str]]:
    return [{"address": address, "address6": address6, "name": name}] if address6 or name else []


def _side(place: dict[str, str]) -> str:
    """A line for people."""
    return " ".join(filter(None, (f"{place['address']}:", place["address6"], place["name"])))


@edges.command("list")
def list_edges() -> None:
    """The fleet."""
    rows = list(state.client.pages("/v1/edges"))
    if not state.output.as_json:
        rows = [{**one, "places": [_side(place) for place in one["places"]]} for one in rows]
    state.output.table(rows, ("id", "addresses", "places", "holds", "listen", "media"))


@edges.command("add")
def add_edge(
    edge: str,
    public_key: str,
    address: Annotated[list[str], typer.Option(help="An address it may hold.")],
    address6: Annotated[str, typer.Option(help=_ADDRESS6)] = "",
    name: Annotated[str, typer.Option(help=_NAME)] = "",
) -> None:
    """Register an edge by the key that `python -m edge public-key` prints."""
    body = {"id": edge, "public_key": public_key, "addresses": address, "places": _places(address[0], address6, name)}
    state.output.one(state.client.call("POST", "/v1/edges", body))


@edges.command("enrol")
def enrol_edge(
    edge: str,
    address: Annotated[list[str], typer.Option(help="An address it may hold, its own first.")],
    address6: Annotated[str, typer.Option(help=_ADDRESS6)] = "",
    name: Annotated[str, typer.Option(help=_NAME)] = "",
    wait: Annotated[bool, typer.Option(help="Until it is there.")] = True,
) -> None:
    """Say what to run on a new machine for it to become an edge, and wait for it."""
    body = {"id": edge, "addresses": address, "places": _places(address[0], address6, name)}
    made = state.client.call("POST", "/v1/edges/tokens", body)
    command = f"sudo scripts/enrol --api {state.client.url} --token {made['token']}"
    if state.output.as_json:
        state.output.one({"command": command, **made})
    else:
        state.output.done(f"Within 15 minutes, on the machine, in a clone of sipwizard:\n\n    {command}\n")
    if not wait:
        return
    with errors.status(f"Waiting for {edge} to hold {address[0]} ..."):
        while not any(one["id"] == edge and one["holds"] for one in state.client.pages("/v1/edges")):
            time.sleep(_LOOK)
    state.output.done(f"{edge} is there.")


@edges.command("place")
def place_edge(
    edge: str,
    address: Annotated[str, typer.Argument(help="One of its addresses.")],
    address6: Annotated[str, typer.Option(help="Its IPv6 side; without, it has none.")] = "",
    name: Annotated[str, typer.Option(help="Its host name; without, it has none.")] = "",
) -> None:
    """Say which IPv6 side and host name an edge address has, whichever edge holds it."""
    body = {"places": [{"address": address, "address6": address6, "name": name}]}
    state.output.one(state.client.call("PATCH", path_of("edges", edge), body))


@edges.command("remove")
def remove_edge(edge: str) -> None:
    """Let an edge into the fleet no more."""
    state.client.call("DELETE", path_of("edges", edge))
    state.output.done(f"{edge} is gone.")


@certificates.callback()
def list_certificates(context: typer.Context) -> None:
    """Those of edges' names and of domains: how they stand, and why."""
    if context.invoked_subcommand is not None:
        return
    rows = list(state.owned("/v1/certificates"))
    if not state.output.as_json:
        rows = [{**one, **{name: moment(one[name]) for name in ("not_after", "next_attempt")}} for one in rows]
    state.output.table(rows, ("name", "state", "not_after", "next_attempt", "error"))


@certificates.command("show")
def show_certificate(name: str) -> None:
    """One of them, with the records that DNS has to have for it."""
    state.output.one(state.client.call("GET", path_of("certificates", name)))


@certificates.command("renew")
def renew_certificate(name: str) -> None:
    """Look at its records and get another one within minutes."""
    state.client.call("POST", path_of("certificates", name, "renewal"))
    state.output.done(f"{name} is seen to within five minutes; `certificates show {name}` says what came of it.")


@bans.command("list")
def list_bans() -> None:
    """Those that haven't run out."""
    rows = list(state.client.pages("/v1/bans"))
    if not state.output.as_json:
        rows = [{**one, "until": moment(one["until"])} for one in rows]
    state.output.table(rows, ("network", "until", "reason"))


@bans.command("add")
def add_ban(
    network: Annotated[str, typer.Argument(help="Like 192.0.2.7 or 192.0.2.0/24.")],
    reason: str = "",
    seconds: Annotated[int, typer.Option(min=1, help="How long it lasts.")] = 3600,
) -> None:
    """Have every edge drop what comes from there, within seconds."""
    body = {"network": network, "reason": reason, "seconds": seconds}
    state.output.one(state.client.call("POST", "/v1/bans", body))


@bans.command("lift")
def lift_ban(network: str) -> None:
    """Take from there again."""
    state.client.call("DELETE", f"/v1/bans/{quote(network)}")
    state.output.done(f"{network} is banned no longer.")


@networks.command("list")
def list_networks() -> None:
    """All of them."""
    state.output.table(state.client.pages("/v1/public-networks"), ("network", "note"))


@networks.command("add")
def add_network(
    network: Annotated[str, typer.Argument(help="Like 192.0.2.0/24: reached from anywhere, without NAT or firewall.")],
    note: str = "",
) -> None:
    """Have edges know within a minute."""
    state.output.one(state.client.call("POST", "/v1/public-networks", {"network": network, "note": note}))


@networks.command("remove")
def remove_network(network: str) -> None:
    """Relay media from and to there again."""
    state.client.call("DELETE", f"/v1/public-networks/{quote(network)}")
    state.output.done(f"{network} is public no longer.")
