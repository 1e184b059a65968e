"""Edge addresses with two sides and a name: what phones see of them, and find them by."""

from __future__ import annotations

import struct

import pytest

from edge.proxy.stack.flow_token import MAX_TOKEN, CallReference, TokenKeys
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr
from edge.sip.places import Places
from edge.sip.uri import Uri
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.world import World

A, B = "203.0.113.11", "203.0.113.12"
A6, NAME = "2001:db8::11", "edge-a.example.net"


@pytest.fixture
def world() -> World:
    return World(sides={A: (A6, NAME), B: ("2001:db8::12", "")})


def places(message) -> list[tuple[str, int, str]]:
    uris = [Uri.parse(NameAddr.parse(value).uri) for value in message.values("record-route")]
    return [(uri.host, uri.port, uri.params) for uri in uris]


def test_a_call_between_the_sides_of_two_edges_and_back(world):
    alice, bob = world.phone("alice", ipv6=True), world.phone("bob", "edge-b", nat=30.0)
    assert alice.register() == bob.register() == 200
    for caller, callee in ((alice, bob), (bob, alice)):
        dialog, other = answered_call(world, caller, callee, f"sip:{callee.agent.username}@example.com")
        invite = callee.agent.requests("INVITE")[0]
        assert sorted(places(invite)) == [(B, 5060, ";lr"), (f"[{A6}]", 5060, ";lr")]
        sent_by = B if callee is bob else f"[{A6}]"
        assert invite.values("via")[0].startswith(f"SIP/2.0/UDP {sent_by}:5060;branch=")
        callee.agent.received.clear()
        hang_up(world, caller, dialog, callee)
        dialog, other = answered_call(world, caller, callee, f"sip:{callee.agent.username}@example.com")
        caller.agent.received.clear()
        hang_up(world, callee, other, caller)


def test_who_checks_a_name_is_given_one(world):
    alice, bob = world.phone("alice", transport="TLS", ipv6=True), world.phone("bob", "edge-b", "TLS", ipv6=True)
    assert alice.register() == bob.register() == 200
    dialog, _ = answered_call(world, alice, bob)
    invite = bob.agent.requests("INVITE")[0]
    assert places(invite) == [
        ("[2001:db8::12]", 5061, ";transport=tls;lr"),  # this one has no name
        (NAME, 5061, ";transport=tls;lr"),
    ]
    hang_up(world, alice, dialog, bob)


def test_the_ipv6_side_is_known_in_every_spelling(world):
    alice, bob = world.phone("alice", ipv6=True), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    dialog, _ = answered_call(world, alice, bob)
    dialog.routes = [route.replace("2001:db8::11", "2001:0DB8:0:0::0011") for route in dialog.routes]
    hang_up(world, alice, dialog, bob)


def test_an_edges_name_and_ipv6_side_stand_for_the_default_domain(world):
    alice, bob = world.phone("alice", ipv6=True), world.phone("bob")
    assert alice.register() == bob.register() == 200
    for host in (NAME, NAME.upper(), f"[{A6}]", "[2001:db8:0::11]"):
        hang_up(world, alice, answered_call(world, alice, bob, f"sip:bob@{host}")[0], bob)


@pytest.mark.parametrize("host", ["[2001:db8::99]", "edge-z.example.net", "[::]", "[2001:db8::11::]"])
def test_nobody_elses_host_is_a_place_of_ours(host):
    assert Places([A, B], {A: (A6, NAME)}).address_at(host) == ""


def test_a_request_that_comes_back_to_the_ipv6_side_is_a_loop(world):
    alice, bob = world.phone("alice", ipv6=True), world.phone("bob", ipv6=True)
    assert alice.register() == bob.register() == 200
    alice.start_call("sip:bob@example.com")
    invite = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    invite.uri = "sip:bob@example.com"
    invite.headers = [header for header in invite.headers if header[0] != "record-route"]
    invite.headers.insert(0, ("via", f"Via: SIP/2.0/UDP {bob.agent.host}:{bob.agent.port};branch=z9hG4bKback"))
    bob.send(invite.to_bytes())
    answer = world.wait(lambda: next(iter(bob.agent.responses("INVITE")), None))
    assert answer.status == 482
    assert f"received={bob.public[0]}" not in answer.values("via")[0]  # it says rightly who it is


@pytest.mark.parametrize("connection", [0, 2**32 - 1])
def test_a_token_of_an_ipv6_flow_is_short(connection):
    keys = TokenKeys({7: bytes(range(64))}, 7)
    flow = Flow(A, 5061, "wss", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 65535, connection)
    call = CallReference("tffffffffffff", 2**32 - 1, True, True, withheld=True)
    token = keys.seal(flow, "__________8", "a@b", call, ("f", "t"))
    assert len(token) == 79 <= MAX_TOKEN
    assert keys.open(token, "a@b", A, 5061, "f", "t").flow == flow


def test_sides_are_not_written_before_every_edge_finds_them(world):
    world.spoken = 8
    for node in world.nodes.values():
        world.inform(node)
    alice, bob = world.phone("alice", ipv6=True), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    dialog, other = answered_call(world, alice, bob)
    assert {host for host, _, _ in places(bob.agent.requests("INVITE")[0])} == {A, B}
    hang_up(world, alice, dialog, bob)
    # Those written before the last upgrade, and while an older edge is back, are found all the same.
    world.spoken = 9
    for node in world.nodes.values():
        world.inform(node)
    dialog, other = answered_call(world, alice, bob)
    assert {host for host, _, _ in places(bob.agent.requests("INVITE")[0])} == {f"[{A6}]", B}
    world.spoken = 8
    for node in world.nodes.values():
        world.inform(node)
    alice.agent.received.clear()
    hang_up(world, bob, other, alice)


@pytest.mark.parametrize("written", ["2001:db8:1:1::2", "2001:0DB8:1:1:0:0:0:2"])
def test_an_ipv6_phone_that_names_its_address_is_answered_at_its_port(world, written):
    """Without rport a response goes to the port of Via (§18.2.2), however the address is written there."""
    alice = world.phone("alice", ipv6=True)
    assert alice.public[0] == "2001:db8:1:1::2"
    request = alice.agent.request("OPTIONS", "sip:example.com")
    via = f"Via: SIP/2.0/UDP [{written}]:5066;branch=z9hG4bKone"
    request.headers = [("via", via) if key == "via" else (key, line) for key, line in request.headers]
    alice.send(request.to_bytes())
    world.run(1)
    (answer,) = [action for action in world.nodes["edge-a"].sent if b"z9hG4bKone" in action.data]
    assert (answer.flow.host, answer.flow.remote_port) == (alice.public[0], 5066)
    assert b"received" not in answer.data


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_flow_that_names_its_server_is_read_whole_or_not(cut):
    flow = Flow(A, 5061, "tls", "198.51.100.1", 5061, 0, "sip.voip.test/0123456789abcdef")
    packed = flow.pack_remote()
    assert Flow.unpack_remote(packed + b"rest", A, 5061) == (flow, b"rest")
    with pytest.raises((ValueError, struct.error)):
        Flow.unpack_remote(packed[:-cut], A, 5061)
