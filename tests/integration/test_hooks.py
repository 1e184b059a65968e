"""Webhooks: signed, delivered to a real server, and again until it takes them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambdas.decisions.quotas import USUAL
from lambdas.hooks import delivering
from lambdas.lookups.lookups import Lookups
from lambdas.repositories.vault import Unsealed
from scripts.fleet_parts import DOMAIN, PREFIX, development_client
from scripts.processes import wait_for
from tests.integration.test_plan_scripts import phones
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.socket_phone import call, in_dialog

pytestmark = pytest.mark.integration


class Server:
    """Keeps what it gets; answers with ``status``, or what ``refuse`` says for the first ones."""

    def __init__(self, host, silent=False):
        self.got = []
        self.refuse = []
        self.silent = threading.Event()
        if not silent:
            self.silent.set()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                server.silent.wait(30)
                status = server.refuse.pop(0) if server.refuse else 204
                server.got.append((dict(self.headers), body, status))
                self.send_response(status)
                self.end_headers()

        self._server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_address[1]}/hook"

    def events(self, kind):
        taken = [json.loads(body) for _, body, status in self.got if status < 300]
        return [one["data"] for one in taken if one["type"] == kind]

    def close(self):
        self.silent.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    base = fresh_base()
    environment = {"SCRIPT_NETWORKS": f"{base.rpartition('.')[0]}.64/26"}
    made = loopback_fleet(tmp_path_factory.mktemp("fleet"), base, 2, environment=environment)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def owner(fleet):
    return fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]


@pytest.fixture
def server(fleet):
    made = Server(f"{fleet.control.address.rpartition('.')[0]}.77")
    yield made
    made.close()


@pytest.fixture
def hook(fleet, owner, server):
    body = {"tenant": owner, "name": "crm", "url": server.url}
    made = fleet.client.api("POST", "/v1/hooks", body)
    fleet.client.api("POST", f"/v1/hooks/crm/ping?tenant={owner}")
    wait_for("the ping", lambda: server.events("ping") == [{}], 15)
    yield made
    fleet.client.request("DELETE", f"/v1/hooks/crm?tenant={owner}")


def test_calls_and_registrations_are_told(fleet, owner, server, hook):
    assert set(hook) == {"name", "tenant", "url", "events", "secret"}
    assert "secret" not in fleet.client.api("GET", f"/v1/hooks/crm?tenant={owner}")

    def registered(user):
        told = [one for one in server.events("registration.changed") if one["aor"] == f"{user}@{DOMAIN}"]
        return [one["registered"] for one in told]

    # Who wants to hear of what is known within seconds.
    with phones(fleet, "carol"):
        pass
    wait_for("the hook to be known", lambda: _registers(fleet, server), 20)
    with phones(fleet, "alice", "bob") as (alice, bob):
        wait_for(
            "bob's registration",
            lambda: [
                one
                for one in server.events("registration.changed")
                if one["aor"] == f"bob@{DOMAIN}" and one["registered"]
            ],
            15,
        )
        dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
        in_dialog(alice, dialog, "BYE", bob)
        invite = alice.invite(f"sip:nobody@{DOMAIN}")
        assert alice.wait(lambda: alice.agent.final(invite)).status == 404
        ended = wait_for("its end", lambda: server.events("call.ended"), 15)[0]
        failed = wait_for("the failed one", lambda: server.events("call.failed"), 15)[0]
    started, answered = server.events("call.started")[0], server.events("call.answered")[0]
    assert started == {"call_id": dialog.call_id, "caller": f"alice@{DOMAIN}", "called": f"bob@{DOMAIN}"}
    assert (answered["call_id"], answered["id"]) == (dialog.call_id, ended["id"])
    assert ended["ended_by"] == "caller"
    day = datetime.datetime.now(datetime.UTC).date()
    shown = fleet.client.api("GET", f"/v1/calls?tenant={owner}&day={day}&call_id={dialog.call_id}")["items"]
    assert shown == [ended]  # as the API has it
    assert answered == {**ended, "ended": None, "ended_by": "", "reason": ""}
    assert (failed["status"], failed["called"]) == (404, f"nobody@{DOMAIN}")
    with phones(fleet, "bob"):
        wait_for("bob's return", lambda: registered("bob")[-1], 15)
        (phone,) = fleet.client.api("GET", f"/v1/accounts/bob@{DOMAIN}/bindings")
        fleet.client.api("DELETE", f"/v1/accounts/bob@{DOMAIN}/bindings/{phone['id']}")
        wait_for("bob's removal", lambda: not registered("bob")[-1], 15)
    wait_for(
        "bob's departure",
        lambda: [
            one
            for one in server.events("registration.changed")
            if one["aor"] == f"bob@{DOMAIN}" and not one["registered"]
        ],
        15,
    )
    key = base64.b64decode(hook["secret"].removeprefix("whsec_"))
    for headers, body, _ in server.got:
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{wanted}"


def _registers(fleet, server):
    with phones(fleet, "carol"):
        return [one for one in server.events("registration.changed") if one["aor"] == f"carol@{DOMAIN}"]


def test_what_isnt_taken_comes_again(fleet, owner, server, hook):
    server.got.clear()
    server.refuse = [500]
    fleet.client.api("POST", f"/v1/hooks/crm/ping?tenant={owner}")
    wait_for("the second attempt", lambda: server.events("ping"), delivering.DELAYS[0] + 15)
    (first, second) = server.got
    assert [first[2], second[2]] == [500, 204]
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]


def test_an_endpoint_that_is_silent_delays_nobody(fleet, owner, server, hook):
    """Ten messages for it, of five seconds each, and one for the other."""
    other = Server(f"{fleet.control.address.rpartition('.')[0]}.78", silent=True)
    try:
        fleet.client.api(
            "POST", "/v1/hooks", {"tenant": owner, "name": "slow", "url": other.url, "events": ["call.ended"]}
        )
        for _ in range(10):
            fleet.client.api("POST", f"/v1/hooks/slow/ping?tenant={owner}")
        server.got.clear()
        fleet.client.api("POST", f"/v1/hooks/crm/ping?tenant={owner}")
        wait_for("the ping", lambda: server.events("ping"), 20)
    finally:
        fleet.client.request("DELETE", f"/v1/hooks/slow?tenant={owner}")
        other.close()


def test_a_hook_is_changed_and_hears_of_suspensions(fleet, owner, server, hook):
    other = Server(f"{fleet.control.address.rpartition('.')[0]}.76")
    path = f"/v1/hooks/crm?tenant={owner}"
    try:
        assert fleet.client.request("PATCH", path, {"url": "https://127.0.0.1/"})[0] == 422
        changed = fleet.client.api("PATCH", path, {"url": other.url, "events": ["suspension.changed"]})
        assert (changed["url"], changed["events"]) == (other.url, ["suspension.changed"])
        assert _noted(fleet, owner) == {"suspension.changed": {"crm"}}
        aor = f"dave@{DOMAIN}"

        def told(reason):
            if reason:
                fleet.client.api("PUT", f"/v1/accounts/{aor}/suspension", {"reason": reason})
            else:
                fleet.client.api("DELETE", f"/v1/accounts/{aor}/suspension")
            return {"account": aor, "suspended": reason} in other.events("suspension.changed")

        wait_for("the suspension", lambda: told("late"), 20)
        wait_for("its end", lambda: told(""), 20)
        assert not server.events("suspension.changed")
    finally:
        fleet.client.request("DELETE", f"/v1/accounts/dave@{DOMAIN}/suspension")
        other.close()


def test_pings_are_rationed(fleet, owner, hook):
    status = 202
    for _ in range(30):
        status, problem = fleet.client.request("POST", f"/v1/hooks/crm/ping?tenant={owner}")
        if status != 202:
            break
    assert (status, problem["detail"]) == (429, "Too many pings; wait a minute.")


def test_the_tenant_knows_its_hooks_however_many_are_made_at_once(fleet):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Hooks"})["id"]
    url = f"http://{fleet.control.address.rpartition('.')[0]}.79/"
    names = [f"h{number}" for number in range(USUAL["hooks"])]

    def make(name):
        body = {"tenant": tenant, "name": name, "url": url, "events": ["call.ended"]}
        return fleet.client.request("POST", "/v1/hooks", body)

    with ThreadPoolExecutor(4) as pool:
        assert {status for status, _ in pool.map(make, names)} <= {201, 412}
    for name in names:
        make(name)  # those that had to give way so often
    status, problem = make("one-more")
    assert (status, f"may have {USUAL['hooks']} hooks" in problem["detail"]) == (409, True)
    assert make("h3")[0] == 409
    assert _noted(fleet, tenant) == {"call.ended": set(names)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: fleet.client.request("DELETE", f"/v1/hooks/{name}?tenant={tenant}"), names))
    left = [one["name"] for one in fleet.client.api("GET", f"/v1/hooks?tenant={tenant}")["items"]]
    assert _noted(fleet, tenant) == ({"call.ended": set(left)} if left else {})


def _noted(fleet, tenant):
    key = {"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": f"TENANT#{tenant}"}}
    client = development_client("dynamodb", fleet.endpoint)
    item = client.get_item(TableName=f"{PREFIX}-directory", Key=key, ConsistentRead=True)["Item"]
    client.close()
    return {kind: set(found) for kind, found in json.loads(item["hooked"]["S"]).items()}


def test_where_nothing_is_delivered_to(fleet, owner):
    for url, says in {
        "http://198.51.100.1/hook": "public address",
        "https://127.0.0.1/hook": "public address",
        "https://169.254.169.254/latest": "public address",
        "ftp://example.com/": "is not like",
        "https://user:secret@example.com/": "is not like",
        "https://[::1/": "is not a URL",
    }.items():
        status, problem = fleet.client.request(
            "POST", "/v1/hooks", {"tenant": owner, "name": "x", "url": url, "events": ["call.ended"]}
        )
        assert (status, says in problem["detail"]) == (422, True), (url, problem)


class Doubles:
    """Services with a hook, and one ("sealed") whose secret can't be opened just now."""

    def __init__(self):
        self.noted, self.delays = [], []
        self.hooks = self.events = self

    def prepare(self):
        pass

    def get(self, name):
        if name == "t1/sealed":
            raise Unsealed("KMS is busy")
        return delivering.StoredHook(name, "https://192.0.2.1/", "whsec_" + base64.b64encode(b"k" * 32).decode())

    def later(self, receipt, seconds):
        self.delays.append(seconds)

    def add(self, tenant, event):
        self.noted.append((tenant, event.kind, event.text))


def _body(hook):
    return json.dumps({"tenant": "t1", "hook": hook, "kind": "call.ended", "id": "msg_1", "at": 1, "data": {}})


def test_an_endpoint_that_never_takes_is_given_up(monkeypatch):
    monkeypatch.setattr(delivering.Outside, "address", lambda self, host: host)
    monkeypatch.setattr(delivering.Outside, "request", lambda *_: (503, ""))
    doubles = Doubles()
    delivery = delivering.Delivery(doubles, Lookups())
    taken = [delivery.take(_body("crm"), "r", attempt + 1) for attempt in range(len(delivering.DELAYS) + 1)]
    assert taken == [False] * len(delivering.DELAYS) + [True]
    assert doubles.delays == list(delivering.DELAYS)
    assert doubles.noted == [("t1", "hook", "webhook crm has not taken call.ended msg_1: it answers with status 503")]


def test_a_message_that_cant_be_worked_on_leaves_the_others_of_its_batch_alone(monkeypatch):
    monkeypatch.setattr(delivering.Outside, "address", lambda self, host: host)
    monkeypatch.setattr(delivering.Outside, "request", lambda *_: (204, ""))
    delivery = delivering.Delivery(Doubles(), Lookups())
    assert delivery.take_all([(_body(hook), "r", 1) for hook in ("crm", "sealed", "other")]) == [True, False, True]
