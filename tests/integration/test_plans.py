"""Dial plans over the provisioning API, and what phones hear of them."""

from __future__ import annotations

import pytest

from scripts.fleet_parts import DOMAIN, PREFIX, SIP, Host, development_client
from tests.integration.test_provisioning import ask, tenant
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

RING_ALL = {
    "rules": [
        {
            "name": "both",
            "ring": {"legs": [{"account": f"bob@{DOMAIN}"}, {"account": f"carol@{DOMAIN}"}], "timeout": 3},
        },
        {
            "name": "then",
            "when": {"after": ["failed"]},
            "ring": {"legs": [{"account": f"dave@{DOMAIN}"}], "timeout": 3},
        },
        {"name": "nobody", "reject": {"status": 480, "reason": "Nobody is there"}},
    ]
}
BLOCKED = {
    "lists": {"pests": [f"alice@{DOMAIN}"]},
    "rules": [
        {"name": "pests", "when": {"caller_in": "pests"}, "reject": {"status": 603, "reason": "Not welcome"}},
        {"name": "others", "as_dialled": True},
    ],
}


def phone(fleet, user, index):
    edge = fleet.edges[index]
    return SocketPhone(fleet.accounts[user], DOMAIN, Host(edge.host.address), (edge.host.address, SIP))


@pytest.fixture
def office(fleet):
    """The development tenant, and what makes a plan of it count for bob."""
    owner = fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]

    def store(plan):
        fleet.client.api("POST", f"/v1/plans/office/versions?tenant={owner}", {"plan": plan, "publish": True})
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": "office"})

    yield store
    fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": ""})
    fleet.client.request("DELETE", f"/v1/plans/office?tenant={owner}")


def outcome(caller, uri, ringing):
    """The call's final response; everybody of ``ringing`` rings and doesn't answer, but honours a CANCEL."""
    invite = caller.invite(uri)
    rung = []

    def others():
        for other in ringing:
            other.read(0.01)
            for request in other.agent.requests("INVITE"):
                if request.get("call-id") == invite.get("call-id") and other not in rung:
                    rung.append(other)
                if not other.agent.requests("CANCEL"):
                    other.send(other.agent.response(request, 180).to_bytes())
                else:
                    other.send(other.agent.response(request, 487).to_bytes())
            for request in other.agent.requests("CANCEL"):
                other.send(other.agent.response(request, 200).to_bytes())

    final = caller.wait(lambda: others() or caller.agent.final(invite), 20)
    return final, rung


def test_ring_all_then_another_then_refuse(fleet, office):
    office(RING_ALL)
    with (
        phone(fleet, "alice", 0) as alice,
        phone(fleet, "bob", 1) as bob,
        phone(fleet, "carol", 0) as carol,
        phone(fleet, "dave", 1) as dave,
    ):
        assert alice.register() == bob.register() == carol.register() == dave.register() == 200
        final, rung = outcome(alice, f"sip:bob@{DOMAIN}", (bob, carol, dave))
        assert (final.status, final.reason) == (480, "Nobody is there")
        assert set(rung[:2]) == {bob, carol}
        assert rung[2:] == [dave]
        for one in (bob, carol, dave):
            one.transact(one.agent.register_request(0))


def test_blocked_callers_hear_so_and_a_roll_back_lets_them_in(fleet, office):
    office(BLOCKED)
    owner = fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]
    with phone(fleet, "alice", 0) as alice, phone(fleet, "bob", 1) as bob:
        assert alice.register() == bob.register() == 200
        final, rung = outcome(alice, f"sip:bob@{DOMAIN}", (bob,))
        assert (final.status, final.reason, rung) == (603, "Not welcome", [])
        open_plan = {"rules": [{"name": "all", "as_dialled": True}]}
        fleet.client.api("POST", f"/v1/plans/office/versions?tenant={owner}", {"plan": open_plan, "publish": True})
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        got = bob.wait(lambda: bob.agent.requests("INVITE"))[0]
        bob.send(bob.agent.response(got, 486).to_bytes())
        assert alice.wait(lambda: alice.agent.final(invite)).status == 486
        fleet.client.api("POST", f"/v1/plans/office/publish?tenant={owner}", {"version": 1})
        assert outcome(alice, f"sip:bob@{DOMAIN}", (bob,))[0].status == 603
        bob.transact(bob.agent.register_request(0))


def test_versions_examples_and_simulation(fleet, tenant):
    _, key, _ = tenant
    path = "/v1/plans/night"
    example = {"caller": "+44", "called": "x@y", "at": "2026-03-02T22:00:00Z", "rings": [], "status": 480}
    plan = {
        "rules": [
            {"name": "day", "when": {"hours": [{"since": "09:00", "until": "17:00"}]}, "as_dialled": True},
            {"name": "closed", "reject": {"status": 480}},
        ],
        "examples": [example],
    }
    status, made = ask(fleet, key, "POST", f"{path}/versions", {"plan": plan, "note": "first"})
    assert (status, made["latest"], made["published"]) == (201, 1, 0)
    assert ask(fleet, key, "POST", f"{path}:simulate", {"caller": "a", "called": "b"})[0] == 404  # none is published
    assert ask(fleet, key, "POST", f"{path}/publish", {"version": 1})[1]["published"] == 1
    wrong = {**plan, "examples": [{**example, "status": 603}]}
    status, problem = ask(fleet, key, "POST", f"{path}/versions", {"plan": wrong, "publish": True})
    assert (status, "answers 480, not 603" in problem["detail"]) == (422, True)
    assert ask(fleet, key, "POST", f"{path}/versions", {"plan": wrong})[0] == 201  # as a draft
    status, problem = ask(fleet, key, "POST", f"{path}/publish", {"version": 2})
    assert (status, "examples" in problem["detail"]) == (422, True)
    assert ask(fleet, key, "GET", path)[1]["published"] == 1
    history = ask(fleet, key, "GET", f"{path}/versions")[1]["items"]
    assert [(item["version"], item["note"]) for item in history] == [(1, "first"), (2, "")]
    at = {"caller": "+44", "called": "x@y", "at": "2026-03-02T12:00:00Z"}
    shown = ask(fleet, key, "POST", f"{path}:simulate", at)[1]
    assert (shown["steps"][-1]["as_dialled"], shown["rules"]) == (True, [{"rule": "day", "outcome": "fired"}])
    shown = ask(fleet, key, "POST", f"{path}:simulate", {**at, "at": "2026-03-02T22:00:00Z"})[1]
    assert (shown["steps"][-1]["status"], shown["rules"][0]["outcome"]) == (480, "it is mon 22:00")
    assert ask(fleet, key, "POST", f"{path}/publish", {"version": 9})[0] == 404
    assert ask(fleet, key, "POST", f"{path}/versions", {"plan": {"rules": []}})[0] == 422
    assert ask(fleet, key, "DELETE", path)[0] == 204
    assert ask(fleet, key, "GET", path)[0] == 404


def test_what_a_deleted_plan_has_left_is_no_version_of_the_next(fleet, tenant):
    owner, key, _ = tenant
    path = "/v1/plans/night"
    plan = {"rules": [{"name": "all", "as_dialled": True}]}
    table, client = f"{PREFIX}-directory", development_client("dynamodb", fleet.endpoint)
    for number in (1, 2):
        assert ask(fleet, key, "POST", f"{path}/versions", {"plan": plan, "note": f"old {number}"})[0] == 201
    names = [{"pk": {"S": f"PLANVERSION#{owner}/night"}, "sk": {"S": f"{number:08d}"}} for number in (1, 2)]
    left = [client.get_item(TableName=table, Key=name)["Item"] for name in names]
    assert ask(fleet, key, "DELETE", path)[0] == 204
    assert not any("Item" in client.get_item(TableName=table, Key=name) for name in names)
    for item in left:  # as a deletion that was cut off leaves them
        client.put_item(TableName=table, Item=item)
    client.close()
    for number in (1, 2):
        made = ask(fleet, key, "POST", f"{path}/versions", {"plan": plan, "note": f"new {number}"})
        assert (made[0], made[1]["latest"]) == (201, number)
        history = ask(fleet, key, "GET", f"{path}/versions")[1]["items"]
        assert [item["note"] for item in history] == [f"new {n}" for n in range(1, number + 1)]
        assert ask(fleet, key, "GET", f"{path}/versions/{number + 1}")[0] == 404


def test_another_tenants_plans_look_like_none(fleet, tenant):
    owner, key, domain = tenant
    plan = {"plan": {"rules": [{"name": "all", "as_dialled": True}]}, "publish": True}
    assert ask(fleet, key, "POST", "/v1/plans/mine/versions", plan)[0] == 201
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    theirs = fleet.client.api("POST", "/v1/keys", {"tenant": other, "note": "x"})["key"]
    for method, path, body in (
        ("GET", "/v1/plans/mine", None),
        ("GET", f"/v1/plans/mine?tenant={owner}", None),
        ("GET", f"/v1/plans/mine/versions?tenant={owner}", None),
        ("POST", f"/v1/plans/mine/versions?tenant={owner}", plan),
        ("POST", f"/v1/plans/mine/publish?tenant={owner}", {"version": 1}),
        ("POST", f"/v1/plans/mine:simulate?tenant={owner}", {"caller": "a", "called": "b"}),
        ("DELETE", f"/v1/plans/mine?tenant={owner}", None),
        ("PATCH", f"/v1/tenants/{other}", {"outgoing_plan": "mine"}),
    ):
        assert ask(fleet, theirs, method, path, body)[0] == 404, (method, path)
    ask(fleet, key, "POST", "/v1/accounts", {"username": "eve", "domain": domain})
    assert ask(fleet, key, "PATCH", f"/v1/accounts/eve@{domain}", {"plan": "none"})[0] == 404
    assert ask(fleet, key, "PATCH", f"/v1/accounts/eve@{domain}", {"plan": "mine"})[1]["plan"] == "mine"
