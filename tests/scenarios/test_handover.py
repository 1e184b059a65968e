"""An edge address handed over between two cores: what stays, and what crosses back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack.events import Entrust, Entrusted, FleetChanged, Leaving, Received, Relay, Send
from edge.runtime.waiting import Waiting
from edge.sip.flow import Flow
from edge.sip.transaction.client import make_cancel
from tests.support.world import DOMAIN, World


@pytest.fixture
def world() -> World:
    return World()


def entrusted(actions):
    return [key for action in actions if isinstance(action, Entrust) for key in action.keys]


def test_open_transactions_go_ahead_in_small_batches_and_later_ones_follow(world):
    node = world.nodes["edge-a"]
    phones = [world.phone(f"u{number}") for number in range(120)]
    for phone in phones:
        assert phone.register() == 200
    agent = phones[0].agent
    challenge = next(response for response in agent.responses("REGISTER") if response.status == 401)
    actions = node.core.handle(Leaving(node.address, "edge-b"), world.now)
    assert len(entrusted(actions)) == 120
    assert max(len(action.keys) for action in actions) <= 50
    late = agent.authorize(agent.register_request(), challenge)
    flow = next(iter(node.core.stack.transactions.servers.values())).flow
    assert len(entrusted(node.core.handle(Received(flow, late.to_bytes()), world.now))) == 1
    node.core.handle(Leaving(node.address, ""), world.now)
    more = agent.authorize(agent.register_request(), challenge)
    assert not entrusted(node.core.handle(Received(flow, more.to_bytes()), world.now))


def test_a_cancel_crosses_back_to_the_owner_and_strangers_requests_do_not(world):
    alice, bob = world.phone("alice"), world.phone("bob")
    assert alice.register() == bob.register() == 200
    old, new = world.nodes["edge-a"], world.nodes["edge-b"]
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    world.wait(lambda: bob.agent.requests("INVITE"))
    keys = entrusted(old.core.handle(Leaving(old.address, "edge-b"), world.now))
    new.core.handle(Entrusted("edge-a", keys), world.now)
    fleet = new.core.stack.fleet
    new.core.handle(FleetChanged(replace(fleet, epochs={**fleet.epochs, old.address: 2})), world.now)
    old.core.handle(FleetChanged(replace(old.core.stack.fleet, epochs={})), world.now)
    flow = next(server.flow for server in old.core.stack.transactions.servers.values() if server.key in keys)
    cancel = make_cancel(invite).to_bytes()
    (crossing,) = new.core.handle(Received(flow, cancel), world.now)
    assert crossing == Relay("edge-a", flow, cancel)
    answers = old.core.handle(Received(flow, cancel), world.now)
    assert any(isinstance(action, Send) and b"200 OK" in action.data for action in answers)
    stranger = alice.agent.request("OPTIONS", f"sip:{DOMAIN}").to_bytes()
    assert not old.core.handle(Received(flow, stranger), world.now)  # the address isn't here any more
    assert old.core.stack.counters["not_held"] == 1
    assert any(isinstance(action, Send) for action in new.core.handle(Received(flow, stranger), world.now))


def test_messages_wait_while_their_address_is_on_its_way():
    here = Flow("203.0.113.11", 5060, "udp", "198.51.100.7", 4000)
    there = here._replace(address="203.0.113.12")
    stream = here._replace(transport="tcp", connection=7)
    waiting = Waiting()
    assert not waiting.keep(here, b"1")
    waiting.arrive(frozenset((there.address,)))
    waiting.leave(here.address)
    assert waiting.keep(here, b"2")
    assert waiting.keep(there, b"3")
    assert not waiting.keep(stream, b"4")  # it doesn't move along
    assert waiting.keep(here, b"5")
    assert waiting.due() == []
    waiting.settle(here.address)
    assert waiting.due() == [(here, b"2"), (here, b"5")]
    waiting.arrive(frozenset())
    assert waiting.due() == [(there, b"3")]
    waiting.leave(here.address)
    assert sum(waiting.keep(here, b"") for _ in range(2000)) == 1000
