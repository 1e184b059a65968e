"""Phones in web pages: no address of their own, and an error to a REGISTER is their end."""

from __future__ import annotations

import pytest

from tests.support.control import DOMAIN
from tests.support.world import World


@pytest.fixture
def world():
    return World()


def browser(world, user, node="edge-a", transport="WSS"):
    """As JsSIP writes: a random name under ``.invalid`` in Via and Contact."""
    phone = world.phone(user, node, transport)
    phone.agent.host = f"{user}kjh2asd.invalid"
    return phone


@pytest.mark.parametrize("transport", ["WS", "WSS"])
def test_two_browsers_at_two_edges_call_each_other(world, transport):
    alice, bob = browser(world, "alice", "edge-a", transport), browser(world, "bob", "edge-b", transport)
    assert alice.register() == bob.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    assert got.uri == bob.agent.contact[1:-1]  # octet by octet, or the script doesn't know itself
    bob.send(bob.agent.response(got, 200).to_bytes())
    answer = world.wait(lambda: alice.agent.final(invite))
    assert f"received={alice.public[0]}" in answer.get("via")
    dialog = alice.agent.caller_dialog(invite, answer)
    assert all(";transport=ws;" in route for route in dialog.routes)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
    assert world.wait(lambda: bob.agent.requests("BYE"))


def test_a_new_connection_takes_the_place_of_the_old_one(world):
    """JsSIP comes back with the same Contact, Call-ID and the next CSeq."""
    alice = browser(world, "alice")
    assert alice.register() == 200
    alice.disconnect()
    alice.connect()
    assert alice.register() == 200
    stack = world.nodes["edge-a"].core.stack
    (held,) = [held for _, held in stack.bindings.of(f"alice@{DOMAIN}")]
    assert held.flow == alice.connection


@pytest.mark.parametrize(
    ("transport", "ends"), [("WS", True), ("WSS", True), ("TLS", False), ("TCP", False), ("UDP", False)]
)
def test_what_is_only_temporary_ends_the_websocket_instead(world, transport, ends):
    alice, bob = browser(world, "alice", transport=transport), browser(world, "bob", transport=transport)
    world.control.dark = True
    node = world.nodes["edge-a"]
    for phone in (alice, bob):
        phone.send(phone.agent.register_request().to_bytes())
    world.run(1)
    challenges = [phone.agent.responses("REGISTER")[-1] for phone in (alice, bob)]
    for phone, challenge in zip((alice, bob), challenges, strict=True):
        assert challenge.status == 401
        phone.send(phone.agent.authorize(phone.agent.register_request(), challenge).to_bytes())
    world.run(10)
    last = [phone.agent.responses("REGISTER")[-1].status for phone in (alice, bob)]
    if ends:
        assert last == [401, 401]  # no word more
        assert [flow for flow, _ in node.ended] == [alice.connection, bob.connection]
        seconds = [after for _, after in node.ended]
        assert all(5 <= each <= 20 for each in seconds)
        assert len(set(seconds)) == 2  # they don't all come back at once
        assert node.core.stack.counters["put_off"] == 2
    else:
        assert last == [503, 503]
        assert not node.ended


def test_what_is_for_good_is_said(world):
    alice = browser(world, "alice")
    alice.agent.password = "wrong"
    assert alice.register() == 403
    invite = alice.agent.request("INVITE", f"sip:bob@{DOMAIN}")
    world.control.dark = True
    alice.send(invite.to_bytes())
    world.run(10)
    assert alice.agent.final(invite).status == 407
    assert not world.nodes["edge-a"].ended
