"""The sides of edge addresses as the control plane keeps them: said once, and nobody else's."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.test_cli import cli
from tests.integration.test_provisioning import ask, tenant

pytestmark = pytest.mark.integration

__all__ = ["cli", "tenant"]  # fixtures

KEY = "A" * 43 + "="


@pytest.fixture
def made(fleet):
    """Makes edges of names and addresses that nobody else has; (its name, its addresses)."""
    names: list[str] = []

    def make(count: int = 1, **more) -> tuple[str, list[str]]:
        name = f"edge-{secrets.token_hex(4)}"
        addresses = more.pop("addresses", None) or [
            f"198.18.{secrets.randbelow(256)}.{index + 1}" for index in range(count)
        ]
        fleet.client.api("POST", "/v1/edges", {"id": name, "public_key": KEY, "addresses": addresses, **more})
        names.append(name)
        return name, addresses

    yield make
    for name in names:
        fleet.client.request("DELETE", f"/v1/edges/{name}")


def sides() -> tuple[str, str]:
    """An IPv6 address and a host name that nobody has."""
    return f"2001:db8::{1 + secrets.randbelow(0xFFFE):x}", f"{secrets.token_hex(4)}.edges.example.net"


def test_the_sides_of_an_address_are_said_once_for_all_edges(fleet, made):
    name, (mine, other) = made(2)
    ipv6, host = sides()
    spelled = {"address": mine, "address6": ipv6.replace("::", ":0:0::").upper(), "name": f"{host.upper()}."}
    shown = fleet.client.api("PATCH", f"/v1/edges/{name}", {"places": [spelled]})
    place = {"address": mine, "address6": ipv6, "name": host}
    assert (shown["places"], shown["addresses"]) == ([place], [mine, other])
    second, _ = made(addresses=[other, mine])
    assert fleet.client.api("GET", f"/v1/edges/{second}")["places"] == [place]
    # Whoever gets another address keeps what is known of those it has.
    assert fleet.client.api("PATCH", f"/v1/edges/{name}", {"addresses": [mine]})["places"] == [place]
    fleet.client.request("DELETE", f"/v1/edges/{name}")
    assert fleet.client.api("GET", f"/v1/edges/{second}")["places"] == [place]
    assert fleet.client.api("PATCH", f"/v1/edges/{second}", {"places": [{"address": mine}]})["places"] == []


def test_a_side_is_not_two_addresses(fleet, made):
    ipv6, host = sides()
    name, (mine,) = made()
    fleet.client.api("PATCH", f"/v1/edges/{name}", {"places": [{"address": mine, "address6": ipv6, "name": host}]})
    other, (theirs,) = made()
    for side in ({"address6": ipv6}, {"name": host}):
        status, problem = ask(
            fleet, fleet.client.key, "PATCH", f"/v1/edges/{other}", {"places": [{"address": theirs, **side}]}
        )
        assert (status, mine in problem["detail"]) == (409, True)
    body = {"id": f"{other}x", "public_key": KEY, "addresses": [theirs], "places": [{"address": theirs, "name": host}]}
    assert ask(fleet, fleet.client.key, "POST", "/v1/edges", body)[0] == 409
    assert (
        ask(fleet, fleet.client.key, "POST", "/v1/edges/tokens", {k: body[k] for k in ("id", "addresses", "places")})[0]
        == 409
    )
    two = [{"address": theirs, "address6": "2001:db8::1:1"}, {"address": mine, "address6": "2001:db8::1:1"}]
    status, _ = ask(
        fleet, fleet.client.key, "PATCH", f"/v1/edges/{other}", {"addresses": [theirs, mine], "places": two}
    )
    assert status == 409
    # The name is free again once nobody may hold its address.
    fleet.client.request("DELETE", f"/v1/edges/{name}")
    fleet.client.api("PATCH", f"/v1/edges/{other}", {"places": [{"address": theirs, "name": host}]})


@pytest.mark.parametrize(
    "place",
    [
        {"address": "198.18.0.0", "address6": "2001:db8::1"},  # not one of its own
        {"address": "mine", "address6": "203.0.113.1"},
        {"address": "mine", "address6": "fe80::1"},
        {"address": "mine", "address6": "ff02::1"},
        {"address": "mine", "address6": "::ffff:192.0.2.1"},
        {"address": "mine", "name": "2001:db8::1"},
        {"address": "mine", "name": "203.0.113.1"},
        {"address": "mine", "name": "edge"},
        {"address": "mine", "name": "edge.example.net\r\nx: y"},
        {"address": "mine", "port": 5060},
    ],
)
def test_what_is_no_side_of_it_is_refused(fleet, made, place):
    name, (mine,) = made()
    place = {**place, "address": place["address"].replace("mine", mine)}
    assert ask(fleet, fleet.client.key, "PATCH", f"/v1/edges/{name}", {"places": [place]})[0] == 422
    assert fleet.client.api("GET", f"/v1/edges/{name}")["places"] == []


def test_only_who_runs_the_service_says_where_edges_are(fleet, tenant, made):
    name, (mine,) = made()
    body = {"places": [{"address": mine, "name": "edge.example.net"}]}
    assert ask(fleet, tenant[1], "PATCH", f"/v1/edges/{name}", body)[0] == 403


def test_an_edge_that_enrols_is_told_its_sides(fleet):
    name, address, (ipv6, host) = f"edge-{secrets.token_hex(4)}", f"198.19.{secrets.randbelow(256)}.1", sides()
    place = {"address": address, "address6": ipv6, "name": host}
    body = {"id": name, "addresses": [address], "places": [place]}
    token = fleet.client.api("POST", "/v1/edges/tokens", body)["token"]
    status, found = ask(fleet, "", "POST", "/v1/edges/enrol", {"token": token, "public_key": KEY})
    assert (status, found["places"]) == (201, [place])
    # A machine in its place, by a token that says nothing of them.
    token = fleet.client.api("POST", "/v1/edges/tokens", {"id": name, "addresses": [address]})["token"]
    status, found = ask(fleet, "", "POST", "/v1/edges/enrol", {"token": token, "public_key": KEY})
    assert (status, found["places"]) == (201, [place])
    fleet.client.request("DELETE", f"/v1/edges/{name}")


def test_an_edge_says_where_it_listens(fleet):
    found = {edge["id"]: edge for edge in fleet.client.api("GET", "/v1/edges")["items"] if edge["holds"]}
    assert found
    for edge in found.values():
        assert f"udp://{edge['holds'][0]}:5060" in edge["listen"]


def test_the_command_line_says_and_shows_the_sides_of_an_address(fleet, cli, made):
    name, (mine,) = made()
    ipv6, host = sides()
    admin = {"SIPWIZARD_KEY": fleet.client.key}
    cli("edge", "place", name, mine, "--address6", ipv6, "--name", host, **admin)
    (shown,) = [line for line in cli("edge", "list", **admin).splitlines() if line.startswith(name)]
    assert f"{mine}: {ipv6} {host}" in shown
    assert "edge place" not in cli("edge", "place", name, mine, "--address6", "fe80::1", fails=True, **admin)
    cli("edge", "place", name, mine, **admin)
    assert fleet.client.api("GET", f"/v1/edges/{name}")["places"] == []
    other, address = f"edge-{secrets.token_hex(4)}", f"198.18.{secrets.randbelow(256)}.9"
    cli("edge", "add", other, KEY, "--address", address, "--name", host, **admin)
    assert fleet.client.api("GET", f"/v1/edges/{other}")["places"] == [
        {"address": address, "address6": "", "name": host}
    ]
    cli("edge", "remove", other, **admin)


def test_no_tenant_has_an_edges_name_as_its_domain(fleet, tenant, made):
    """Whoever writes an edge's name means the default domain (and the edge's certificate is for it)."""
    owner, key, domain = tenant
    name, (mine,) = made()
    _, host = sides()
    fleet.client.api("PATCH", f"/v1/edges/{name}", {"places": [{"address": mine, "name": host}]})

    def ask_for(who: str) -> int:
        return ask(fleet, who, "POST", "/v1/domains", {"tenant": owner, "name": host})[0]

    assert ask_for(key) == 409
    assert ask(fleet, key, "PATCH", f"/v1/domains/{domain}", {"aliases": [host]})[0] == 409
    assert ask_for(fleet.client.key) == 201
    fleet.client.api("DELETE", f"/v1/domains/{host}")
