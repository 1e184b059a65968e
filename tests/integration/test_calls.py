"""The records of calls, as the API shows them."""

from __future__ import annotations

import asyncio
import datetime
import secrets
import time
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.control.client import ControlClient
from edge.control.identity import Identity
from edge.sip.transaction.client import make_ack
from lambdas.contract import CallAnswered, CallEnded, CallFailed, MediaQuality
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.calls import Calls
from scripts.fleet_parts import DOMAIN, development_client
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


def test_user_names_with_the_domain_and_withheld_calls(fleet, owner):
    """The hashes for it are kept with every password; the record names who has called, the phone doesn't hear it."""
    with phones(fleet, "alice", "bob") as (alice, bob):
        aor, contact = f"<sip:alice@{DOMAIN}>", f"Contact: {alice.agent.contact}"
        alice.agent.username += f"@{DOMAIN}"
        uri = f"sip:{DOMAIN}"
        request = alice.agent.request("REGISTER", uri, aor, [contact], from_=f"{aor};tag=r", cseq=7)
        assert alice.transact(request).status == 200
        invite = alice.agent.request(
            "INVITE", f"sip:bob@{DOMAIN}", headers=[contact], from_="<sip:anonymous@anonymous.invalid>;tag=a"
        )
        alice.send(invite.to_bytes())
        challenge = alice.wait(lambda: alice.agent.final(invite))
        assert challenge.status == 407
        alice.send(make_ack(invite, challenge).to_bytes())
        invite = alice.agent.authorize(invite, challenge)
        alice.send(invite.to_bytes())
        got = bob.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
        assert b"alice" not in got.to_bytes()
        bob.send(bob.agent.response(got, 486).to_bytes())
        final = alice.wait(lambda: alice.agent.final(invite))
        assert final.status == 486
        alice.send(make_ack(invite, final).to_bytes())
        alice.agent.username = "alice"

    def found():
        return [one for one in records(fleet, owner, f"bob@{DOMAIN}") if one["call_id"] == invite.get("call-id")]

    (record,) = wait_for("the record", found, 10)
    assert (record["caller"], record["asserted"]) == (f"alice@{DOMAIN}", "")


def test_what_a_provider_has_said_in_confidence_is_for_administration(fleet, owner, monkeypatch):
    started = int(time.time())
    report = CallFailed(
        tenant=owner,
        call="confidential",
        started=started,
        call_id="confidential",
        caller="anonymous@anonymous.invalid",
        asserted="+442079460999@itsp.example",
        called="+442079460000@itsp.example",
        ended=started + 1.0,
        status=486,
        address=fleet.edges[0].host.address,
    )
    saved: list[CallItem] = []
    monkeypatch.setattr(CallItem, "save", lambda item: saved.append(item))
    Calls(SimpleNamespace(release=lambda *_: None)).failed(report)
    table = development_client("dynamodb", fleet.endpoint)
    table.put_item(TableName=CallItem.Meta.table_name, Item=saved[0].to_dynamodb_dict())
    key = fleet.client.api("POST", "/v1/keys", {"tenant": owner})["key"]
    day = datetime.datetime.fromtimestamp(started, datetime.UTC).date().isoformat()
    query = f"/v1/calls?tenant={owner}&day={day}&call_id=confidential"
    (mine,) = fleet.client.api("GET", query)["items"]
    status, page = fleet.client.request("GET", query, key=key)
    (theirs,) = page["items"]
    assert status == 200
    assert mine["asserted"] == report.asserted
    assert theirs == mine | {"asserted": ""}


def test_which_way_media_took_and_how_good_they_were(fleet, owner):
    """What an edge tells of an end later than another one counts where nobody has told it before."""
    address = f"198.19.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    identity = Identity(f"edge-{secrets.token_hex(4)}", Ed25519PrivateKey.generate())
    edge = {"id": identity.edge, "public_key": identity.public_key, "addresses": [address]}
    fleet.client.api("POST", "/v1/edges", edge)
    started = int(time.time())
    name = {"tenant": owner, "call": f"media-{secrets.token_hex(4)}", "started": started}
    outline = {"call_id": name["call"], "caller": f"alice@{DOMAIN}", "called": f"bob@{DOMAIN}"}
    heard = MediaQuality(side="caller", packets=500, longest_gap=0.5, lost=5, jitter=2.5, mos=4.2)
    other = MediaQuality(side="called", packets=490)
    reports = [
        CallAnswered(
            **name, **outline, answered=started + 1.0, edges=(address, address), media="direct", media_why="one-site"
        ),
        CallEnded(**name, ended=started + 9.0, by="service", reason="first", media="relayed", media_why="nat"),
        CallEnded(**name, ended=started + 11.0, quality=[heard, other], media="direct", event="its keys are lost"),
        CallEnded(**name, ended=started + 12.0, quality=[other]),
    ]

    async def told():
        client = ControlClient(identity, [fleet.api_url], "none")
        answers = [await client.report([one.model_dump_json().encode() for one in reports]) for _ in range(2)]
        client.close()
        return answers

    assert all(asyncio.run(told()))
    fleet.client.api("DELETE", f"/v1/edges/{identity.edge}")
    day = datetime.datetime.fromtimestamp(started, datetime.UTC).date().isoformat()
    (record,) = fleet.client.api("GET", f"/v1/calls?tenant={owner}&day={day}&call_id={name['call']}")["items"]
    assert (record["media"], record["media_why"], record["reason"]) == ("relayed", "nat", "first")
    assert record["quality"] == [
        {"side": "caller", "packets": 500, "longest_gap": 0.5, "lost": 5, "jitter": 2.5, "mos": 4.2, "by": "rtcp"},
        {"side": "called", "packets": 490, "longest_gap": None, "lost": None, "jitter": None, "mos": None,
         "by": "packets"},
    ]  # fmt: skip
    events = fleet.client.api("GET", f"/v1/events?tenant={owner}&day={day}&kind=media")["items"]
    mine = [one for one in events if one["call_id"] == name["call"]]
    # Told once, though the report has come twice.
    assert [(one["at"], one["about"], one["text"]) for one in mine] == [
        (started + 11.0, f"alice@{DOMAIN}", "its keys are lost")
    ]
