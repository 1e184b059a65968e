"""Providers and how calls go out, over the provisioning API."""

from __future__ import annotations

import pytest

from tests.integration.test_provisioning import ask, tenant

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

VOIP = {"name": "voip1", "host": "sip.example.net", "username": "4420", "password": "pass word"}


def test_a_provider_from_birth_to_death(fleet, tenant):
    owner, key, domain = tenant
    ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})
    status, made = ask(
        fleet, key, "POST", "/v1/providers", {**VOIP, "incoming": [f"eve@{domain}"], "caller_id": "+44 20 7946 0000"}
    )
    assert status == 201
    assert made["caller_id"] == "+442079460000"
    assert made["registration"]["edge_address"] in {edge.address for edge in fleet.edges}
    assert "password" not in made
    assert ask(fleet, key, "POST", "/v1/providers", VOIP)[0] == 409
    assert [item["name"] for item in ask(fleet, key, "GET", "/v1/providers")[1]["items"]] == ["voip1"]
    status, changed = ask(fleet, key, "PATCH", "/v1/providers/voip1", {"enabled": False, "number_format": "national"})
    assert (status, changed["enabled"], changed["number_format"]) == (200, False, "national")
    routes = {
        "country": "gb",
        "outbound_routes": [{"prefix": "+44", "providers": ["voip1"]}],
        "emergency_providers": ["voip1"],
    }
    status, shown = ask(fleet, key, "PATCH", f"/v1/tenants/{owner}", routes)
    assert (status, shown["country"], shown["outbound_routes"]) == (200, "GB", routes["outbound_routes"])
    assert ask(fleet, key, "GET", f"/v1/tenants/{owner}")[1] == shown
    assert ask(fleet, key, "DELETE", "/v1/providers/voip1")[0] == 204
    shown = ask(fleet, key, "GET", f"/v1/tenants/{owner}")[1]
    assert (shown["outbound_routes"], shown["emergency_providers"]) == ([], [])
    assert ask(fleet, key, "GET", "/v1/providers/voip1")[0] == 404
    assert ask(fleet, key, "POST", "/v1/providers", VOIP)[0] == 201  # the name is free again
    assert ask(fleet, fleet.client.key, "DELETE", f"/v1/providers/voip1?tenant={owner}")[0] == 204


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"host": "sip..net"}, 422, "host name"),
        ({"host": "2001:db8::1"}, 422, "host name"),
        ({"port": 70000}, 422, "65535"),
        ({"transport": "tls"}, 422, "'udp' or 'tcp'"),
        ({"outbound_proxy": "proxy:sip"}, 422, "sip.example.net:5060"),
        ({"name": "Voip One"}, 422, "pattern"),
        ({"username": "a b"}, 422, "pattern"),
        ({"username": "x>\r\nVia: y"}, 422, "pattern"),
        ({"password": ""}, 422, "at least 1"),
        ({"headers": ["Contact: <sip:me>"]}, 422, "set by the service"),
        ({"headers": ["no colon"]}, 422, "X-Account"),
        ({"headers": ["X-A: b\r\nVia: c"]}, 422, "pattern"),
        ({"sources": ["10.0.0.0/40"]}, 422, "10.0.0.0/40"),
        ({"incoming": ["nobody@example.org"]}, 404, "nobody@example.org"),
        ({"caller_id": "020 7946"}, 422, "+442079460000"),
        ({"expires": 5}, 422, "60"),
        ({"number_format": "roman"}, 422, "e164"),
        ({"secret": "x"}, 422, "extra"),
        ({"tenant": "t000000000000"}, 404, "t000000000000"),
    ],
)
def test_bad_providers_say_what_is_wrong(fleet, tenant, change, status, says):
    _, key, _ = tenant
    got, problem = ask(fleet, key, "POST", "/v1/providers", {**VOIP, **change})
    assert got == status
    assert says.lower() in str(problem).lower()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"country": "XX"}, 422, "ISO 3166"),
        ({"outbound_routes": [{"prefix": "0x", "providers": ["voip1"]}]}, 422, "beginning of a number"),
        ({"outbound_routes": [{"prefix": "0", "providers": []}]}, 422, "at least 1"),
        ({"outbound_routes": [{"prefix": "0", "providers": ["none"]}]}, 404, "/v1/providers"),
        ({"emergency_providers": ["none"]}, 404, "none"),
    ],
)
def test_bad_ways_out_say_what_is_wrong(fleet, tenant, body, status, says):
    owner, key, _ = tenant
    got, problem = ask(fleet, key, "PATCH", f"/v1/tenants/{owner}", body)
    assert got == status
    assert says in str(problem)


def test_another_tenants_providers_look_like_none(fleet, tenant):
    owner, key, domain = tenant
    assert ask(fleet, key, "POST", "/v1/providers", VOIP)[0] == 201
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    theirs = fleet.client.api("POST", "/v1/keys", {"tenant": other, "note": "x"})["key"]
    for method, path, body in (
        ("GET", "/v1/providers/voip1", None),
        ("GET", f"/v1/providers/voip1?tenant={owner}", None),
        ("PATCH", f"/v1/providers/voip1?tenant={owner}", {"enabled": False}),
        ("DELETE", f"/v1/providers/voip1?tenant={owner}", None),
        ("PATCH", f"/v1/tenants/{owner}", {"country": "GB"}),
        ("POST", "/v1/providers", {**VOIP, "tenant": owner}),
        ("POST", "/v1/providers", {**VOIP, "incoming": [f"alice@{domain}"]}),
    ):
        assert ask(fleet, theirs, method, path, body)[0] == 404, (method, path)
    assert ask(fleet, theirs, "GET", "/v1/providers")[1]["items"] == []
    assert ask(fleet, theirs, "POST", "/v1/providers", VOIP)[0] == 201  # names are each tenant's own
    assert ask(fleet, fleet.client.key, "DELETE", f"/v1/tenants/{other}")[0] == 409
