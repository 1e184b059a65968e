"""The provisioning API over HTTP, with MiniStack behind it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.control.client import ControlClient
from edge.control.identity import Identity
from lambdas.contract import VERSION, Heartbeat
from scripts.fleet_client import http_request
from scripts.fleet_parts import DOMAIN, SIP
from scripts.processes import wait_for
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.integration


@pytest.fixture
def tenant(fleet):
    """A tenant of its own: (id, a key of it, a domain of it)."""
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Test"})["id"]
    key = fleet.client.api("POST", "/v1/keys", {"tenant": tenant, "note": "test"})["key"]
    domain = f"{secrets.token_hex(4)}.example"
    fleet.client.api("POST", "/v1/domains", {"tenant": tenant, "name": domain})
    return tenant, key, domain


def ask(fleet, key, method, path, body=None):
    return fleet.client.request(method, path, body, key)


def test_openapi_is_public_and_explains_itself(fleet):
    status, document = ask(fleet, "", "GET", "/v1/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.")
    assert "Bearer" in document["info"]["description"]
    for path, operations in document["paths"].items():
        assert path.startswith("/v1/"), "the edges' routes stay out of it"
        for operation in operations.values():
            assert operation["description"] or operation["summary"]
            assert "401" in operation["responses"]


@pytest.mark.parametrize("key", ["", "nonsense", "sw_0011223344556677_00", "sw_a_b_c"])
def test_without_a_valid_key(fleet, key):
    status, problem = ask(fleet, key, "GET", "/v1/accounts")
    assert status == 401
    assert problem["title"] == "Unauthorized"
    assert "/v1/keys" in problem["detail"]


def test_account_from_birth_to_death(fleet, tenant):
    _, key, domain = tenant
    status, account = ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})
    assert status == 201
    assert len(account["password"]) == 20
    assert not set(account["password"]) & set("0Oo1lI-_"), "hard to read out, or to type on a phone"
    path = f"/v1/accounts/eve@{domain}"
    assert "password" not in ask(fleet, key, "GET", path)[1]
    assert ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})[0] == 409
    status, changed = ask(fleet, key, "POST", path + "/password", {"password": "correct horse battery"})
    assert (status, changed["password"]) == (200, "correct horse battery")
    assert ask(fleet, key, "PATCH", path, {"enabled": False})[1]["enabled"] is False
    assert ask(fleet, key, "GET", path)[1]["enabled"] is False
    assert ask(fleet, key, "DELETE", path)[0] == 204
    assert ask(fleet, key, "GET", path)[0] == 404
    assert ask(fleet, key, "DELETE", path)[0] == 404


def test_an_account_says_by_which_algorithms_its_phones_answer(fleet, tenant):
    _, key, domain = tenant
    made = ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})[1]
    assert made["digest"] == "auto"
    path = f"/v1/accounts/eve@{domain}"
    assert ask(fleet, key, "PATCH", path, {"digest": "SHA-1"})[0] == 422
    assert ask(fleet, key, "PATCH", path, {"digest": "sha256"})[1]["digest"] == "sha256"
    for digest in ("both", "md5", "auto"):
        assert ask(fleet, key, "PATCH", path, {"digest": digest})[1]["digest"] == digest
    other = {"username": "ivy", "domain": domain, "digest": "both"}
    assert ask(fleet, key, "POST", "/v1/accounts", other)[1]["digest"] == "both"


def test_accounts_and_tenants_say_which_way_their_media_take(fleet, tenant):
    owner, key, domain = tenant
    made = ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})[1]
    assert (made["media"], made["site"]) == ("tenant", "")
    path = f"/v1/accounts/eve@{domain}"
    for wrong in ({"media": "always"}, {"media": None, "site": "Berlin, 3rd floor"}, {"site": "x" * 33}):
        assert ask(fleet, key, "PATCH", path, wrong)[0] == 422
    for media in ("relay", "direct", "auto", "tenant"):
        changed = ask(fleet, key, "PATCH", path, {"media": media, "site": "head-office"})[1]
        assert (changed["media"], changed["site"]) == (media, "head-office")
    assert ask(fleet, key, "PATCH", path, {"site": ""})[1]["site"] == ""
    other = {"username": "ivy", "domain": domain, "media": "relay", "site": "home"}
    assert ask(fleet, key, "POST", "/v1/accounts", other)[1]["media"] == "relay"

    path = f"/v1/tenants/{owner}"
    shown = ask(fleet, key, "GET", path)[1]
    assert (shown["media"], shown["site"], shown["limits"]["relayed_calls"]) == ("auto", "", None)
    assert ask(fleet, key, "PATCH", path, {"media": "tenant"})[0] == 422
    changed = ask(fleet, key, "PATCH", path, {"media": "relay", "site": "office"})[1]
    assert (changed["media"], changed["site"]) == ("relay", "office")
    assert (
        ask(fleet, key, "PATCH", path, {"account_limits": {"relayed_calls": 3}})[1]["account_limits"]["relayed_calls"]
        == 3
    )
    bounded = ask(fleet, fleet.client.key, "PATCH", f"{path}/bounds", {"limits": {"relayed_calls": 9}})[1]
    assert (bounded["limits"]["relayed_calls"], bounded["account_limits"]["relayed_calls"]) == (9, 3)
    taken = ask(fleet, fleet.client.key, "PATCH", f"{path}/bounds", {"limits": {"relayed_calls": None}})[1]
    assert (taken["limits"]["relayed_calls"], taken["account_limits"]["relayed_calls"]) == (None, 3)
    assert ask(fleet, key, "GET", path)[1] == taken
    limits = {"limits": {"relayed_calls": 10_001}}
    assert ask(fleet, fleet.client.key, "PATCH", f"{path}/bounds", limits)[0] == 422


def test_public_networks_are_told_to_edges_with_who_relays(fleet, tenant):
    _, key, _ = tenant
    network = f"198.18.{secrets.randbelow(256)}.0/24"
    assert ask(fleet, key, "POST", "/v1/public-networks", {"network": network})[0] == 403
    assert fleet.client.request("POST", "/v1/public-networks", {"network": "0.0.0.0/0"})[0] == 422
    made = fleet.client.api("POST", "/v1/public-networks", {"network": network, "note": "a data centre"})
    assert made == {"network": network, "note": "a data centre"}
    assert fleet.client.request("POST", "/v1/public-networks", {"network": network})[0] == 409
    assert made in fleet.client.api("GET", "/v1/public-networks")["items"]
    assert fleet.client.api("GET", f"/v1/public-networks/{network}") == made

    identity = Identity(f"edge-{secrets.token_hex(4)}", Ed25519PrivateKey.generate())
    address = f"198.19.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    edge = {"id": identity.edge, "public_key": identity.public_key, "addresses": [address]}
    assert fleet.client.api("POST", "/v1/edges", edge)["media"] is False

    def relays():
        return fleet.client.api("GET", f"/v1/edges/{identity.edge}")["media"]

    async def beats():
        client = ControlClient(identity, [fleet.api_url], "none")
        common = {"version": VERSION, "boot": "b", "addresses": [address], "mesh": f"{address}:1", "certificate": ""}
        first = await client.heartbeat(Heartbeat(**common, media=True))
        wait_for("that it relays", lambda: relays() is True, 10)
        again = Heartbeat(**common, public_networks=first.public_networks_version)
        second = await client.heartbeat(again)
        wait_for("that it relays no more", lambda: relays() is False, 10)
        client.close()
        return first, second

    first, second = asyncio.run(beats())
    assert network in first.public_networks
    assert second.public_networks is None
    fleet.client.api("DELETE", f"/v1/edges/{identity.edge}")
    fleet.client.api("DELETE", f"/v1/public-networks/{network}")
    assert fleet.client.request("GET", f"/v1/public-networks/{network}")[0] == 404


def test_the_accounts_of_edges_are_nobodys_to_make(fleet, tenant):
    _, key, domain = tenant
    status, problem = ask(fleet, key, "POST", "/v1/accounts", {"username": "Probe-edge-a", "domain": domain})
    assert (status, "the service's own" in problem["errors"][0]["fault"]) == (422, True)


def test_what_a_body_is_has_to_be_said(fleet, tenant):
    _, key, _ = tenant
    parts = urlsplit(fleet.api_url)
    for kind, body, expected, says in (
        ("application/json", "{", 422, "isn't JSON"),
        ("application/json", '"x"', 422, "can't be used as they are: body"),
        (None, "{}", 415, "send it with 'Content-Type: application/json'"),
        ("text/plain", "{}", 415, "send it with 'Content-Type: application/json'"),
        ("application/yaml", "{}", 415, "send it with 'Content-Type: application/json'"),
    ):
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": kind} if kind else {})
        connection.request("POST", "/v1/accounts", body, headers)
        response = connection.getresponse()
        problem = json.loads(response.read())
        connection.close()
        assert (response.status, says in problem["detail"]) == (expected, True), problem


def test_a_body_is_no_longer_than_anybody_needs(fleet, tenant):
    _, key, _ = tenant
    status, problem = ask(fleet, key, "POST", "/v1/accounts", {"username": "a" * 7_000_000})
    assert (status, problem["detail"]) == (413, "The body is longer than 1000000 octets.")


def test_password_hashes_never_leave(fleet, tenant):
    _, key, domain = tenant
    ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})
    for path in ("/v1/accounts", f"/v1/accounts/eve@{domain}", "/v1/keys", "/v1/domains"):
        text = json.dumps(ask(fleet, key, "GET", path)[1])
        assert "ha1" not in text
        assert "hash" not in text


def test_paging(fleet, tenant):
    _, key, domain = tenant
    names = [f"user{number:02}" for number in range(7)]
    for name in names:
        ask(fleet, key, "POST", "/v1/accounts", {"username": name, "domain": domain})
    found, cursor, pages = [], "", 0
    while cursor is not None:
        status, page = ask(fleet, key, "GET", f"/v1/accounts?limit=3{f'&cursor={cursor}' if cursor else ''}")
        assert status == 200
        found += [account["username"] for account in page["items"]]
        cursor, pages = page["next"], pages + 1
    assert (found, pages) == (names, 3)


def all_of(fleet, key, path, limit=3):
    """Every item of a list, a few at a time."""
    found, cursor = [], ""
    while cursor is not None:
        status, page = ask(
            fleet, key, "GET", f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor and f'&cursor={cursor}'}"
        )
        assert status == 200, page
        found += page["items"]
        cursor = page["next"]
    return found


def test_filters(fleet, tenant):
    owner, key, domain = tenant
    other = f"{domain}.au"  # begins like the first one
    fleet.client.api("POST", "/v1/domains", {"tenant": owner, "name": other})
    assert (
        ask(fleet, key, "POST", "/v1/plans/office/versions", {"plan": {"rules": [{"name": "x", "as_dialled": True}]}})[
            0
        ]
        == 201
    )
    for number in range(8):
        body = {"username": f"u{number}", "domain": domain if number % 2 else other, "enabled": number < 6}
        body |= {"plan": "office"} if number == 3 else {}
        assert ask(fleet, key, "POST", "/v1/accounts", body)[0] == 201
    ask(fleet, key, "PUT", f"/v1/accounts/u1@{domain}/suspension", {"reason": "x"})

    def users(query):
        return [one["username"] for one in all_of(fleet, key, f"/v1/accounts?{query}")]

    assert users(f"domain={domain}") == ["u1", "u3", "u5", "u7"]
    assert users(f"domain={other}&enabled=false") == ["u6"]
    assert users("enabled=true&prefix=u") == [f"u{number}" for number in range(6)]
    assert users("suspended=true") == ["u1"]
    assert users("suspended=false&plan=") == ["u0", "u2", "u4", "u5", "u6", "u7"]
    assert users("plan=office") == ["u3"]
    assert users("prefix=u1@") == ["u1"]
    assert users("prefix=v") == []
    assert [one["name"] for one in all_of(fleet, key, "/v1/plans?published=false")] == ["office"]
    assert all_of(fleet, key, "/v1/plans?published=true&prefix=off") == []
    ask(fleet, key, "POST", "/v1/keys", {"note": "r", "role": "read-only"})
    assert [one["note"] for one in all_of(fleet, key, "/v1/keys?role=read-only")] == ["r"]
    for name in ("night", "nobody", "x"):
        ask(fleet, key, "PUT", f"/v1/store/{name}", {"value": name})
    assert [one["key"] for one in all_of(fleet, key, "/v1/store?prefix=n")] == ["night", "nobody"]
    assert [one["id"] for one in all_of(fleet, fleet.client.key, f"/v1/tenants?prefix={owner}")] == [owner]
    assert owner not in [one["id"] for one in all_of(fleet, fleet.client.key, "/v1/tenants?suspended=true")]
    cursor = ask(fleet, key, "GET", "/v1/store?limit=1")[1]["next"]  # of another list
    assert ask(fleet, key, "GET", f"/v1/accounts?prefix=a&cursor={cursor}")[1] == {"items": [], "next": None}


def test_what_isnt_known_or_stands_there_twice_in_a_query_is_said(fleet, tenant):
    _, key, _ = tenant
    for query, says in (("enabld=false", "'enabld'"), ("limit=1&limit=2", "more than once")):
        status, problem = ask(fleet, key, "GET", f"/v1/accounts?{query}")
        assert (status, says in problem["detail"]) == (422, True)
    for day in ("20260101xx", "2026-W01-1", "2026-1-1x"):
        assert ask(fleet, key, "GET", f"/v1/calls?day={day}")[0] == 422
    long = base64.urlsafe_b64encode(b"A" * 1400).decode()
    assert ask(fleet, key, "GET", f"/v1/accounts?cursor={long}")[0] == 400


def test_changes_at_once_wait_for_each_other(fleet, tenant):
    _, key, domain = tenant
    names = [f"at-once-{number}@{domain}" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        made = list(
            pool.map(
                lambda aor: ask(
                    fleet, key, "POST", "/v1/accounts", {"username": aor.partition("@")[0], "domain": domain}
                )[0],
                names,
            )
        )
        assert made == [201] * 12
        for name in ("first", "second"):
            body = {"display_name": name}
            changed = list(
                pool.map(lambda aor, body=body: ask(fleet, key, "PATCH", f"/v1/accounts/{aor}", body)[0], names)
            )
            assert changed == [200] * 12
        gone = list(pool.map(lambda aor: ask(fleet, key, "DELETE", f"/v1/accounts/{aor}")[0], names))
        assert gone == [204] * 12
        gone = sorted(pool.map(lambda _: ask(fleet, key, "DELETE", f"/v1/domains/{domain}")[0], range(4)))
    assert gone[0] == 204
    assert set(gone[1:]) <= {404, 409, 412}


def test_single_things_can_be_read_and_changed(fleet, tenant):
    owner, key, _ = tenant
    made = ask(fleet, key, "POST", "/v1/keys", {"note": "one"})[1]
    shown = ask(fleet, key, "GET", f"/v1/keys/{made['id']}")[1]
    assert shown == {name: value for name, value in made.items() if name != "key"}
    fleet.client.api("POST", "/v1/bans", {"network": "198.51.100.200/32", "reason": "x"})
    for name in ("198.51.100.200", "198.51.100.200/32"):
        assert fleet.client.api("GET", f"/v1/bans/{name}")["reason"] == "x"
    fleet.client.api("DELETE", "/v1/bans/198.51.100.200/32")
    assert fleet.client.request("GET", "/v1/bans/198.51.100.200")[0] == 404
    assert ask(fleet, key, "PATCH", f"/v1/tenants/{owner}", {"name": "Renamed"})[1]["name"] == "Renamed"
    edge = {"id": "edge-change", "public_key": base64.b64encode(b"k" * 32).decode()}
    fleet.client.api("POST", "/v1/edges", {**edge, "addresses": ["203.0.113.9", "203.0.113.8"]})
    assert fleet.client.api("GET", "/v1/edges/edge-change")["addresses"] == ["203.0.113.9", "203.0.113.8"]
    changed = fleet.client.api("PATCH", "/v1/edges/edge-change", {"addresses": ["203.0.113.7"]})
    assert changed["addresses"] == ["203.0.113.7"]
    fleet.client.api("DELETE", "/v1/edges/edge-change")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/v1/accounts", {"username": "a b", "domain": "x.example"}, 422, "username"),
        ("POST", "/v1/accounts", {"username": "a", "domain": "x.example", "pasword": "x"}, 422, "pasword"),
        ("POST", "/v1/accounts", {"username": "a", "domain": "nowhere.example"}, 404, "nowhere.example"),
        ("POST", "/v1/accounts", {"username": "a", "domain": "-bad-"}, 422, "domain"),
        ("POST", "/v1/accounts", {"username": "a", "domain": "x.example", "password": "short"}, 422, "password"),
        ("GET", "/v1/accounts?limit=0", None, 422, "limit"),
        ("GET", "/v1/accounts?cursor=%21", None, 400, "cursor"),
        ("GET", "/v1/nothing", None, 404, "/v1/nothing"),
        ("PUT", "/v1/accounts", {}, 405, ""),
        ("GET", "/v1/tenants", None, 403, "administration"),
        ("POST", "/v1/tenants", {"name": "x"}, 403, "administration"),
        ("GET", "/v1/edges", None, 403, "administration"),
        ("POST", "/v1/keys", {"administration": True}, 403, "administration"),
        ("POST", "/v1/domains", {"name": "d.example", "default": True}, 403, "default"),
    ],
)
def test_bad_requests_say_what_is_wrong(fleet, tenant, method, path, body, status, says):
    got, problem = ask(fleet, tenant[1], method, path, body)
    assert got == status
    assert problem["status"] == status
    assert says in json.dumps(problem)


def test_tenants_cant_see_each_other(fleet, tenant):
    _, key, domain = tenant
    ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    made = fleet.client.api("POST", "/v1/keys", {"tenant": other})
    theirs = made["key"]
    own_key = fleet.client.api("GET", f"/v1/keys?tenant={tenant[0]}")["items"][0]["id"]
    for method, path, body in (
        ("GET", f"/v1/tenants/{tenant[0]}", None),
        ("GET", f"/v1/domains/{domain}", None),
        ("PATCH", f"/v1/domains/{domain}", {"aliases": []}),
        ("DELETE", f"/v1/domains/{domain}", None),
        ("POST", "/v1/accounts", {"username": "mallory", "domain": domain}),
        ("GET", f"/v1/accounts/eve@{domain}", None),
        ("PATCH", f"/v1/accounts/eve@{domain}", {"enabled": False}),
        ("POST", f"/v1/accounts/eve@{domain}/password", {}),
        ("DELETE", f"/v1/accounts/eve@{domain}", None),
        ("GET", f"/v1/accounts/eve@{domain}/bindings", None),
        ("DELETE", f"/v1/accounts/eve@{domain}/bindings/AAAAAAAAAAA", None),
        ("GET", f"/v1/accounts?tenant={tenant[0]}", None),
        ("GET", f"/v1/domains?tenant={tenant[0]}", None),
        ("GET", f"/v1/keys?tenant={tenant[0]}", None),
        ("DELETE", f"/v1/keys/{own_key}", None),
    ):
        status, problem = ask(fleet, theirs, method, path, body)
        assert status == 404, (method, path, problem)
    assert ask(fleet, theirs, "GET", "/v1/domains")[1]["items"] == []
    assert ask(fleet, key, "GET", f"/v1/accounts/eve@{domain}")[1]["enabled"] is True


def test_domains_and_aliases_are_taken_once(fleet, tenant):
    tenant_id, key, domain = tenant
    alias = f"alias-{domain}"
    assert ask(fleet, key, "PATCH", f"/v1/domains/{domain}", {"aliases": [alias]})[1]["aliases"] == [alias]
    assert ask(fleet, key, "POST", "/v1/domains", {"name": alias})[0] == 409
    assert ask(fleet, key, "POST", "/v1/domains", {"name": f"new-{domain}", "aliases": [alias]})[0] == 409
    assert ask(fleet, key, "GET", f"/v1/domains/new-{domain}")[0] == 404, "nothing half done"
    assert ask(fleet, key, "PATCH", f"/v1/domains/{domain}", {"aliases": []})[0] == 200
    assert ask(fleet, key, "POST", "/v1/domains", {"name": alias})[0] == 201
    assert ask(fleet, key, "DELETE", f"/v1/domains/{alias}")[0] == 204
    ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})
    assert ask(fleet, key, "DELETE", f"/v1/domains/{domain}")[0] == 409
    assert fleet.client.request("DELETE", f"/v1/tenants/{tenant_id}")[0] == 409


@pytest.mark.parametrize("name", ["127.0.0.2", "localhost", "203.0.113.1", "::1"])
def test_an_edges_address_is_nobodys_domain(fleet, tenant, name):
    assert ask(fleet, tenant[1], "POST", "/v1/domains", {"name": name})[0] == 422
    assert ask(fleet, tenant[1], "PATCH", f"/v1/domains/{tenant[2]}", {"aliases": [name]})[0] == 422


def test_an_alias_is_no_domain_for_accounts(fleet, tenant):
    _, key, domain = tenant
    ask(fleet, key, "PATCH", f"/v1/domains/{domain}", {"aliases": [f"alias-{domain}"]})
    assert ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": f"alias-{domain}"})[0] == 404
    assert ask(fleet, key, "GET", f"/v1/domains/alias-{domain}")[0] == 404


def test_alias_changes_at_once_leave_no_name_taken(fleet, tenant):
    import threading

    _, key, domain = tenant
    for turn in range(5):
        names = [f"{letter}{turn}-{domain}" for letter in "ab"]
        threads = [
            threading.Thread(target=ask, args=(fleet, key, "PATCH", f"/v1/domains/{domain}", {"aliases": [name]}))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ask(fleet, key, "PATCH", f"/v1/domains/{domain}", {"aliases": names})[0] == 200


def test_names_too_long_for_a_key(fleet, tenant):
    assert ask(fleet, tenant[1], "GET", f"/v1/accounts/{'a' * 3000}@{tenant[2]}")[0] == 404
    assert ask(fleet, f"sw_{'a' * 3000}_x", "GET", "/v1/accounts")[0] == 401


@pytest.mark.parametrize("name", ["", "   ", "a\0b", "a\r\nb", "x" * 101])
def test_tenants_have_names_that_can_be_read(fleet, name):
    assert fleet.client.request("POST", "/v1/tenants", {"name": name})[0] == 422


def test_keys_are_revoked_at_once(fleet, tenant):
    _, key, _ = tenant
    second = ask(fleet, key, "POST", "/v1/keys", {"note": "second"})[1]
    assert ask(fleet, second["key"], "GET", "/v1/accounts")[0] == 200
    assert ask(fleet, second["key"], "DELETE", f"/v1/keys/{second['id']}")[0] == 409
    assert ask(fleet, key, "DELETE", f"/v1/keys/{second['id']}")[0] == 204
    assert ask(fleet, second["key"], "GET", "/v1/accounts")[0] == 401


def test_edges_are_registered_listed_and_removed(fleet):
    body = {"id": "edge-x", "public_key": "A" * 43 + "=", "addresses": ["203.0.113.99"]}
    assert fleet.client.request("POST", "/v1/edges", body)[0] == 201
    assert fleet.client.request("POST", "/v1/edges", body)[0] == 409
    listed = {edge["id"]: edge for edge in fleet.client.api("GET", "/v1/edges")["items"]}
    assert listed["edge-x"]["holds"] == []
    assert listed["edge-a"]["holds"] == [fleet.edges[0].host.address]
    assert fleet.client.request("DELETE", "/v1/edges/edge-x")[0] == 204
    assert fleet.client.request("GET", "/v1/edges/edge-x")[0] == 404
    bad = {"id": "a.b", "public_key": "short", "addresses": ["here"]}
    status, problem = fleet.client.request("POST", "/v1/edges", bad)
    assert status == 422
    assert {item["field"] for item in problem["errors"]} == {"body.id", "body.public_key", "body.addresses.0"}


@pytest.mark.parametrize(
    "headers", [{}, {"x-edge": "edge-a"}, {"x-edge": "edge-a", "x-edge-time": "1", "x-edge-signature": "AA=="}]
)
def test_edge_routes_want_a_signature(fleet, headers):
    url = fleet.api_url + "/edge/heartbeat"
    status, text = http_request(fleet.control, "POST", url, "{}", {"Content-Type": "application/json", **headers})
    assert status == 401
    assert "signed" in json.loads(text)["detail"]


def test_a_new_domain_and_account_work_at_every_edge_within_seconds(fleet, tenant):
    _, key, domain = tenant
    account = ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})[1]
    from scripts.fleet_parts import Host, PhoneAccount

    made = PhoneAccount(account["aor"], account["username"], account["password"])
    begun = time.monotonic()
    for edge in fleet.edges:
        while True:
            with SocketPhone(made, domain, Host(edge.host.address), (edge.host.address, SIP)) as phone:
                if phone.register() == 200:
                    break
            assert time.monotonic() - begun < 10 * slowness()
            time.sleep(0.2)
    bindings = ask(fleet, key, "GET", f"/v1/accounts/eve@{domain}/bindings")[1]
    assert sorted(item["edge_address"] for item in bindings) == sorted(edge.host.address for edge in fleet.edges)


def test_a_removed_binding_gets_no_calls_and_no_pings(fleet):
    edge = fleet.edges[0]
    from scripts.fleet_parts import Host

    with SocketPhone(fleet.accounts["dave"], DOMAIN, Host(edge.host.address), (edge.host.address, SIP)) as phone:
        assert phone.register() == 200
        path = f"/v1/accounts/dave@{DOMAIN}/bindings"
        (binding,) = [item for item in fleet.client.api("GET", path) if str(phone.agent.port) in item["contact"]]
        phone.idle(5)
        assert phone.agent.pings >= 1
        before = fleet.client.health(edge)["kept_flows"]
        assert fleet.client.request("DELETE", f"{path}/{binding['id']}")[0] == 204
        assert fleet.client.request("DELETE", f"{path}/{binding['id']}")[0] == 404
        assert all(item["id"] != binding["id"] for item in fleet.client.api("GET", path))
        begun = time.monotonic()
        while fleet.client.health(edge)["kept_flows"] >= before:
            assert time.monotonic() - begun < 10 * slowness()
            time.sleep(0.1)


def test_secrets_are_in_no_log(fleet):
    logs = "".join(path.read_text(errors="replace") for path in fleet.directory.glob("*.log"))
    for secret in (fleet.client.key, *(account.password for account in fleet.accounts.values())):
        assert secret not in logs


@pytest.mark.parametrize("piece", [b"x" * 1000, b"a: b\r\n" * 200], ids=["one field", "many"])
def test_header_fields_that_dont_end_end_the_connection(fleet, piece):
    """Whoever it is: nothing has been read yet that would say."""
    parts = urlsplit(fleet.api_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as stranger:
        stranger.sendall(b"GET /v1/edges HTTP/1.1\r\nHost: x\r\nc: ")
        with pytest.raises(ConnectionError):
            stranger.sendall(20_000 * piece)
