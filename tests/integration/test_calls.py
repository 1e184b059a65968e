"""The records of calls, as the API shows them."""

from __future__ import annotations

import datetime
import time

import pytest

from scripts.fleet_parts import DOMAIN
from scripts.processes import wait_for
from tests.integration.test_plan_scripts import owner, phones
from tests.support.socket_phone import call, in_dialog

pytestmark = pytest.mark.integration

__all__ = ["owner"]  # the fixture


def records(fleet, tenant, called):
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    items, cursor = [], ""
    while True:
        page = fleet.client.api("GET", f"/v1/calls?tenant={tenant}&day={day}&limit=200{cursor}")
        items += [item for item in page["items"] if item["called"] == called]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


def test_calls_that_nobody_took_are_on_record(fleet, owner):
    with phones(fleet, "alice", "bob") as (alice, bob):
        before = time.time()
        invite = alice.invite(f"sip:nobody@{DOMAIN}")
        assert alice.wait(lambda: alice.agent.final(invite)).status == 404
        (found,) = wait_for("the record", lambda: records(fleet, owner, f"nobody@{DOMAIN}"), 10)
        assert (found["status"], found["answered"], found["caller"]) == (404, None, f"alice@{DOMAIN}")
        assert found["call_id"] == invite.get("call-id")
        assert found["reason"] == 'SIP;cause=404;text="Not Found: no such account"'
        assert before <= found["started"] <= found["ended"] < before + 10

        seen = {one["id"] for one in records(fleet, owner, f"bob@{DOMAIN}")}

        def new(answered):
            found = [one for one in records(fleet, owner, f"bob@{DOMAIN}") if one["id"] not in seen]
            return [one for one in found if (one["answered"] is not None) == answered and one["ended"]]

        bob.agent.received.clear()
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        got = bob.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
        bob.send(bob.agent.response(got, 486).to_bytes())
        assert alice.wait(lambda: alice.agent.final(invite)).status == 486
        busy = wait_for("the record", lambda: new(False), 10)[0]
        assert (busy["status"], busy["answered"]) == (486, None)
        assert busy["edges"] == [edge.host.address for edge in fleet.edges]
        assert busy["user_agents"] == ["", ""]  # neither phone says what it is
        assert [(leg["to"], leg["status"]) for leg in busy["legs"]] == [(f"bob@{DOMAIN}", 486)]
        assert busy["legs"][0]["edge"] == fleet.edges[1].host.address

        dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
        in_dialog(alice, dialog, "BYE", bob)
        taken = wait_for("its end", lambda: new(True), 10)[0]
        assert (taken["status"], taken["ended_by"], taken["answered"] <= taken["ended"]) == (200, "caller", True)
        assert [(leg["to"], leg["status"]) for leg in taken["legs"]] == [(f"bob@{DOMAIN}", 200)]


def test_filters(fleet, owner):
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    with phones(fleet, "alice", "bob", "carol") as (alice, bob, carol):
        before = time.time()
        ids = []
        for _ in range(3):
            dialog, theirs = call(alice, bob, f"sip:bob@{DOMAIN}")
            in_dialog(bob, theirs, "BYE", alice)
            ids.append(dialog.call_id)
        invite = carol.invite(f"sip:nobody@{DOMAIN}")
        assert carol.wait(lambda: carol.agent.final(invite)).status == 404

    def found(query, limit=2):
        items, cursor = [], ""
        while cursor is not None:
            page = fleet.client.api(
                "GET",
                f"/v1/calls?tenant={owner}&day={day}&limit={limit}&since={int(before)}&{query}{cursor and f'&cursor={cursor}'}",
            )
            items += [one for one in page["items"] if one["started"] >= before]  # `since` is of whole seconds
            cursor = page["next"]
        return items

    wait_for("the records", lambda: len([one for one in found("") if one["ended"]]) == 4, 15)
    assert {one["call_id"] for one in found(f"account=alice@{DOMAIN}")} == set(ids)
    assert all(one["ended_by"] == "called" for one in found(f"account=alice@{DOMAIN}"))
    assert {one["call_id"] for one in found(f"called=bob@{DOMAIN}&answered=true")} == set(ids)
    assert [one["status"] for one in found("answered=false")] == [404]
    assert [one["caller"] for one in found(f"caller=carol@{DOMAIN}")] == [f"carol@{DOMAIN}"]
    assert [one["call_id"] for one in found(f"call_id={ids[1]}")] == ids[1:2]
    assert found(f"account=bob@{DOMAIN}") == []
    assert fleet.client.api("GET", f"/v1/calls?tenant={owner}&day={day}&since={int(before) + 7200}")["items"] == []
    noted = fleet.client.api(
        "GET", f"/v1/events?tenant={owner}&day={day}&about={fleet.client.key.split('_')[1]}&limit=2"
    )["items"]
    assert all(one["about"] == fleet.client.key.split("_")[1] for one in noted)
