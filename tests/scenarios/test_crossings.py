"""Responses that cross the end of what they belong to: each method has its own rule (RFC 3261 §16.7, RFC 4320,
RFC 6026)."""

from __future__ import annotations

import pytest

from lambdas.contract import CallAnswered
from tests.scenarios.test_calls import answered_call
from tests.support.world import DOMAIN, World


@pytest.fixture
def world() -> World:
    return World()


def ask(world, phone, request):
    """Send it, and again with credentials; the request that counts."""
    phone.send(request.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(request))
    request = phone.agent.authorize(request, challenge)
    phone.send(request.to_bytes())
    return request


def first(world, phone, method):
    return world.wait(lambda: next(iter(phone.agent.requests(method)), None))


@pytest.mark.parametrize("callee_edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("method", ["UPDATE", "INFO", "BYE", "NOTIFY", "SUBSCRIBE", "REFER"])
def test_a_late_answer_in_a_call_leaves_the_call_alone(world, method, transport, callee_edge):
    alice, bob = world.phone("alice", transport=transport), world.phone("bob", callee_edge)
    assert alice.register() == bob.register() == 200
    dialog, _ = answered_call(world, alice, bob)
    bob.agent.received.clear()
    request = alice.agent.in_dialog(dialog, method)
    alice.send(request.to_bytes())
    got = first(world, bob, method)
    assert world.wait(lambda: alice.agent.final(request)).status == 480
    world.run(1)
    bob.agent.received.clear()
    bob.send(bob.agent.response(got, 200).to_bytes())
    world.run(5)
    assert not bob.agent.requests("ACK")
    assert not bob.agent.requests("BYE")
    assert alice.agent.statuses(method).count(200) == 0


@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "OPTIONS"])
@pytest.mark.parametrize("second", [180, 202, 200, 603])
def test_what_a_second_phone_says_after_the_first_ones_answer_is_dropped(world, method, second):
    alice = world.phone("alice", transport="TCP")
    desk, mobile = world.phone("bob", "edge-a"), world.phone("bob", "edge-b")
    mobile.agent.host = "10.0.0.10"
    assert alice.register() == desk.register() == mobile.register() == 200
    request = ask(
        world, alice, alice.agent.request(method, f"sip:bob@{DOMAIN}", headers=[f"Contact: {alice.agent.contact}"])
    )
    one, two = first(world, desk, method), first(world, mobile, method)
    desk.send(desk.agent.response(one, 200).to_bytes())
    world.wait(lambda: alice.agent.final(request))
    world.run(0.2)
    mobile.send(mobile.agent.response(two, second).to_bytes())
    world.run(5)
    assert alice.agent.statuses(method) == [407, 200]
    assert not mobile.agent.requests("ACK")
    assert not mobile.agent.requests("BYE")


def two_phones(world):
    alice = world.phone("alice")
    desk, mobile = world.phone("bob", "edge-a"), world.phone("bob", "edge-b")
    mobile.agent.host = "10.0.0.10"
    assert alice.register() == desk.register() == mobile.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    return alice, desk, mobile, invite, first(world, desk, "INVITE"), first(world, mobile, "INVITE")


def test_a_second_phones_200_that_comes_too_late_to_go_back_is_hung_up(world):
    """The caller's transaction is over 32 s after the first 2xx."""
    alice, desk, mobile, invite, one, two = two_phones(world)
    begun = world.now
    desk.send(desk.agent.response(one, 200, tag="desk").to_bytes())
    world.wait(lambda: 200 in alice.agent.statuses("INVITE"))
    world.run(begun + 25 - world.now)
    mobile.send(mobile.agent.response(two, 180, tag="mobile").to_bytes())
    world.wait(lambda: mobile.agent.requests("CANCEL"))
    world.run(begun + 36 - world.now)
    late = mobile.agent.response(two, 200, tag="mobile")
    mobile.send(late.to_bytes())
    assert first(world, mobile, "ACK").get("to").endswith("tag=mobile")
    bye = first(world, mobile, "BYE")
    assert bye.get("to").endswith("tag=mobile")
    mobile.send(mobile.agent.response(bye, 200).to_bytes())
    world.run(1)
    mobile.send(late.to_bytes())  # its ACK was lost, perhaps
    world.run(1)
    assert [len(mobile.agent.requests(method)) for method in ("ACK", "BYE")] == [2, 1]
    assert alice.agent.statuses("INVITE", invite.get("call-id")).count(200) == 1
    assert len([report for report in world.control.reports if isinstance(report, CallAnswered)]) == 1


@pytest.mark.parametrize(
    ("routes", "uri", "rest"),
    [
        (["<sip:10.0.0.1;lr>", "<sip:10.0.0.2;lr>"], "", ["<sip:10.0.0.2;lr>", "<sip:10.0.0.1;lr>"]),
        (["<sip:10.0.0.2>"], "sip:10.0.0.2", ["<sip:bob@10.0.0.10:5060>"]),
    ],
)
def test_who_is_hung_up_is_reached_through_what_stands_before_it(world, routes, uri, rest):
    """A PBX or a border controller behind us, which has record-routed; the nearest one may be a strict router."""
    alice, desk, mobile, _, one, two = two_phones(world)
    desk.send(desk.agent.response(one, 200, tag="desk").to_bytes())
    world.run(25)
    mobile.send(mobile.agent.response(two, 180).to_bytes())
    world.run(11)
    ok = mobile.agent.response(two, 200)
    ok.headers[1:1] = [("record-route", f"Record-Route: {route}") for route in routes]
    mobile.send(ok.to_bytes())
    for method in ("ACK", "BYE"):
        got = first(world, mobile, method)
        assert got.uri == (uri or "sip:bob@10.0.0.10:5060")
        assert got.values("route") == rest


def test_a_200_that_has_gone_back_is_never_hung_up(world):
    """However late it is sent again: its call goes on."""
    alice, desk, mobile, _, one, two = two_phones(world)
    begun = world.now
    desk.send(desk.agent.response(one, 200, tag="desk").to_bytes())
    world.wait(lambda: 200 in alice.agent.statuses("INVITE"))
    world.run(begun + 20 - world.now)
    answer = mobile.agent.response(two, 200, tag="mobile")
    mobile.send(answer.to_bytes())
    world.wait(lambda: alice.agent.statuses("INVITE").count(200) == 2)
    world.run(begun + 36 - world.now)
    mobile.send(answer.to_bytes())
    world.run(2)
    assert not mobile.agent.requests("BYE")


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "INFO"])
def test_the_sender_of_anything_but_an_invite_gets_100_after_three_and_a_half_seconds_and_no_other(
    world, method, transport
):
    alice, bob = world.phone("alice", transport=transport), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    ask(world, alice, alice.agent.request(method, f"sip:bob@{DOMAIN}"))
    begun = world.now
    got = first(world, bob, method)
    for status in (100, 180, 183):
        bob.send(bob.agent.response(got, status).to_bytes())
    world.run(begun + 3.4 - world.now)
    assert alice.agent.statuses(method) == [407]
    world.run(0.3)
    assert alice.agent.statuses(method) == [407, 100]
    bob.send(bob.agent.response(got, 200).to_bytes())
    world.run(1)
    assert alice.agent.statuses(method) == [407, 100, 200]


def test_a_register_that_takes_long_gets_100_and_a_strangers_doesnt(world):
    alice = world.phone("alice")
    world.decision_time = 4.4
    request = ask(world, alice, alice.agent.register_request())
    world.wait(lambda: alice.agent.final(request))
    assert alice.agent.statuses("REGISTER") == [401, 200]  # nobody knew him before the decision
    alice.agent.host = "10.0.0.10"  # a second Contact
    request = ask(world, alice, alice.agent.register_request())
    world.wait(lambda: alice.agent.final(request))
    assert alice.agent.statuses("REGISTER")[2:] == [401, 100, 200]


def test_no_408_goes_back_to_anything_but_an_invite(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    request = ask(world, alice, alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}"))
    bob.send(bob.agent.response(first(world, bob, "MESSAGE"), 408).to_bytes())
    assert world.wait(lambda: alice.agent.final(request)).status == 480
