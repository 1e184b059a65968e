"""Scripts over the API and on real calls; limits of calls; what is stored, logged and written in YAML."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import time
from urllib.parse import urlsplit

import pytest

from scripts.fleet_parts import DOMAIN, SIP, Host
from scripts.processes import wait_for
from tests.integration.test_plans import outcome
from tests.integration.test_provisioning import ask, tenant
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone, call

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

EXAMPLE = f'{{caller: alice@{DOMAIN}, called: bob@{DOMAIN}, at: "2026-03-02T12:00:00Z"}}'


@contextlib.contextmanager
def phones(fleet, *users):
    """Registered phones, one at one edge and the next at the other; nothing of them stays."""
    with contextlib.ExitStack() as stack:
        made = []
        for index, user in enumerate(users):
            edge = fleet.edges[index % 2]
            host = Host(edge.host.address)
            one = SocketPhone(fleet.accounts[user], DOMAIN, host, (edge.host.address, SIP))
            made.append(stack.enter_context(one))
            assert one.register() == 200
            stack.callback(lambda one=one: one.transact(one.agent.register_request(0)))
        yield made


@pytest.fixture
def owner(fleet):
    return fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]


def post_yaml(fleet, path, text):
    parts = urlsplit(fleet.api_url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {fleet.client.key}", "Content-Type": "application/yaml; charset=utf-8"}
        connection.request("POST", path, text, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture
def scripted(fleet, owner):
    """Has a script decide bob's calls."""

    def store(script, more=""):
        body = "\n".join(f"    {line}" for line in script.strip().splitlines())
        text = f"publish: true\nplan:\n  script: |\n{body}\n  examples: [{EXAMPLE}]\n{more}"
        status, made = post_yaml(fleet, f"/v1/plans/scripted/versions?tenant={owner}", text)
        assert status == 201, made
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": "scripted"})
        return made

    yield store
    fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": ""})
    fleet.client.request("DELETE", f"/v1/plans/scripted?tenant={owner}")


def events(fleet, owner):
    today = datetime.datetime.now(datetime.UTC).date()
    return fleet.client.api("GET", f"/v1/events?tenant={owner}&day={today}&limit=200")["items"]


LATER = """
def incoming(call):
    log("from", call.caller)
    return then(ring("bob", timeout = 2), later)

def later(call):
    calls = int(get("calls", "0")) + 1
    put("calls", str(calls))
    log("bob was", call.outcome, "for the time", calls)
    return then(ring("carol", timeout = 2), reject(480, "Try later"))
"""


def test_a_script_is_asked_again_when_a_stage_has_failed(fleet, owner, scripted):
    scripted(LATER)
    fleet.client.api("PUT", f"/v1/store/calls?tenant={owner}", {"value": "41"})
    with phones(fleet, "alice", "bob", "carol") as (alice, bob, carol):
        final, rung = outcome(alice, f"sip:bob@{DOMAIN}", (bob, carol))
        assert (final.status, final.reason, rung) == (480, "Try later", [bob, carol])
    assert fleet.client.api("GET", f"/v1/store/calls?tenant={owner}")["value"] == "42"
    texts = [event["text"] for event in events(fleet, owner)]
    assert f"from alice@{DOMAIN}" in texts
    assert "bob was no-answer for the time 42" in texts
    assert fleet.client.request("DELETE", f"/v1/store/calls?tenant={owner}")[0] == 204
    assert fleet.client.request("GET", f"/v1/store/calls?tenant={owner}")[0] == 404


def test_a_script_that_fails_says_so_to_the_caller_and_in_the_log(fleet, owner, scripted):
    version = scripted('def incoming(call):\n    return ring("bob") if call.caller[:3] == "bob" else reject(480)')[
        "latest"
    ]
    scripted('def incoming(call):\n    for i in range(100000000 if get("hang") else 1): pass\n    return reject(480)')
    fleet.client.api("PUT", f"/v1/store/hang?tenant={owner}", {"value": "yes"})
    with phones(fleet, "alice") as (alice,):
        begun = time.monotonic()
        final, _ = outcome(alice, f"sip:bob@{DOMAIN}", ())
        assert time.monotonic() - begun < 3 * slowness()
        assert final.status == 500
        assert "dial plan scripted v2: it took more than 80 ms of processor time" in final.reason
        fleet.client.api("DELETE", f"/v1/store/hang?tenant={owner}")
        assert outcome(alice, f"sip:bob@{DOMAIN}", ())[0].status == 480
    (event,) = [event for event in events(fleet, owner) if "processor time" in event["text"]]
    assert (event["kind"], event["about"], version) == ("plan", "scripted v2", 1)


def test_a_broken_script_isnt_published(fleet, tenant):
    _, key, _ = tenant
    path = "/v1/plans/mine/versions"
    example = {"caller": "+44", "called": "x@y.z", "at": "2026-03-02T12:00:00Z"}

    def publish(script, **kwargs):
        plan = {"script": script, "examples": [{**example, **kwargs}]}
        return ask(fleet, key, "POST", path, {"plan": plan, "publish": True})

    status, problem = publish("def incoming(call):\n  return ring(\n")
    assert (status, "Parse error" in problem["detail"]) == (422, True)
    status, problem = publish("def incoming(call):\n  return 5 // 0")
    assert (status, "division by zero" in problem["detail"]) == (422, True)
    status, problem = publish("def incoming(call):\n  return reject(486)", status=480)
    assert (status, "answers 486, not 480" in problem["detail"]) == (422, True)
    plan = {"script": "def incoming(call):\n  return reject(486)"}
    status, problem = ask(fleet, key, "POST", path, {"plan": plan, "publish": True})
    assert (status, "at least one example" in problem["detail"]) == (422, True)
    assert ask(fleet, key, "GET", "/v1/plans/mine")[0] == 404
    good = 'def incoming(call):\n  put("x", "y")\n  log("hello")\n  return then(ring("a"), again)\ndef again(call):\n  return reject(480)'
    assert publish(good, outcomes=[486], rings=["a@y.z"], status=480)[0] == 201
    shown = ask(fleet, key, "POST", "/v1/plans/mine:simulate", {"caller": "+44", "called": "x@y.z"})[1]
    assert (shown["log"], shown["error"], shown["steps"][-1]["ask_again"]) == (["hello"], None, "again")
    body = {"caller": "+44", "called": "x@y.z", "function": "again", "outcomes": [486]}
    shown = ask(fleet, key, "POST", "/v1/plans/mine:simulate", body)[1]
    assert shown["steps"][0]["status"] == 480
    body = {"caller": "+44", "called": "x@y.z", "function": "nosuch"}
    assert "nosuch" in ask(fleet, key, "POST", "/v1/plans/mine:simulate", body)[1]["error"]
    assert ask(fleet, key, "GET", "/v1/store")[1]["items"] == []  # a simulation stores nothing


def test_yaml_that_cant_be_read(fleet, owner):
    path = f"/v1/plans/never/versions?tenant={owner}"
    for text, says in (
        ("plan: [", "isn't YAML"),
        ("a: &x [1]\nplan: *x", "aliases"),
        ("plan: {rules: []}", "plan"),
        ("- just\n- a list", "body"),
        ("plan: " + "[" * 5000, "isn't YAML"),
    ):
        status, problem = post_yaml(fleet, path, text)
        assert (status, says in json.dumps(problem)) == (422, True), (text[:20], problem)


def test_the_store_is_each_tenants_own_and_bounded(fleet, tenant):
    _, key, _ = tenant
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    theirs = fleet.client.api("POST", "/v1/keys", {"tenant": other, "note": "x"})["key"]
    assert ask(fleet, key, "PUT", "/v1/store/a%20b", {"value": "1"})[0] == 204
    assert ask(fleet, key, "GET", "/v1/store/a%20b")[1]["value"] == "1"
    assert ask(fleet, theirs, "GET", "/v1/store/a%20b")[0] == 404
    assert ask(fleet, theirs, "GET", "/v1/store")[1]["items"] == []
    assert ask(fleet, key, "PUT", "/v1/store/a", {"value": "x" * 1001})[0] == 422
    assert ask(fleet, key, "PUT", f"/v1/store/{'k' * 101}", {"value": "x"})[0] == 422
    for number in range(3):
        ask(fleet, key, "PUT", f"/v1/store/key{number}", {"value": str(number)})
    page = ask(fleet, key, "GET", "/v1/store?limit=2")[1]
    assert [item["key"] for item in page["items"]] == ["a b", "key0"]
    rest = ask(fleet, key, "GET", f"/v1/store?limit=2&cursor={page['next']}")[1]
    assert [item["key"] for item in rest["items"]] == ["key1", "key2"]
    status, problem = fleet.client.request(
        "DELETE", f"/v1/tenants/{ask(fleet, key, 'GET', '/v1/keys')[1]['items'][0]['tenant']}"
    )
    assert (status, "store" in problem["detail"]) == (409, True)


def test_do_not_disturb(fleet):
    fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"do_not_disturb": True})
    try:
        with phones(fleet, "alice", "bob") as (alice, bob):
            final, rung = outcome(alice, f"sip:bob@{DOMAIN}", (bob,))
            assert (final.status, final.reason, rung) == (486, "Busy Here: do not disturb", [])
            message = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}", body=b"hello")
            alice.send(message.to_bytes())
            challenge = alice.wait(lambda: alice.agent.final(message))
            again = alice.agent.authorize(message, challenge)
            alice.send(again.to_bytes())
            bob.wait(lambda: bob.agent.requests("MESSAGE"))  # what doesn't ring passes
    finally:
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"do_not_disturb": False})


def test_forwarding_in_circles_ends(fleet, owner):
    """bob's calls go to carol, carol's to dave, dave's to bob."""
    circle = {"bob": "carol", "carol": "dave", "dave": "bob"}
    for user, to in circle.items():
        plan = {"rules": [{"name": "on", "forward": f"{to}@{DOMAIN}"}]}
        fleet.client.api("POST", f"/v1/plans/to-{to}/versions?tenant={owner}", {"plan": plan, "publish": True})
        fleet.client.api("PATCH", f"/v1/accounts/{user}@{DOMAIN}", {"plan": f"to-{to}"})
    try:
        with phones(fleet, "alice", "dave") as (alice, dave):
            final, _ = outcome(alice, f"sip:bob@{DOMAIN}", ())
            assert (final.status, "was called before" in final.reason) == (482, True)
            fleet.client.api("PATCH", f"/v1/accounts/dave@{DOMAIN}", {"plan": ""})
            alice.invite(f"sip:bob@{DOMAIN}")
            got = dave.wait(lambda: dave.agent.requests("INVITE"))[0]
            # Whoever diverted it last: bob's plan led to carol, and carol's to dave.
            assert got.values("diversion") == [f"<sip:carol@{DOMAIN}>;reason=unconditional;counter=1"]
            dave.send(dave.agent.response(got, 486).to_bytes())
    finally:
        for user, to in circle.items():
            fleet.client.api("PATCH", f"/v1/accounts/{user}@{DOMAIN}", {"plan": ""})
            fleet.client.request("DELETE", f"/v1/plans/to-{to}?tenant={owner}")


@pytest.mark.parametrize("killed", [False, True])
def test_a_call_is_ended_at_its_limit_even_by_another_life_of_the_edge(fleet, owner, killed):
    plan = {"rules": [{"name": "short", "max_duration": 3, "as_dialled": True}]}
    fleet.client.api("POST", f"/v1/plans/short/versions?tenant={owner}", {"plan": plan, "publish": True})
    fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": "short"})
    try:
        with phones(fleet, "alice", "bob") as (alice, bob):
            begun = time.monotonic()
            call(alice, bob, f"sip:bob@{DOMAIN}")
            if killed:
                # Once the call is known: its record is safe on the disk in any case, and delivered after the restart.
                fleet.processes.kill(fleet.edges[0].id)
                fleet.start_edge(fleet.edges[0])
                fleet.wait_ready(fleet.edges[0])
            for one in (alice, bob):
                bye = one.wait(lambda one=one: one.agent.requests("BYE"), 15)[0]
                one.send(one.agent.response(bye, 200).to_bytes())
            assert 3 <= time.monotonic() - begun < 10 * slowness()
        today = datetime.datetime.now(datetime.UTC).date().isoformat()

        def ended():
            found = [item for item in fleet.client.calls(owner, today) if item["ended_by"] == "service"]
            return found[-1] if found else None

        record = wait_for("the call's end to be recorded", ended, 10)
        assert (record["account"], record["caller"]) == (f"alice@{DOMAIN}", f"alice@{DOMAIN}")
        assert 3 <= record["ended"] - record["answered"] < 10
    finally:
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": ""})
        fleet.client.request("DELETE", f"/v1/plans/short?tenant={owner}")


# Plans that would take everybody down with them


@pytest.fixture
def bobs_plan(fleet, owner):
    """Has a plan decide bob's calls, as JSON."""

    def store(plan):
        body = {"plan": plan, "publish": True}
        fleet.client.api("POST", f"/v1/plans/bobs/versions?tenant={owner}", body)
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": "bobs"})

    yield store
    fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": ""})
    fleet.client.request("DELETE", f"/v1/plans/bobs?tenant={owner}")


@pytest.mark.parametrize(
    ("leg", "field"),
    [
        ({"account": "😀" * 300}, "account"),
        ({"account": "Desk"}, "account"),
        ({"number": "hello"}, "number"),
        ({"number": "1", "providers": ["😀"]}, "providers"),
        ({"uri": "sip:@host"}, "uri"),
        ({"uri": "sip:a@b@c"}, "uri"),
        ({"uri": "sip:x@[::1"}, "uri"),
    ],
)
def test_legs_that_can_ring_nobody_arent_stored(fleet, tenant, leg, field):
    _, key, _ = tenant
    body = {"plan": {"rules": [{"name": "x", "ring": {"legs": [leg]}}]}}
    status, problem = ask(fleet, key, "POST", "/v1/plans/p/versions", body)
    assert status == 422
    assert field in str(problem["errors"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/publish", {"version": 10**1500}),
        (":simulate", {"caller": "a", "called": "b", "version": 10**2000}),
        (":simulate", {"caller": "a", "called": "b", "at": "0001-01-01T00:00:00"}),
        (":simulate", {"caller": "a", "called": "b", "at": "9999-12-31T23:59:59-12:00"}),
        (
            "/versions",
            {"plan": {"rules": [{"name": "😀" * 100, "as_dialled": True}], "lists": {"a": ["😀" * 90] * 900}}},
        ),
        (
            "/versions",
            {
                "plan": {
                    "rules": [{"name": "x", "as_dialled": True}],
                    "examples": [{"caller": "a", "called": "b", "at": "9999-12-31T23:59:59Z"}],
                }
            },
        ),
    ],
)
def test_numbers_times_and_sizes_out_of_all_reason(fleet, tenant, path, body):
    _, key, _ = tenant
    ask(
        fleet,
        key,
        "POST",
        "/v1/plans/p/versions",
        {"plan": {"rules": [{"name": "x", "as_dialled": True}]}, "publish": True},
    )
    assert ask(fleet, key, "POST", f"/v1/plans/p{path}", body)[0] == 422


def test_looking_up_numbers_nobody_answers_for_costs_the_caller_only(fleet, bobs_plan):
    """20 numbers in zones whose server says nothing: three are asked, and others' calls go on."""
    legs = [{"number": f"+4420794600{n:02d}", "enum": f"z{n}.test"} for n in range(20)]
    bobs_plan({"rules": [{"name": "x", "ring": {"legs": legs}}]})
    with phones(fleet, "alice", "carol") as (alice, carol):
        begun = time.monotonic()
        assert outcome(alice, f"sip:bob@{DOMAIN}", ())[0].status == 480
        assert time.monotonic() - begun < 4.4 * slowness()
        begun = time.monotonic()
        invite = alice.invite(f"sip:carol@{DOMAIN}")
        got = carol.wait(lambda: carol.agent.requests("INVITE"))[0]
        assert time.monotonic() - begun < 2 * slowness()
        carol.send(carol.agent.response(got, 486).to_bytes())
        assert alice.wait(lambda: alice.agent.final(invite)).status == 486


def test_two_accounts_scripts_cant_play_ball_for_ever(fleet, owner):
    for user, to in (("bob", "carol"), ("carol", "bob")):
        script = f'def incoming(call):\n    return then(ring("nobody"), go)\ndef go(call):\n    return forward("{to}@{DOMAIN}")'
        example = {"caller": "a", "called": f"{user}@{DOMAIN}", "at": "2026-03-02T12:00:00Z"}
        body = {"plan": {"script": script, "examples": [example]}, "publish": True}
        fleet.client.api("POST", f"/v1/plans/ball-{user}/versions?tenant={owner}", body)
        fleet.client.api("PATCH", f"/v1/accounts/{user}@{DOMAIN}", {"plan": f"ball-{user}"})
    try:
        with phones(fleet, "alice") as (alice,):
            final, _ = outcome(alice, f"sip:bob@{DOMAIN}", ())
            assert (final.status, "asked again more than 5 times" in final.reason) == (500, True), final.reason
    finally:
        for user in ("bob", "carol"):
            fleet.client.api("PATCH", f"/v1/accounts/{user}@{DOMAIN}", {"plan": ""})
            fleet.client.request("DELETE", f"/v1/plans/ball-{user}?tenant={owner}")


def test_the_longest_names_can_be_asked_again(fleet, owner):
    account = fleet.client.api("POST", "/v1/accounts", {"username": "l" * 64, "domain": DOMAIN})["aor"]
    name, function = "p" * 32, "f" * 100
    script = f"def incoming(call):\n    return then(ring('nobody'), {function})\ndef {function}(call):\n    return reject(486)"
    example = {"caller": "a", "called": account, "at": "2026-03-02T12:00:00Z"}
    body = {"plan": {"script": script, "examples": [example]}, "publish": True}
    fleet.client.api("POST", f"/v1/plans/{name}/versions?tenant={owner}", body)
    fleet.client.api("PATCH", f"/v1/accounts/{account}", {"plan": name})
    with phones(fleet, "alice") as (alice,):
        assert outcome(alice, f"sip:{account}", ())[0].status == 486
    fleet.client.api("DELETE", f"/v1/accounts/{account}")
    fleet.client.api("DELETE", f"/v1/plans/{name}?tenant={owner}")


def test_the_reason_of_a_failure_stands_first_in_the_log(fleet, owner, scripted):
    scripted(
        'def incoming(call):\n    for i in range(20):\n        log("y" * 480)\n'
        f'    return fail("the reason") if call.caller == "carol@{DOMAIN}" else reject(480)'
    )
    with phones(fleet, "carol") as (carol,):
        final, _ = outcome(carol, f"sip:bob@{DOMAIN}", ())
        assert (final.status, "the reason at scripted v1:4" in final.reason) == (500, True), final.reason
    (event,) = [event for event in events(fleet, owner) if "the reason" in event["text"]]
    assert event["text"].startswith("error: fail: the reason")
    assert event["text"].count("\n") == 20
