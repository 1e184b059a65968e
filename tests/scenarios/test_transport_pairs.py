"""Calls between any two kinds of phones (RFC 5658): what each side is shown leads back to it, over the mesh and after
both edges have been started anew."""

from __future__ import annotations

import pytest

from edge.sip.headers import NameAddr
from edge.sip.uri import Uri
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.world import DOMAIN, World

A, B = "203.0.113.11", "203.0.113.12"
A6, B6 = "2001:db8::11", "2001:db8::12"
NAMES = {"edge-a": "edge-a.example.net", "edge-b": "edge-b.example.net"}
KINDS = [(transport, ipv6) for transport in ("UDP", "TCP", "TLS", "WS", "WSS") for ipv6 in (False, True)]
IDS = [f"{transport.lower()}{'6' if ipv6 else '4'}" for transport, ipv6 in KINDS]


@pytest.fixture
def world() -> World:
    return World(sides={A: (A6, NAMES["edge-a"]), B: (B6, NAMES["edge-b"])})


def side(phone) -> tuple[str, str]:
    """The host and the transport by which a phone reaches its edge."""
    transport = phone.agent.transport.lower()
    if transport in ("tls", "wss"):
        return NAMES[phone.node], "ws" if transport == "wss" else transport
    here = {"edge-a": (A, f"[{A6}]"), "edge-b": (B, f"[{B6}]")}[phone.node]
    return here[":" in phone.public[0]], transport


def shown(routes) -> list[tuple[str, str]]:
    uris = [Uri.parse(NameAddr.parse(route).uri) for route in routes]
    assert all(uri.scheme == "sip" for uri in uris)
    return [(uri.host, uri.param("transport") or "udp") for uri in uris]


def talk(world, one, mine, other, theirs):
    """A re-INVITE from each side."""
    for sender, dialog, receiver in ((one, mine, other), (other, theirs, one)):
        receiver.agent.received.clear()
        sender.agent.received.clear()
        sender.send(sender.agent.in_dialog(dialog, "INVITE").to_bytes())
        got = world.wait(lambda receiver=receiver: next(iter(receiver.agent.requests("INVITE")), None))
        receiver.send(receiver.agent.response(got, 200).to_bytes())
        world.wait(lambda sender=sender: 200 in sender.agent.statuses("INVITE"))
        sender.send(sender.agent.in_dialog(dialog, "ACK").to_bytes())
        world.wait(lambda receiver=receiver: receiver.agent.requests("ACK"))


def come_back(world, *phones):
    """Both edges have been killed and run again: streams are made anew."""
    world.run(1)  # what was to be reported is
    for edge in ("edge-a", "edge-b"):
        world.restart(edge)
    for phone in phones:
        if phone.agent.transport != "UDP":
            phone.connect()
        assert phone.register() == 200


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_from_one_kind_to_every_other(world, kind):
    caller = world.phone("alice", "edge-a", kind[0], ipv6=kind[1])
    assert caller.register() == 200
    for number, (transport, ipv6) in enumerate(KINDS):
        node = ("edge-b", "edge-a")[number % 3 == 2]
        callee = world.phone(f"bob{number}", node, transport, ipv6=ipv6)
        assert callee.register() == 200
        mine, theirs = answered_call(world, caller, callee, f"sip:bob{number}@{DOMAIN}")
        wanted = [side(caller), side(callee)]
        assert shown(mine.routes) == wanted
        assert shown(theirs.routes) == wanted[::-1]
        talk(world, caller, mine, callee, theirs)
        if number % 2:
            come_back(world, caller, callee)
            talk(world, caller, mine, callee, theirs)
        caller.agent.received.clear()
        callee.agent.received.clear()
        hang_up(world, *((caller, mine, callee) if number % 4 < 2 else (callee, theirs, caller)))
