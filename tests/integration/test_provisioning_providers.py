"""Providers and how calls go out, over the provisioning API."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS
from tests.integration.test_provisioning import ask, tenant
from tests.support.certificates import self_signed

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent

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


def test_a_provider_says_which_way_media_take(fleet, tenant):
    _, key, _ = tenant
    assert ask(fleet, key, "POST", "/v1/providers", VOIP)[1]["media"] == "tenant"
    assert ask(fleet, key, "PATCH", "/v1/providers/voip1", {"media": "never"})[0] == 422
    for media in ("direct", "tenant"):
        assert ask(fleet, key, "PATCH", "/v1/providers/voip1", {"media": media})[1]["media"] == media
    other = {**VOIP, "name": "voip2", "media": "relay"}
    assert ask(fleet, key, "POST", "/v1/providers", other)[1]["media"] == "relay"
    assert ask(fleet, key, "GET", "/v1/providers/voip2")[1]["media"] == "relay"


def test_a_provider_by_tls_or_as_dns_says(fleet, tenant):
    _, key, _ = tenant
    chain = self_signed("sip.example.net").chain
    asked = {
        "transport": "tls",
        "ca": f"my CA\n{chain}trust it",
        "host": "2001:DB8:0::1",
        "sources": ["2001:db8:1::/48"],
    }
    status, made = ask(fleet, key, "POST", "/v1/providers", {**VOIP, **asked})
    assert (status, made["transport"], made["ca"]) == (201, "tls", chain)
    assert (made["host"], made["sources"]) == ("[2001:db8::1]", ["2001:db8:1::/48"])
    for change in ({"transport": "auto"}, {"ca": ""}, {"outbound_proxy": "[2001:db8::2]:5081"}, {"transport": "tcp"}):
        status, changed = ask(fleet, key, "PATCH", "/v1/providers/voip1", change)
        assert (status, {name: changed[name] for name in change}) == (200, change)
    assert ask(fleet, key, "GET", "/v1/providers/voip1")[1]["transport"] == "tcp"


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"host": "sip..net"}, 422, "host name"),
        ({"host": "2001:db8::1::"}, 422, "host name"),
        ({"host": "[2001:db8::1%eth0]"}, 422, "host name"),
        ({"port": 70000}, 422, "65535"),
        ({"transport": "wss"}, 422, "'tls' or 'auto'"),
        ({"ca": "trust me"}, 422, "PEM"),
        ({"ca": "x" * 9000}, 422, "8192"),
        ({"outbound_proxy": "proxy:sip"}, 422, "sip.example.net:5060"),
        ({"name": "Voip One"}, 422, "pattern"),
        ({"username": "a b"}, 422, "pattern"),
        ({"username": "x>\r\nVia: y"}, 422, "pattern"),
        ({"password": ""}, 422, "at least 1"),
        ({"headers": ["Contact: <sip:me>"]}, 422, "set by the service"),
        ({"headers": ["no colon"]}, 422, "X-Account"),
        ({"headers": ["X-A: b\r\nVia: c"]}, 422, "pattern"),
        ({"sources": ["10.0.0.0/40"]}, 422, "10.0.0.0/40"),
        ({"sources": ["2001:db8::/129"]}, 422, "2001:db8::/129"),
        ({"incoming": ["nobody@example.org"]}, 404, "nobody@example.org"),
        ({"caller_id": "020 7946"}, 422, "+442079460000"),
        ({"expires": 5}, 422, "60"),
        ({"number_format": "roman"}, 422, "e164"),
        ({"secret": "x"}, 422, "extra"),
        ({"tenant": "t000000000000"}, 404, "t000000000000"),
        ({"numbers": ["+44 20"]}, 422, "digits"),
        ({"numbers": ["anna@example.org"]}, 422, "+442079460000"),
        ({"numbers": [f"+4420794601{number}" for number in range(10, 31)]}, 422, "20"),
        ({"registers": False}, 403, "administration key"),
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


def test_a_number_at_a_provider_is_one_accounts(fleet, tenant):
    owner, key, _ = tenant
    host = f"{secrets.token_hex(4)}.example.net"
    assert ask(fleet, key, "PATCH", f"/v1/tenants/{owner}", {"country": "GB"})[0] == 200
    status, made = ask(
        fleet,
        key,
        "POST",
        "/v1/providers",
        {**VOIP, "host": host, "numbers": ["020 7946 0111", "+442079460111", "1001"]},
    )
    assert (status, made["numbers"]) == (201, ["+442079460111", "1001"])
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    theirs = fleet.client.api("POST", "/v1/keys", {"tenant": other, "note": "x"})["key"]
    for number in ("+44 20 7946 0111", "02079460111", "442079460111", "1001"):
        status, problem = ask(fleet, theirs, "POST", "/v1/providers", {**VOIP, "host": host, "numbers": [number]})
        assert (status, "has the number" in problem["detail"]) == (409, True), number
        assert host in problem["detail"]
    elsewhere = {**VOIP, "host": f"x{host}", "numbers": ["+442079460111"]}
    assert ask(fleet, theirs, "POST", "/v1/providers", elsewhere)[0] == 201
    status, problem = ask(fleet, theirs, "PATCH", "/v1/providers/voip1", {"outbound_proxy": f"{host}:5080"})
    assert (status, "has the number" in problem["detail"]) == (409, True)
    # What isn't said any more is free: a number, a host, and all of an account that is gone.
    assert ask(fleet, key, "PATCH", "/v1/providers/voip1", {"numbers": ["1001"]})[0] == 200
    assert ask(fleet, theirs, "PATCH", "/v1/providers/voip1", {"host": host})[0] == 200
    assert ask(fleet, key, "PATCH", "/v1/providers/voip1", {"numbers": ["+442079460111"]})[0] == 409
    assert ask(fleet, key, "DELETE", "/v1/providers/voip1")[0] == 204
    status, changed = ask(fleet, theirs, "PATCH", "/v1/providers/voip1", {"numbers": ["1001", "+442079460111"]})
    assert (status, changed["numbers"]) == (200, ["1001", "+442079460111"])
    assert ask(fleet, theirs, "DELETE", "/v1/providers/voip1")[0] == 204
    assert ask(fleet, key, "POST", "/v1/providers", {**VOIP, "host": host, "numbers": ["+442079460111"]})[0] == 201


def test_whose_the_calls_of_a_trunk_are_only_administration_says(fleet, tenant):
    owner, key, _ = tenant
    trunk = {**VOIP, "tenant": owner, "registers": False, "host": f"{secrets.token_hex(4)}.example.net"}
    status, problem = ask(fleet, fleet.client.key, "POST", "/v1/providers", {**trunk, "sources": ["10.0.0.0/8"]})
    assert (status, "/16" in problem["detail"]) == (422, True)
    trunk |= {"numbers": ["+442079460111"], "sources": ["192.0.2.0/24"]}
    assert ask(fleet, fleet.client.key, "POST", "/v1/providers", trunk)[0] == 201
    for change in ({"numbers": ["+442079460112"]}, {"sources": ["198.51.100.0/24"]}):
        status, problem = ask(fleet, key, "PATCH", "/v1/providers/voip1", change)
        assert (status, "administration key" in problem["detail"]) == (403, True)
    assert ask(fleet, key, "PATCH", "/v1/providers/voip1", {"numbers": []})[0] == 200
    many = {"sources": [f"198.51.{third}.0/24" for third in range(50)], "outbound_proxy": "proxy.example.net"}
    many["numbers"] = [f"+4420794601{number}" for number in range(10, 30)]
    fleet.client.api("PATCH", f"/v1/tenants/{owner}", {"country": "GB"})
    status, problem = ask(fleet, fleet.client.key, "PATCH", f"/v1/providers/voip1?tenant={owner}", many)
    assert (status, "too many numbers" in problem["detail"]) == (422, True)


_LATE = """
import json, sys
from lambdas.contract import ProviderReport
from lambdas.repositories.directory import Directory
from lambdas.repositories.providers import Providers
from lambdas.repositories.vault import Vault

providers = Providers(Directory(), Vault())
name = sys.argv[1]

def states():
    item = providers.item(name)
    state = providers.state(name, item.call_id)
    return [state.state if state else None, providers.proven(providers.get(name))]

def note(state, at, call_id, version=None):
    version = int(providers.item(name).version) if version is None else version
    address = "203.0.113.11"
    providers.note(
        ProviderReport(provider=name, address=address, state=state, at=at, call_id=call_id, version=version)
    )
    return states()

own = providers.item(name).call_id
out = [
    note("failing", 1000.0, own),
    note("registered", 2000.0, own, version=1),  # as it was before it was changed
    note("registered", 2100.0, own),
    note("unregistered", 9000.0, "another"),  # of an account that had the name before
    note("failing", 2200.0, own),
    note("registered", 2150.0, own),
]
item = providers.item(name)
providers.change(item, "203.0.113.11", 3000.0, username="somebody-else")
out.append(states())
item.update(actions=[type(item).call_id.set("made again")])
out += [states(), note("failing", 100.0, "made again"), note("unregistered", 9500.0, own), note("registered", 120.0, "", version=0)]
print(json.dumps(out))
"""


def test_reports_are_of_the_account_that_they_name(fleet, tenant):
    """One that is deleted and made again under its name is another; a user name is proven by a REGISTER for it."""
    owner, key, _ = tenant
    status, made = ask(fleet, key, "POST", "/v1/providers", {**VOIP, "enabled": False})
    assert status == 201
    environment = {
        **os.environ,
        **DEVELOPMENT_CREDENTIALS,
        "AWS_ENDPOINT_URL": fleet.endpoint,
        "TABLE_PREFIX": "sipwizard",
        "SECRETS_KEY_FILE": str(fleet.directory / "secrets.key"),
    }
    command = [sys.executable, "-c", _LATE, f"{owner}/voip1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["failing", False],
        ["registered", False],
        ["registered", True],
        ["registered", True],
        ["failing", True],
        ["failing", True],
        ["failing", False],
        [None, False],
        ["failing", False],
        ["failing", False],
        ["registered", False],
    ]
