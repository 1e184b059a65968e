"""The API's front: who asks is known before anything that they have sent is read."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from lambdas.api.combined import combined_app
from lambdas.api.origin import Origin
from lambdas.api.provisioning.app import provisioning_app
from lambdas.api.yaml_bodies import as_json
from lambdas.calls.facts import Domains
from lambdas.decisions.passwords import fault
from lambdas.repositories.directory import Directory
from lambdas.repositories.slow_turns import AT_ONCE
from lambdas.services.environment import Environment
from lambdas.services.facts import StoredFacts
from lambdas.services.quotas import Quotas
from tests.integration.test_bulk import in_the_directory
from tests.integration.test_provisioning import ask


async def asked(app, path, headers=None, body=b"", method="GET"):
    """Status, header fields, body, and whether the body was asked for."""
    sent, read = [], []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "root_path": "", "scheme": "https", "query_string": b"", "client": ("10.0.0.1", 1),
        "server": ("api", 443), "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }  # fmt: skip
    await app(scope, receive, send)
    fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(one.get("body", b"") for one in sent[1:]), bool(read)


def people(**environment):
    """The application over nothing at all: whatever would be read fails."""
    settings = Environment(**environment)
    services = SimpleNamespace(environment=settings, quotas=Quotas.of(settings), tables=None)
    return provisioning_app(services)


# A secret of the distribution in front

KEYED = {"content-type": "application/json"}


def test_who_comes_by_no_distribution_is_refused_before_anything_else():
    app = people(origin_secrets=("new", "old"))
    for headers in ({}, {"x-origin-secret": "wrong"}, {"x-origin-secret": ""}, {"x-origin-secret": "new,old"}):
        for path in ("/v1/openapi.json", "/v1/accounts", "/nowhere", "/edge/decisions", "/status"):
            status, fields, text, read = asyncio.run(asked(app, path, headers, b"x", "POST"))
            assert (status, read) == (403, False)
            assert fields["content-type"] == "application/problem+json"
            assert b"new" not in text
    for secret in ("new", "old"):
        assert asyncio.run(asked(app, "/v1/openapi.json", {"x-origin-secret": secret}))[0] == 200


def test_a_secret_is_compared_as_a_whole():
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = Origin(inner, ["secret"])
    asyncio.run(asked(app, "/v1/x", {"x-origin-secret": "secret", "true-client-ip": "198.51.100.9"}))
    assert seen[0]["client"] == ("198.51.100.9", 0)  # whose requests are counted
    assert not [name for name, _ in seen[0]["headers"] if name == b"x-origin-secret"]
    asyncio.run(asked(app, "/v1/x", {"x-origin-secret": "secret", "true-client-ip": "2001:db8::9"}))
    assert seen[1]["client"] == ("2001:db8::9", 0)
    assert asyncio.run(asked(app, "/v1/x", {"x-origin-secret": "secre"}))[0] == 403


def test_where_everything_is_on_one_port_edges_come_by_no_distribution():
    """They have signatures, and meet none of the routes for people."""
    settings = Environment(origin_secrets=("secret",))
    services = SimpleNamespace(environment=settings, quotas=Quotas.of(settings), tables=None)
    app = combined_app(services)
    assert asyncio.run(asked(app, "/edge/decisions", method="POST"))[0] == 401
    assert asyncio.run(asked(app, "/edge/nowhere", method="POST"))[0] == 404
    for path in ("/v1/accounts", "/status", "/edge", "/edges/decisions"):
        assert asyncio.run(asked(app, path, method="POST"))[0] == 403


# The key before the body


@pytest.mark.integration
def test_without_a_key_no_body_is_parsed(plane):
    parts = urlsplit(plane.api_url)
    for kind, body in (("application/yaml", b"[" + b"a," * 140_000 + b"a]"), ("application/json", b"[" * 900_000)):
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        begun = time.monotonic()
        connection.request("POST", "/v1/plans/x/versions", body, {"Content-Type": kind})
        assert connection.getresponse().status == 401
        assert time.monotonic() - begun < 1
        connection.close()
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request("POST", "/v1/login", b" " * 65_537, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.integration
def test_what_a_route_doesnt_read_isnt_taken(plane, tenant):
    _, key, domain = tenant
    parts = urlsplit(plane.api_url)
    body = f"username: a\ndomain: {domain}".encode()
    for path, kind, expected in (
        ("/v1/accounts", "application/yaml", 415),
        ("/v1/accounts", "text/plain", 415),
        ("/v1/accounts:import", "application/yaml", 415),
        ("/v1/plans/x/versions", "text/csv", 415),
        ("/v1/plans/x/versions", "text/yaml", 422),  # is read, and isn't a plan
    ):
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.request("POST", path, body, {"Content-Type": kind, "Authorization": f"Bearer {key}"})
        assert connection.getresponse().status == expected, (path, kind)
        connection.close()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: [b, {c: d}]\ne: +44", {"a": ["b", {"c": "d"}], "e": "+44"}),
        ("", None),
        ("x", "x"),
        ("- 1\n- - 2", ["1", ["2"]]),
        ("a: {}\nb: []", {"a": {}, "b": []}),
        ("a: |\n  [[[[\n  {{", {"a": "[[[[\n{{"}),
    ],
)
def test_yaml_is_read_in_one_pass(text, value):
    assert json.loads(as_json(text.encode())) == value


@pytest.mark.parametrize(
    "text",
    ["[" * 60 + "]" * 60, "- " * 100_000, "a: &x 1\nb: *x", "? [a]\n: b", "--- a\n--- b", "[" + "a," * 120_000 + "a]",
     "a: [", "x" * 300_001],
)  # fmt: skip
def test_yaml_that_would_take_long_ends_soon(text):
    begun = time.monotonic()
    with pytest.raises(ValueError, match=r"^."):
        as_json(text.encode())
    assert time.monotonic() - begun < 2


# The document


def test_the_document_is_packed_and_cached():
    app = people()
    status, fields, text, _ = asyncio.run(asked(app, "/v1/openapi.json", {"accept-encoding": "br, gzip;q=0.8"}))
    plain = asyncio.run(asked(app, "/v1/openapi.json"))[2]
    assert (status, fields["content-encoding"], gzip.decompress(text)) == (200, "gzip", plain)
    assert len(text) < 30_000 < 8 * len(text) < len(plain)
    assert "max-age" in fields["cache-control"]
    known = {"if-none-match": fields["etag"]}
    status, again, nothing, _ = asyncio.run(asked(app, "/v1/openapi.json", known))
    assert (status, nothing, again["etag"]) == (304, b"", fields["etag"])
    for field in ("gzip;q=0", "identity", ""):
        refused = asyncio.run(asked(app, "/v1/openapi.json", {"accept-encoding": field}))
        assert "content-encoding" not in refused[1]


def test_what_needs_no_key_is_rationed_by_source():
    app = people(refused_rate=5)
    statuses = [asyncio.run(asked(app, "/v1/openapi.json"))[0] for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3


# One tenant's slow requests


@pytest.mark.integration
def test_one_tenant_cant_hold_all_processes(plane, tenant):
    """Turns are in the table, so that it doesn't matter which process takes them."""
    found = in_the_directory(plane, _TURNS, tenant[0])
    assert json.loads(found) == {"taken": AT_ONCE, "other": True, "after": True, "expired": True}
    owner, key, _ = tenant
    script = "def incoming(call):\n    for i in range(10000000):\n        pass\n    return []"
    plan = {"plan": {"script": script}}
    assert ask(plane, key, "POST", "/v1/plans/slow/versions", plan)[0] == 201
    body = {"version": 1, "caller": "a", "called": "b@c.example"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(plane, key, "POST", "/v1/plans/slow:simulate", body)[0], range(6)))
    assert set(answers) <= {200, 429}
    assert 200 in answers


_TURNS = """
import contextlib, json, sys
from lambdas.repositories.slow_turns import NoTurn, SlowTurns
turns, tenant, taken = SlowTurns(), sys.argv[1] + "x", 0
found = {}
with contextlib.ExitStack() as stack:
    with contextlib.suppress(NoTurn):
        for _ in range(9):
            stack.enter_context(turns.turn(tenant, 1000))
            taken += 1
    with turns.turn(tenant + "y", 1000):
        found["other"] = True
with turns.turn(tenant, 1000):
    found["after"] = True
held = [turns.turn(tenant, 1000) for _ in range(2)]
[one.__enter__() for one in held]  # and their processes die
with turns.turn(tenant, 1016):
    found["expired"] = True
print(json.dumps({"taken": taken, **found}))
"""


# Passwords and names


@pytest.mark.parametrize(
    "password",
    ["12345678", "123456789012", "alice-is-alice", "Passw0rd!2024", "qwertyuiop12", "aaaaaaaaaaaa", "1q2w3e4r5t6y",
     "Summer2026!!", "admin@123456", "19870412-1987", "4lice4lice4lice", "shop-example-77", "p4ssw0rdp4ssw0rd"],
)  # fmt: skip
def test_passwords_that_are_tried_first_arent_taken(password):
    assert fault(password, "alice", "shop-example.com")


@pytest.mark.parametrize("password", ["correct horse battery", "QkDm3vTz9xWp", "xkcd-staple-99", "tr0ub4dor&3x"])
def test_others_are(password):
    assert fault(password, "alice", "shop-example.com") == ""


@pytest.mark.integration
def test_passwords_are_looked_at_wherever_people_choose_them(plane, tenant):
    _, key, domain = tenant
    account = {"username": "alice", "domain": domain}
    for weak in ("12345678", "alice-is-alice", "password-1234"):
        status, problem = ask(plane, key, "POST", "/v1/accounts", {**account, "password": weak})
        assert (status, problem["errors"][0]["field"]) == (422, "body.password")
        status, problem = ask(plane, key, "POST", "/v1/accounts:import", [{**account, "password": weak}])
        assert (status, problem["errors"][0]["field"]) == (422, "password")
    assert ask(plane, key, "POST", "/v1/accounts", account)[0] == 201
    for weak in ("alice-is-alice", "password-1234"):
        assert ask(plane, key, "POST", f"/v1/accounts/alice@{domain}/password", {"password": weak})[0] == 422
    assert ask(plane, key, "POST", f"/v1/accounts/alice@{domain}/password", {"password": "well hidden one"})[0] == 200


class CountedReads:
    """A directory's items by name, and what was read of them, each list one request."""

    def __init__(self, monkeypatch, *items):
        from lambdas.repositories import directory

        self.items = {item.pk: item.to_dynamodb_dict() for item in items}
        self.requests: list[list[str]] = []
        monkeypatch.setattr(directory, "read", self.read)
        monkeypatch.setattr(directory.DirectoryItem, "get", self.get)

    def read(self, keys):
        wanted = list(keys)
        self.requests.append([key.pk for key in wanted])
        return {key: self.items[key.pk] for key in wanted if key.pk in self.items}

    def get(self, pk, sk, consistent_read):
        from lambdas.repositories.models import DirectoryItem

        self.requests.append([pk])
        return DirectoryItem.from_raw_data(self.items[pk])


def _item(aor, tenant):
    from lambdas.repositories.items import account_item

    return account_item(aor, tenant, {"ha1_md5": "0" * 32, "ha1_sha256": "0" * 64}, "")


def test_whether_there_is_an_account_costs_the_same_reads(monkeypatch):
    """Counted, since time can't be held to."""
    from lambdas.repositories.items import tenant_item

    items = [_item("alice@example.com", "t1"), _item("guest@example.com", "t2")]
    counted = CountedReads(monkeypatch, *items, tenant_item("t1", "One"), tenant_item("t2", "Two"))
    cache = SimpleNamespace(owner=lambda domain: "t1", domains=lambda: Domains({}, "", ""))
    facts = StoredFacts(SimpleNamespace(tables=SimpleNamespace(directory=Directory()), cache=cache, clock=time.time))
    facts.member("guest@example.com")
    assert counted.requests == [["AOR#guest@example.com", "TENANT#t1"], ["TENANT#t2"]]  # this once
    for name, tenant in (("alice", "t1"), ("nobody", "t1"), ("guest", "t2")):
        counted.requests.clear()
        account, _ = facts.member(f"{name}@example.com")
        assert (account is not None, counted.requests) == (
            name != "nobody",
            [[f"AOR#{name}@example.com", f"TENANT#{tenant}"]],
        )


def test_an_account_in_anothers_domain_has_its_own_tenants_settings(monkeypatch):
    """The first time, and from then on, also when it has another tenant meanwhile."""
    from lambdas.repositories.items import tenant_item

    tenants = [tenant_item(name, name) for name in ("t1", "t2", "t3")]
    counted = CountedReads(monkeypatch, _item("guest@example.com", "t2"), *tenants)
    directory = Directory()
    for tenant in ("t2", "t2", "t3", "t3", "t1", "t1"):
        counted.items["AOR#guest@example.com"] = _item("guest@example.com", tenant).to_dynamodb_dict()
        account, settings, _ = directory.member("guest@example.com", "t1")
        assert (account.tenant, settings.tenant) == (tenant, tenant)


def test_who_is_called_is_read_together_with_who_calls(monkeypatch):
    from lambdas.repositories.items import tenant_item

    items = [_item("alice@example.com", "t1"), _item("bob@example.com", "t1"), tenant_item("t1", "One")]
    counted = CountedReads(monkeypatch, *items)
    cache = SimpleNamespace(owner=lambda domain: "t1")
    facts = StoredFacts(SimpleNamespace(tables=SimpleNamespace(directory=Directory()), cache=cache, clock=time.time))
    for called, found in (("bob@example.com", "bob@example.com"), ("nobody@example.com", None), ("a" * 2000, None)):
        counted.requests.clear()
        facts.member("alice@example.com", called)
        account = facts.account(called)
        assert ((account.aor if account else None), len(counted.requests)) == (found, 1)


def test_a_refused_login_costs_the_same_whether_there_is_such_an_account(monkeypatch):
    """What is noted of it, too, however often and from wherever it was tried."""
    from lambdas.repositories import directory
    from lambdas.repositories.items import tenant_item
    from lambdas.services.suspension import Failure, failed

    counted = CountedReads(monkeypatch, _item("alice@example.com", "t1"), tenant_item("t1", "One"))
    made: list[str] = []
    of_its_text = directory._item
    monkeypatch.setattr(directory, "_item", lambda kind, raw: (made.append(kind.__name__), of_its_text(kind, raw))[1])
    cache = SimpleNamespace(owner=lambda domain: "t1", is_banned=lambda source: False)
    taken = SimpleNamespace(take=lambda *_: 1)
    abuse = SimpleNamespace(failed_from=lambda *_: (1, 2), failed_as=lambda *_: (7, 3))
    services = SimpleNamespace(
        tables=SimpleNamespace(directory=Directory(), abuse=abuse),
        cache=cache,
        clock=time.time,
        quotas=SimpleNamespace(failures=taken, notes=taken),
    )
    for name in ("alice", "nobody"):
        counted.requests.clear(), made.clear()
        failed(Failure(f"{name}@example.com", "192.0.2.1", 0.0), services)
        assert counted.requests == [[f"AOR#{name}@example.com", "TENANT#t1"]]
        assert made == ["AccountItem", "TenantItem"]
