"""Messages of strangers are shed before those of anybody who is known suffer; a ban is for what is new."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edge.proxy.stack.events import Received
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.runtime.bans import Bans
from edge.runtime.crowding import Crowding
from edge.runtime.inbound import Inbound
from edge.runtime.shedding import BESIEGED, SHARE, Shedding
from edge.runtime.waiting import Waiting
from edge.sip.flow import Flow
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

EDGE = "203.0.113.11"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def flow(number: int) -> Flow:
    return Flow(EDGE, 5060, "udp", f"198.51.{number // 250 % 250}.{number % 250 + 1}", 5060)


@pytest.fixture
def world():
    return World()


def test_strangers_get_half_of_the_time_and_who_is_known_all_he_needs(world):
    alice = world.phone("alice")
    assert alice.register() == 200
    home = Flow(EDGE, 5060, "udp", *alice.public)
    clock = Clock()
    clock.now = world.now
    shedding = Shedding(world.nodes["edge-a"].core.stack, clock)
    taken = {"stranger": 0, "known": 0}

    def work(who):
        def deliver(flow, data):
            taken[who] += 1
            clock.now += 0.0001  # what it takes

        return deliver

    begun = clock.now
    sent = 0
    while clock.now < begun + 1:
        for _ in range(8):
            shedding.message(flow(sent), b"OPTIONS", work("stranger"))
            sent += 1
            clock.now += 0.00001  # what reading it from the socket takes
        shedding.message(home, b"OPTIONS", work("known"))
    spent = taken["stranger"] * 0.0001
    assert SHARE * 0.9 <= spent <= SHARE * 1.1 + 0.06
    assert taken["known"] == sent / 8
    assert world.nodes["edge-a"].core.stack.counters["shed"] == sent - taken["stranger"]
    assert shedding.besieged()


def test_a_source_that_has_had_its_answers_is_read_only_for_credentials(world):
    core = world.nodes["edge-a"].core
    clock = Clock()
    shedding = Shedding(core.stack, clock)
    taken = []
    for _ in range(10):
        assert core.stack.sources.may_answer("198.51.0.1", clock.now)
    shedding.message(flow(0), b"REGISTER sip:x", lambda flow, data: taken.append(data))
    assert not taken
    assert not shedding.besieged()
    for _ in range(BESIEGED):
        shedding.message(flow(0), b"REGISTER sip:x", lambda flow, data: taken.append(data))
    assert shedding.besieged()
    shedding.message(flow(0), b"REGISTER sip:x\r\nAuthorization: Digest", lambda flow, data: taken.append(data))
    shedding.message(flow(1), b"REGISTER sip:x", lambda flow, data: taken.append(data))
    assert len(taken) == 2


# Bans


@pytest.fixture
def banned(world):
    """Two phones in a call, one of them at an address that has been banned since; and what brings its packets in."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 200).to_bytes())
    final = world.wait(lambda: alice.agent.final(invite))
    dialog = alice.agent.caller_dialog(invite, final)
    node = world.nodes["edge-a"]
    bans = Bans()
    bans.replace([alice.public[0]])
    trace = SimpleNamespace(wanted=False)
    inbound = Inbound(node.handle, node.core.stack, bans, trace, Waiting(), lambda flow: False, Crowding(lambda: 0))
    home = Flow(EDGE, 5060, "udp", *alice.public)
    alice.agent.send = lambda data: world.after(0.01, lambda: inbound.message(home, data))
    return alice, bob, dialog, inbound


def test_a_banned_phone_stays_and_talks_on_but_begins_nothing(world, banned):
    alice, bob, dialog, inbound = banned
    alice.send = alice.agent.send
    assert alice.register() == 200
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.wait(lambda: bob.agent.requests("ACK"))
    invite = alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    alice.send(invite.to_bytes())
    world.run(5)
    assert not alice.agent.responses("INVITE", invite.get("call-id"))
    assert world.nodes["edge-a"].core.stack.counters["banned"] == 1
    alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
    world.wait(lambda: bob.agent.requests("BYE"))


def test_its_neighbours_are_dropped_unread_and_responses_are_not(world, banned):
    alice, bob, dialog, inbound = banned
    seen = []
    inbound._post = seen.append
    neighbour = Flow(EDGE, 5060, "udp", alice.public[0], 9999)
    inbound.message(neighbour, b"REGISTER sip:example.com SIP/2.0\r\n")
    assert not seen
    inbound.message(neighbour, b"SIP/2.0 200 OK\r\n")
    assert seen == [Received(neighbour, b"SIP/2.0 200 OK\r\n", banned=True)]


def test_a_providers_calls_come_in_though_one_of_its_customers_has_guessed(world):
    provider = ProviderDouble(world)
    assign(world, account())
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    world.run(2)
    node, host = world.nodes["edge-a"], provider.place[0]
    node.core.stack.note_providers(ProviderAddresses({host: frozenset(("t1",))}, {}))
    bans = Bans()
    bans.replace([host])
    inbound = Inbound(
        node.handle,
        node.core.stack,
        bans,
        SimpleNamespace(wanted=False),
        Waiting(),
        lambda flow: False,
        Crowding(lambda: 0),
    )
    line = Flow(EDGE, 5060, "udp", *provider.place)
    inbound.message(line, provider.agent.request("REGISTER", f"sip:{DOMAIN}").to_bytes())
    inbound.message(line, provider.agent.request("INVITE", f"sip:bob@{DOMAIN}").to_bytes())
    assert node.core.stack.counters["banned"] == 2
    headers = [f"Contact: {provider.agent.contact}"]
    inbound.message(line, provider.agent.request("INVITE", f"sip:contactvoip@{EDGE}", headers=headers).to_bytes())
    world.wait(lambda: bob.agent.requests("INVITE"))


def test_keep_alives_of_strangers_take_of_their_answers_and_banned_networks_get_none(world):
    alice = world.phone("alice")
    assert alice.register() == 200
    node = world.nodes["edge-a"]
    bans = Bans()
    stack, trace = node.core.stack, SimpleNamespace(wanted=False)
    inbound = Inbound(node.handle, stack, bans, trace, Waiting(), lambda flow: False, Crowding(lambda: 0))
    assert [inbound.may_answer(flow(1)) for _ in range(12)].count(True) == 10
    assert stack.counters["slowed"] == 2
    stack.sources.prove(flow(1).host, 1e9)
    assert all(inbound.may_answer(flow(1)) for _ in range(12))
    bans.replace([flow(1).host, alice.public[0]])
    assert not inbound.may_answer(flow(1))
    assert inbound.may_answer(Flow(EDGE, 5060, "udp", *alice.public))  # was here before
    assert stack.counters["banned"] == 1
