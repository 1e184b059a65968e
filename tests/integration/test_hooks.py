"""Webhooks: signed, delivered to a real server, and again until it takes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading

import pytest

from lambdas.api import delivering
from scripts.fleet import DOMAIN, loopback_fleet
from scripts.processes import wait_for
from tests.integration.conftest import fresh_base
from tests.integration.test_plan_scripts import phones
from tests.support.socket_phone import call, in_dialog

pytestmark = pytest.mark.integration

ALL = ["call.started", "call.answered", "call.failed", "call.ended", "registration.changed"]


class Server:
    """Keeps what it gets; answers with ``status``, or what ``refuse`` says for the first ones."""

    def __init__(self, host):
        self.got = []
        self.refuse = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
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
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    base = fresh_base()
    made = loopback_fleet(tmp_path_factory.mktemp("fleet"), base, 2)
    made.environment |= {"SCRIPT_NETWORKS": f"{base.rpartition('.')[0]}.64/26"}
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def owner(fleet):
    return fleet.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]


@pytest.fixture
def server(fleet):
    made = Server(f"{fleet.control.address.rpartition('.')[0]}.77")
    yield made
    made.close()


@pytest.fixture
def hook(fleet, owner, server):
    body = {"tenant": owner, "name": "crm", "url": server.url, "events": ALL}
    made = fleet.api("POST", "/v1/hooks", body)
    fleet.api("POST", f"/v1/hooks/crm/ping?tenant={owner}")
    wait_for("the ping", lambda: server.events("ping") == [{}], 15)
    yield made
    fleet.request("DELETE", f"/v1/hooks/crm?tenant={owner}")


def test_calls_and_registrations_are_told(fleet, owner, server, hook):
    assert set(hook) == {"name", "tenant", "url", "events", "secret"}
    assert "secret" not in fleet.api("GET", f"/v1/hooks/crm?tenant={owner}")
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
    assert ended["by"] == "caller"
    assert (failed["status"], failed["called"]) == (404, f"nobody@{DOMAIN}")
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
    fleet.api("POST", f"/v1/hooks/crm/ping?tenant={owner}")
    wait_for("the second attempt", lambda: server.events("ping"), delivering.DELAYS[0] + 15)
    (first, second) = server.got
    assert [first[2], second[2]] == [500, 204]
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]


def test_where_nothing_is_delivered_to(fleet, owner):
    for url, says in {
        "http://198.51.100.1/hook": "public address",
        "https://127.0.0.1/hook": "public address",
        "https://169.254.169.254/latest": "public address",
        "ftp://example.com/": "is not like",
        "https://user:secret@example.com/": "is not like",
        "https://[::1/": "is not a URL",
    }.items():
        status, problem = fleet.request(
            "POST", "/v1/hooks", {"tenant": owner, "name": "x", "url": url, "events": ["call.ended"]}
        )
        assert (status, says in problem["detail"]) == (422, True), (url, problem)


def test_an_endpoint_that_never_takes_is_given_up(monkeypatch):
    noted, later = [], []

    class Services:
        class hooks:
            get = staticmethod(
                lambda name: delivering.Hook(
                    name, "https://192.0.2.1/", "whsec_" + base64.b64encode(b"k" * 32).decode()
                )
            )
            later = staticmethod(lambda receipt, seconds: later.append(seconds))

        class events:
            add = staticmethod(lambda tenant, event: noted.append((tenant, event.kind, event.text)))

    monkeypatch.setattr(delivering.Outside, "address", lambda self, host: host)
    monkeypatch.setattr(delivering.Outside, "request", lambda *_: (503, ""))
    delivery = delivering.Delivery(Services)
    body = json.dumps({"tenant": "t1", "hook": "crm", "kind": "call.ended", "id": "msg_1", "at": 1, "data": {}})
    taken = [delivery.take(body, "r", attempt + 1) for attempt in range(len(delivering.DELAYS) + 1)]
    assert taken == [False] * len(delivering.DELAYS) + [True]
    assert later == list(delivering.DELAYS)
    assert noted == [("t1", "hook", "webhook crm has not taken call.ended msg_1: it answers with status 503")]
