"""Requests to a Contact that phones have seen in a dialog (RFC 3261 §8.1.1.8): attended transfers, calling back; and
INVITE with Replaces (RFC 3891)."""

from __future__ import annotations

import pytest

from edge.proxy.location.contacts import equivalent
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.rules import Plan
from tests.scenarios.test_calls import answered_call
from tests.scenarios.test_crossings import ask, first
from tests.support.world import DOMAIN, World

REPLACES = ["Replaces: abc@x;to-tag=1;from-tag=2", "Require: replaces"]


@pytest.fixture
def world() -> World:
    return World()


def registered(world, name, edge="edge-a", contact=""):
    phone = world.phone(name, edge)
    assert phone.register(contact=contact) == 200
    return phone


CONTACTS = [
    "sip:carol@10.0.0.9:5060",
    "sip:x7Hq2@192.168.77.7:5060;ob",
    "sip:101@192.168.77.7",
    "sip:192.168.77.7:5062",
]


@pytest.mark.parametrize("contact", CONTACTS)
@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("known", [True, False])
def test_a_contact_registered_here_is_reached(world, edge, known, contact):
    """On whatever edge, with whatever user part; the caller needs credentials, and no registration."""
    carol = registered(world, "carol", edge, f"<{contact}>")
    other = registered(world, "carol", edge, "<sip:carol@10.0.0.77:5060>")
    bob = registered(world, "bob") if known else world.phone("bob")
    invite = bob.start_call(contact, REPLACES)
    got = first(world, carol, "INVITE")
    assert got.uri == contact
    assert got.get("replaces") == "abc@x;to-tag=1;from-tag=2"
    carol.send(carol.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: bob.agent.final(invite)).status == 200
    assert not other.agent.requests("INVITE")


@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "OPTIONS"])
def test_other_requests_reach_it_too(world, method):
    carol, bob = registered(world, "carol", "edge-b"), registered(world, "bob")
    request = ask(world, bob, bob.agent.request(method, "sip:carol@10.0.0.9:5060"))
    carol.send(carol.agent.response(first(world, carol, method), 200).to_bytes())
    assert world.wait(lambda: bob.agent.final(request)).status == 200


def test_an_attended_transfer_between_phones(world):
    """alice has bob on the line, asks carol, and sends bob there: carol's phone knows the call by its Replaces."""
    alice, bob, carol = registered(world, "alice"), registered(world, "bob", "edge-b"), registered(world, "carol")
    with_bob, _ = answered_call(world, alice, bob)
    with_carol, _ = answered_call(world, alice, carol, f"sip:carol@{DOMAIN}")
    tags = f"to-tag={with_carol.remote.partition('tag=')[2]}%3Bfrom-tag={with_carol.local.partition('tag=')[2]}"
    refer_to = f"Refer-To: <{with_carol.target}?Replaces={with_carol.call_id}%3B{tags}>"
    alice.send(alice.agent.in_dialog(with_bob, "REFER", headers=[refer_to]).to_bytes())
    refer = first(world, bob, "REFER")
    bob.send(bob.agent.response(refer, 202).to_bytes())
    assert refer.get("refer-to") == refer_to.partition(": ")[2]
    carol.agent.received.clear()
    replaces = f"Replaces: {with_carol.call_id};{tags.replace('%3B', ';')}"
    invite = bob.start_call(with_carol.target, [replaces, f"Referred-By: <sip:alice@{DOMAIN}>"])
    got = first(world, carol, "INVITE")
    assert got.get("replaces") == replaces.partition(": ")[2]
    assert got.get("referred-by") == f"<sip:alice@{DOMAIN}>"
    carol.send(carol.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: bob.agent.final(invite)).status == 200


def test_without_the_control_plane_it_is_reached_all_the_same(world):
    carol = registered(world, "carol", "edge-b", "<sip:x7Hq2@192.168.77.7>")
    bob = registered(world, "bob")
    world.control.dark = True
    bob.start_call("sip:x7Hq2@192.168.77.7")
    assert first(world, carol, "INVITE").uri == "sip:x7Hq2@192.168.77.7"


def test_what_is_registered_by_another_tenant_is_nobodys(world):
    carol = registered(world, "carol", contact="<sip:101@192.168.1.5:5060>")
    world.control.add("eve", "pw-eve", "t2")
    world.control.add("zoe", "pw-zoe", "t2")
    zoe = registered(world, "zoe", "edge-b", "<sip:101@192.168.1.5:5060>")
    eve = registered(world, "eve")
    invite = eve.start_call("sip:101@192.168.1.5:5060")
    assert first(world, zoe, "INVITE")
    zoe.send(zoe.agent.response(first(world, zoe, "INVITE"), 486).to_bytes())
    assert world.wait(lambda: eve.agent.final(invite)).status == 486
    assert not carol.agent.requests("INVITE")
    zoe.register(0, contact="<sip:101@192.168.1.5:5060>")
    invite = eve.start_call("sip:101@192.168.1.5:5060")
    assert world.wait(lambda: eve.agent.final(invite)).status in (403, 404)
    assert not carol.agent.requests("INVITE")


def test_a_wrong_password_searches_for_nobody(world):
    carol, bob = registered(world, "carol", "edge-b"), world.phone("bob")
    bob.agent.password = "wrong"
    invite = bob.start_call("sip:carol@10.0.0.9:5060")
    assert world.wait(lambda: bob.agent.final(invite)).status == 403
    assert not carol.agent.requests("INVITE")
    assert not world.nodes["edge-a"].core.stack.counters["called_contacts"]


def test_our_own_address_at_another_port_is_not_an_account(world):
    carol, bob = registered(world, "carol", contact="<sip:x@203.0.113.11:40000>"), registered(world, "bob")
    registered(world, "x")
    bob.start_call("sip:x@203.0.113.11:40000")
    assert first(world, carol, "INVITE").uri == "sip:x@203.0.113.11:40000"


def test_whom_nobody_has_registered_gets_what_was_decided(world):
    bob = registered(world, "bob")
    invite = bob.start_call("sip:carol@10.0.0.9:5060")
    assert world.wait(lambda: bob.agent.final(invite)).status == 404
    world.run(1)
    assert len([report for report in world.control.reports if report.kind == "failed"]) == 1


def test_do_not_disturb_and_plans(world):
    """A Contact is one phone: the account's plan isn't asked, but it isn't disturbed either."""
    carol, bob = registered(world, "carol", "edge-b"), registered(world, "bob")
    plan = {"rules": [{"name": "no", "reject": {"status": 603}}]}
    world.control.plans["night"] = Plan.model_validate(plan)
    from dataclasses import replace

    aor = f"carol@{DOMAIN}"
    world.control.accounts[aor] = replace(world.control.accounts[aor], plan="night")
    bob.start_call("sip:carol@10.0.0.9:5060")
    got = first(world, carol, "INVITE")
    carol.send(carol.agent.response(got, 480).to_bytes())
    world.control.accounts[aor] = replace(world.control.accounts[aor], do_not_disturb=True)
    invite = bob.start_call("sip:carol@10.0.0.9:5060")
    assert world.wait(lambda: bob.agent.final(invite)).status == 486


def test_a_new_contact_on_the_same_flow_is_known_and_the_old_one_forgotten(world):
    carol, bob = world.phone("carol", "edge-b"), registered(world, "bob")
    carol.agent.instance = "urn:uuid:1"
    for user in ("one", "two"):
        assert carol.register(contact=f"<sip:{user}@10.0.0.9>") == 200
    invite = bob.start_call("sip:one@10.0.0.9")
    assert world.wait(lambda: bob.agent.final(invite)).status == 404
    bob.start_call("sip:two@10.0.0.9")
    first(world, carol, "INVITE")
    assert carol.register(0, contact="<sip:two@10.0.0.9>") == 200
    invite = bob.start_call("sip:two@10.0.0.9")
    assert world.wait(lambda: bob.agent.final(invite)).status == 404


@pytest.mark.parametrize("answers", [(481, 486), (486, 481), (481, 404)])
def test_of_phones_without_the_call_meant_the_caller_hears_last(world, answers):
    desk, mobile = registered(world, "carol"), registered(world, "carol", "edge-b", "<sip:carol@10.0.0.10>")
    bob = registered(world, "bob")
    invite = bob.start_call(f"sip:carol@{DOMAIN}", REPLACES)
    for phone, status in zip((desk, mobile), answers, strict=True):
        got = first(world, phone, "INVITE")
        assert got.get("replaces")
        phone.send(phone.agent.response(got, status).to_bytes())
    assert world.wait(lambda: bob.agent.final(invite)).status == next(one for one in answers if one != 481)


def test_the_phone_that_has_the_call_takes_it_though_others_answer_481_first(world):
    desk, mobile = registered(world, "carol"), registered(world, "carol", "edge-b", "<sip:carol@10.0.0.10>")
    bob = registered(world, "bob")
    invite = bob.start_call(f"sip:carol@{DOMAIN}", REPLACES)
    one, two = first(world, desk, "INVITE"), first(world, mobile, "INVITE")
    desk.send(desk.agent.response(one, 481).to_bytes())
    world.run(1)
    mobile.send(mobile.agent.response(two, 200).to_bytes())
    assert world.wait(lambda: bob.agent.final(invite)).status == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sip:a@h", "sip:a@h;ob", True),
        ("sip:a@h;line=1", "sip:a@h;line=2", False),
        ("sip:a@h;line=1", "sip:a@h;LINE=%31", True),
        ("sip:a@h;transport=tcp", "sip:a@h", False),
        ("sip:a@h;transport=TCP", "sip:a@h;x;transport=tcp", True),
        ("sip:a@h;x", "sip:a@h;x", True),
        ("sip:a@h:5060", "sip:a@h", False),
    ],
)
def test_equivalent_uris(one, other, same):
    assert equivalent(one, other) is equivalent(other, one) is same


def test_of_two_lines_of_one_phone_the_one_meant_is_called(world):
    one = registered(world, "carol", contact="<sip:p@10.0.0.9;line=1>")
    two = registered(world, "dave", contact="<sip:p@10.0.0.9;line=2>")
    bob = registered(world, "bob")
    bob.start_call("sip:p@10.0.0.9;line=2")
    first(world, two, "INVITE")
    assert not one.agent.requests("INVITE")
    invite = bob.start_call("sip:p@10.0.0.9;line=3")
    assert world.wait(lambda: bob.agent.final(invite)).status == 404


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("sip:carol@10.0.0.9:5060;transport=udp", "sip:carol@10.0.0.9:5060"),
        ("sip:carol@10.0.0.9:5060", "sip:carol@10.0.0.9"),
        ("sip:carol@10.0.0.9", "sip:carol@10.0.0.9:5060;transport=UDP"),
    ],
)
def test_a_phone_that_tells_its_registrar_more_or_less_than_its_peers_is_reached(world, told, seen):
    carol = registered(world, "carol", contact=f"<{told}>")
    bob = registered(world, "bob")
    bob.start_call(seen)
    first(world, carol, "INVITE")


def test_a_port_that_is_not_written_tells_phones_apart_where_both_are_there(world):
    one = registered(world, "carol", contact="<sip:p@10.0.0.9>")
    two = registered(world, "dave", contact="<sip:p@10.0.0.9:5060>")
    registered(world, "bob").start_call("sip:p@10.0.0.9:5060")
    first(world, two, "INVITE")
    assert not one.agent.requests("INVITE")


def test_a_number_for_a_user_part_is_no_number_there(world):
    """Where calls to numbers leave by a provider."""
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    carol, bob = registered(world, "carol", "edge-b", "<sip:02079460000@10.0.0.9>"), registered(world, "bob")
    bob.start_call("sip:02079460000@10.0.0.9")
    first(world, carol, "INVITE")
