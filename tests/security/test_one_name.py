"""Call-ID and tags are what phones choose: nobody makes one call pass for another by choosing the same, nor himself for
somebody else by what he sends in another's place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack.call_counts import CallCounts
from edge.proxy.stack.events import Received
from edge.sip.flow import Flow
from edge.sip.headers import tag_of
from edge.sip.transaction.client import make_cancel
from lambdas.contract import CallAnswered, CallEnded
from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.security.test_dialogs import TENANT, decline, moved, ringing, suspend, talking
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

EDGE = "203.0.113.11"
ACTS = ["Event: check-sync", "Refer-To: <sip:1@x.example>"]


@pytest.fixture
def world():
    made = World()
    for name in ("alice", "bob", "eve", "friend"):
        made.control.add(name, f"pw-{name}", TENANT)
    return made


@pytest.fixture
def pair(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    return alice, bob


def invite(world, phone, uri, call_id, tag, cseq):
    """INVITE with a Call-ID and From tag of one's choice, through the challenge."""
    request = phone.agent.request(
        "INVITE", uri, headers=[f"Contact: {phone.agent.contact}"],
        call_id=call_id, cseq=cseq, from_=f"<{phone.agent.aor}>;tag={tag}",
    )  # fmt: skip
    before = len(phone.agent.responses("INVITE"))
    phone.send(request.to_bytes())
    challenge = world.wait(lambda: next((r for r in phone.agent.responses("INVITE")[before:] if r.status == 407), None))
    phone.ack_refusal(request, challenge)
    request = phone.agent.authorize(request, challenge)
    phone.send(request.to_bytes())
    return request


def answer_as(world, phone, tag, status=200):
    got = world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None))
    phone.send(phone.agent.response(got, status, tag=tag).to_bytes())


@pytest.mark.parametrize("method", ["INVITE", "REFER", "NOTIFY"])
@pytest.mark.parametrize("declined", [False, True])
def test_a_2xx_that_the_caller_makes_up_answers_nothing(world, pair, method, declined):
    alice, bob = pair
    got, _, mine, _ = ringing(world, alice, bob)
    if declined:
        decline(world, bob, got)
    bob.agent.received.clear()
    lines = (
        "SIP/2.0 200 OK", f"Via: SIP/2.0/UDP {EDGE};branch=z9hG4bKedge-x.zz.1", f"From: {mine.local}",
        f"To: {mine.remote}", f"Call-ID: {mine.call_id}", "CSeq: 2 INVITE", "Content-Length: 0",
    )  # fmt: skip
    alice.send(("\r\n".join(lines) + "\r\n\r\n").encode())
    world.run(0.1)
    alice.send(alice.agent.in_dialog(mine, method, headers=ACTS).to_bytes())
    world.run(6)
    assert not bob.agent.requests(method)


@pytest.mark.parametrize("method", ["INVITE", "REFER", "NOTIFY"])
def test_nor_does_a_2xx_of_ones_own_second_phone(world, pair, method):
    alice, bob = pair
    friend = world.phone("friend")
    assert friend.register() == 200
    got, _, mine, _ = ringing(world, alice, bob)
    decline(world, bob, got)
    invite(world, alice, f"sip:friend@{DOMAIN}", mine.call_id, tag_of(mine.local), 50)
    answer_as(world, friend, tag_of(mine.remote))
    world.wait(lambda: 200 in alice.agent.statuses("INVITE"))
    bob.agent.received.clear()
    mine.cseq = 100
    alice.send(alice.agent.in_dialog(mine, method, headers=ACTS).to_bytes())
    world.run(6)
    assert not bob.agent.requests(method)


def test_tokens_of_two_calls_do_not_go_together(world, pair):
    """Whoever has seen a packet of a call makes another with its names, and sends as that call's caller."""
    alice, bob = pair
    eve, friend = world.phone("eve"), world.phone("friend")
    assert eve.register() == friend.register() == 200
    mine, _ = talking(world, alice, bob)
    world.run(2)
    request = invite(world, eve, f"sip:friend@{DOMAIN}", mine.call_id, tag_of(mine.local), 1)
    answer_as(world, friend, tag_of(mine.remote), 180)
    rings = world.wait(lambda: next((r for r in eve.agent.responses("INVITE") if r.status == 180), None))
    own = eve.agent.caller_dialog(request, rings)
    forged = replace(mine, routes=[own.routes[0], mine.routes[-1]], cseq=500)
    for method in ("INVITE", "REFER", "BYE"):
        eve.send(eve.agent.in_dialog(forged, method, headers=ACTS).to_bytes())
    world.run(6)
    assert not bob.agent.received


@pytest.mark.parametrize("first", ["NOTIFY", "REFER"])
def test_a_dialog_that_is_no_call_takes_no_call(world, pair, first):
    """Phones answer 200 to a NOTIFY that nobody has asked for; nothing rings in the dialog that this makes."""
    alice, bob = pair
    headers = [f"Contact: {alice.agent.contact}", "Event: message-summary", "Refer-To: <sip:1@x.example>"]
    request = alice.agent.request(first, f"sip:bob@{DOMAIN}", headers=headers)
    alice.send(request.to_bytes())
    request = alice.agent.authorize(request, world.wait(lambda: alice.agent.final(request)))
    alice.send(request.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests(first)), None))
    response = bob.agent.response(got, 200)
    response.headers += [header for header in got.headers if header[0] == "record-route"]
    response.headers.append(("contact", f"Contact: {bob.agent.contact}"))
    bob.send(response.to_bytes())
    mine = alice.agent.caller_dialog(request, world.wait(lambda: alice.agent.final(request)))
    bob.agent.received.clear()
    for method in ("INVITE", "UPDATE", "INFO", "BYE"):
        alice.send(alice.agent.in_dialog(mine, method).to_bytes())
        world.wait(lambda method=method: 405 in alice.agent.statuses(method))
    alice.send(alice.agent.in_dialog(mine, "NOTIFY", headers=ACTS).to_bytes())
    told = world.wait(lambda: next(iter(bob.agent.requests("NOTIFY")), None))
    bob.send(bob.agent.response(told, 200).to_bytes())
    world.run(1)
    suspend(world, "alice")
    bob.agent.received.clear()
    alice.send(alice.agent.in_dialog(mine, "NOTIFY", headers=ACTS).to_bytes())
    world.run(3)
    assert not bob.agent.received


def test_the_end_of_one_call_is_not_that_of_another(world):
    """A number and one's own second phone, called in one second by one name: hanging up on the phone ends no record of
    the call that costs."""
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    provider = ProviderDouble(world)
    assign(world, account(tenant=TENANT))
    alice, friend = world.phone("alice", "edge-b"), world.phone("friend", "edge-b")
    assert alice.register() == friend.register() == 200
    world.run(3 - world.now % 1 + 0.01)
    paid = invite(world, alice, f"sip:02079460000@{DOMAIN}", "one-id", "F", 1)
    own = invite(world, alice, f"sip:friend@{DOMAIN}", "one-id", "F", 11)
    out = world.wait(lambda: next(iter(provider.agent.requests("INVITE")), None))
    if out.get("proxy-authorization") is None:
        out = world.wait(lambda: next(iter(provider.agent.requests("INVITE")[1:]), None))
    provider.answer(provider.agent.response(out, 200))
    ok = world.wait(lambda: alice.agent.final(paid))
    alice.send(alice.agent.in_dialog(alice.agent.caller_dialog(paid, ok), "ACK").to_bytes())
    world.run(0.5)
    answer_as(world, friend, tag_of(ok.get("to")))
    mine = alice.agent.caller_dialog(own, world.wait(lambda: alice.agent.final(own)))
    alice.send(alice.agent.in_dialog(mine, "BYE").to_bytes())
    bye = world.wait(lambda: next(iter(friend.agent.requests("BYE")), None))
    friend.send(friend.agent.response(bye, 200).to_bytes())
    world.run(3)
    assert not provider.agent.requests("BYE")
    costs = {one.call for one in world.control.reports if isinstance(one, CallAnswered) and "02079460000" in one.called}
    assert len(costs) == 1
    assert costs.isdisjoint(one.call for one in world.control.reports if isinstance(one, CallEnded))


def test_a_bye_to_a_provider_is_short_whatever_its_sender_puts_into_it(world):
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    provider = ProviderDouble(world)
    provider.asks = False
    assign(world, account(tenant=TENANT))
    alice = world.phone("alice", "edge-b")
    assert alice.register() == 200
    world.run(2)
    request = invite(world, alice, f"sip:02079460000@{DOMAIN}", "one-id", "F", 1)
    out = world.wait(lambda: next(iter(provider.agent.requests("INVITE")), None))
    provider.answer(provider.agent.response(out, 200))
    mine = alice.agent.caller_dialog(request, world.wait(lambda: alice.agent.final(request)))
    long = ["Content-Type: text/plain", "Subject: " + "x" * 3000, "Reason: SIP;cause=200"]
    alice.send(alice.agent.in_dialog(mine, "BYE", b"x" * 40_000, long).to_bytes())
    bye = world.wait(lambda: next(iter(provider.agent.requests("BYE")), None))
    assert len(bye.to_bytes()) < 1300
    assert bye.get("reason") == "SIP;cause=200"


def test_only_a_response_from_where_its_request_went_proves_anything(world, pair):
    alice, bob = pair
    alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    node = world.nodes["edge-a"]
    for number in range(50):
        flow = Flow(EDGE, 5060, "udp", f"198.51.100.{number}", 5060)
        node.handle(Received(flow, bob.agent.response(got, 180).to_bytes()))
        assert not node.core.stack.sources.proven(flow.host, world.now)


@pytest.mark.parametrize("transport", ["TCP", "UDP"])
def test_a_provisional_response_after_the_end_is_nothing(world, transport):
    alice, bob = world.phone("alice", transport=transport), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    alice.send(request.to_bytes())
    request = alice.agent.authorize(request, world.wait(lambda: alice.agent.final(request)))
    alice.send(request.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("MESSAGE")), None))
    assert world.wait(lambda: alice.agent.final(request)).status == 480
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.run(0.1)
    assert alice.agent.statuses("MESSAGE").count(180) == 0


def test_a_cancel_comes_from_where_its_invite_came_from(world, pair):
    alice, bob = pair
    request = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.run(1)
    eve = world.phone("eve")
    eve.send(make_cancel(request).to_bytes())
    world.run(2)
    assert not bob.agent.requests("CANCEL")
    alice.send(make_cancel(request).to_bytes())
    world.wait(lambda: bob.agent.requests("CANCEL"))


def test_who_hangs_up_needs_only_his_address(world, pair):
    """A NAT may have given the phone another port, and phones seldom expect a challenge to a BYE."""
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    address = alice.public[0]
    moved(world, alice)
    del world.phones[alice.public]
    alice.public = (address, 41_000)
    world.phones[alice.public] = alice
    alice.send(alice.agent.in_dialog(mine, "BYE").to_bytes())
    world.wait(lambda: bob.agent.requests("BYE"))


def test_a_transfer_is_told_of_after_its_call(world, pair):
    """RFC 5057 §4.2: the subscription outlives the call; nothing else does."""
    alice, bob = pair
    mine, theirs = talking(world, alice, bob)
    alice.send(alice.agent.in_dialog(mine, "REFER", headers=ACTS).to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("REFER")), None))
    bob.send(bob.agent.response(got, 202).to_bytes())
    alice.send(alice.agent.in_dialog(mine, "BYE").to_bytes())
    bye = world.wait(lambda: next(iter(bob.agent.requests("BYE")), None))
    bob.send(bob.agent.response(bye, 200).to_bytes())
    world.run(1)
    bob.send(bob.agent.in_dialog(theirs, "NOTIFY", headers=["Event: refer"]).to_bytes())
    world.wait(lambda: alice.agent.requests("NOTIFY"))
    request = bob.agent.in_dialog(theirs, "INFO")
    bob.send(request.to_bytes())
    assert world.wait(lambda: bob.agent.final(request)).status == 481


def test_two_hundred_phones_on_streams_behind_one_address_get_in_at_once(world):
    phones = [world.phone(f"desk{number}", transport="TCP") for number in range(200)]
    for number, phone in enumerate(phones):
        del world.phones[phone.public]
        phone.public = ("198.51.100.7", 20_000 + number)
        phone.connect()
    world.decision_time = 0.1
    requests = [phone.agent.register_request() for phone in phones]
    for phone, request in zip(phones, requests, strict=True):
        phone.send(request.to_bytes())
    world.run(1)
    for phone, request in zip(phones, requests, strict=True):
        phone.send(phone.agent.authorize(request, phone.agent.final(request)).to_bytes())
    world.run(3)
    assert len(world.nodes["edge-a"].core.stack.bindings) == 200


def test_legs_of_calls_whose_end_nobody_saw_are_forgotten():
    counts = CallCounts()
    for number in range(2000):
        wall = 1e9 + number * 60
        counts.begin(f"call{number}", ["t"], wall)
        counts.answered(f"call{number}", f"leg{number}", 0.0, 60, wall)
        counts.of("t", wall + 120)
    assert len(counts._legs) <= 2
