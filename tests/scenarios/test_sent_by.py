"""Where answers go that nobody asked to have symmetric (RFC 3261 §18.2.2): to the port that the Via names."""

from __future__ import annotations

import pytest

from edge.proxy.stack.events import Received
from edge.proxy.stack.validation import reached_by
from edge.sip.flow import Flow
from edge.sip.headers import Via
from tests.scenarios.test_calls import hang_up
from tests.scenarios.test_crossings import first
from tests.support.world import LATENCY, World

EDGE = "203.0.113.11"
SENDS = 49_152


@pytest.fixture
def world() -> World:
    return World()


def at(port=SENDS, transport="udp", host="192.0.2.1"):
    return Flow(EDGE, 5060, transport, host, port)


@pytest.mark.parametrize(
    ("via", "source", "port"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1", at(), 5062),
        ("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", at(), 5060),
        ("SIP/2.0/UDP 192.0.2.1:49152;branch=z9hG4bK1", at(), SENDS),
        ("SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bK1", at(), SENDS),
        ("SIP/2.0/UDP 192.0.2.1:5062;maddr=198.51.100.7;branch=z9hG4bK1", at(), 5062),
        ("SIP/2.0/UDP 10.0.0.9:5062;branch=z9hG4bK1", at(), SENDS),  # behind a NAT
        ("SIP/2.0/UDP phone.example.com:5062;branch=z9hG4bK1", at(), SENDS),
        ("SIP/2.0/UDP 10.0.0.9:5062;received=192.0.2.1;branch=z9hG4bK1", at(), SENDS),
        ("SIP/2.0/TCP 192.0.2.1:5062;branch=z9hG4bK1", at(transport="tcp"), SENDS),
        ("SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bK1", at(host="2001:db8::1"), 5062),
        (f"SIP/2.0/UDP {EDGE}:5060;branch=z9hG4bK1", at(host=EDGE), SENDS),  # not ourselves
    ],
)
def test_how_a_sender_is_reached(via, source, port):
    assert reached_by(source, Via.parse(via)) == source._replace(remote_port=port)


def old_phone(world, name, edge="edge-a"):
    """One that listens at 5060, sends from elsewhere, and doesn't ask for rport."""
    phone = world.phone(name, edge)
    host = phone.public[0]
    del world.phones[phone.public]
    phone.public = (host, 5060)
    world.phones[phone.public] = phone
    phone.agent.host, phone.agent.port = host, 5060
    node = world.nodes[edge]

    def send(data: bytes) -> None:
        flow = Flow(node.address, 5060, "udp", host, SENDS)
        if data.startswith(b"SIP/2.0"):
            wire = data
        else:
            wire = data.replace(b";rport;", b";", 1)
        world.after(LATENCY, lambda: world.nodes[edge].handle(Received(flow, wire)))

    phone.send = phone.agent.send = send
    return phone


def test_a_phone_that_listens_elsewhere_than_it_sends_from_registers_calls_and_is_called(world):
    old, bob = old_phone(world, "alice"), world.phone("bob", "edge-b")
    assert old.register() == bob.register() == 200
    binding = world.control.bindings("alice@example.com")[0]
    assert binding.flow[3:5] == (old.public[0], 5060)
    request = old.agent.register_request()
    assert old.transact(request).status == 200
    invite = old.start_call("sip:bob@example.com")
    got = first(world, bob, "INVITE")
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    dialog = old.agent.caller_dialog(invite, world.wait(lambda: old.agent.final(invite)))
    old.send(old.agent.in_dialog(dialog, "ACK").to_bytes())
    first(world, bob, "ACK")
    hang_up(world, bob, bob.agent.callee_dialog(got, ok), old)
    invite = bob.start_call("sip:alice@example.com")
    got = first(world, old, "INVITE")
    ok = old.agent.response(got, 200)
    old.send(ok.to_bytes())
    dialog = bob.agent.caller_dialog(invite, world.wait(lambda: bob.agent.final(invite)))
    bob.send(bob.agent.in_dialog(dialog, "ACK").to_bytes())
    first(world, old, "ACK")
    hang_up(world, old, old.agent.callee_dialog(got, ok), bob)


def test_such_a_phone_stays_registered_though_its_answers_to_pings_come_from_elsewhere(world):
    old = old_phone(world, "alice")
    for _ in range(6):
        assert old.register(600) == 200
        world.run(80)
    assert old.agent.pings > 10
    bob = world.phone("bob", "edge-b")
    bob.register()
    bob.start_call("sip:alice@example.com")
    first(world, old, "INVITE")


@pytest.mark.parametrize("data", [b"\r\nCSeq: 1 MESSAGE", b"\r\nCSeq: x"])
def test_answers_without_a_transaction_go_there_too(world, data):
    node = world.nodes["edge-a"]
    request = (
        b"MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK7\r\nMax-Forwards: 70\r\n"
        b"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: 7" + data + b"\r\n\r\n"
    )
    node.handle(Received(at(host="192.0.2.7"), request))
    (sent,) = node.sent
    assert sent.flow == at(5062, host="192.0.2.7")


def test_naming_anothers_port_makes_nobody_that_other(world):
    """Behind one NAT: who names his neighbour's port has that one's answers sent there, and no more rights than before."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    invite = alice.start_call("sip:bob@example.com")
    got = first(world, bob, "INVITE")
    bob.send(bob.agent.response(got, 200).to_bytes())
    dialog = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    first(world, bob, "ACK")
    bob.agent.received.clear()
    forged = alice.agent.in_dialog(dialog, "INVITE")
    host, port = alice.public
    wire = forged.to_bytes().replace(b"10.0.0.9:5060;rport", f"{host}:{port}".encode(), 1)
    world.nodes["edge-a"].handle(Received(at(host=host), wire))
    world.run(1)
    assert not bob.agent.requests("INVITE")
    assert alice.agent.statuses("INVITE")[-1] == 407
