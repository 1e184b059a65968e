"""Max-Breadth (RFC 5393 §5): how many branches a request may have at once."""

from __future__ import annotations

import pytest

from tests.scenarios.test_calls import answered_call
from tests.scenarios.test_crossings import first
from tests.support.world import DOMAIN, World


@pytest.fixture
def world() -> World:
    return World()


def phones_of_bob(world, count):
    phones = [world.phone("bob", ("edge-a", "edge-b")[number % 2]) for number in range(count)]
    for number, phone in enumerate(phones):
        phone.agent.host = f"10.0.0.{10 + number}"
        assert phone.register() == 200
    return phones


def call(world, breadth=None):
    alice = world.phone("alice")
    assert alice.register() == 200
    headers = [] if breadth is None else [f"Max-Breadth: {breadth}"]
    return alice, alice.start_call(f"sip:bob@{DOMAIN}", headers)


def shares(phones):
    return [phone.agent.requests("INVITE")[0].values("max-breadth") for phone in phones]


@pytest.mark.parametrize(
    ("breadth", "phones", "shared"),
    [
        (None, 1, ["60"]),
        (None, 2, ["30", "30"]),
        (None, 3, ["20", "20", "20"]),
        ("7", 3, ["2", "2", "2"]),
        ("0002", 2, ["1", "1"]),
        ("1", 1, ["1"]),
        ("4000000000000", 2, ["30", "30"]),
    ],
)
def test_the_breadth_is_shared_by_the_branches(world, breadth, phones, shared):
    callees = phones_of_bob(world, phones)
    call(world, breadth)
    world.run(1)
    assert shares(callees) == [[share] for share in shared]


def test_who_has_no_room_waits_until_the_others_have_failed(world):
    callees = phones_of_bob(world, 3)
    alice, invite = call(world, 1)
    for rung in range(3):
        world.run(1)
        busy = [phone for phone in callees if phone.agent.requests("INVITE")]
        assert len(busy) == rung + 1
        latest = next(phone for phone in busy if not phone.agent.requests("ACK"))
        got = latest.agent.requests("INVITE")[0]
        assert got.values("max-breadth") == ["1"]
        latest.send(latest.agent.response(got, 486).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 486


@pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS"])
def test_other_requests_are_shared_too(world, method):
    callees = phones_of_bob(world, 2)
    alice = world.phone("alice")
    alice.register()
    request = alice.agent.request(method, f"sip:bob@{DOMAIN}", headers=["Max-Breadth: 1"])
    alice.send(request.to_bytes())
    request = alice.agent.authorize(request, world.wait(lambda: alice.agent.final(request)))
    alice.send(request.to_bytes())
    world.run(1)
    asked = [phone for phone in callees if phone.agent.requests(method)]
    assert len(asked) == 1
    asked[0].send(asked[0].agent.response(asked[0].agent.requests(method)[0], 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(request)).status == 200


@pytest.mark.parametrize(("breadth", "status"), [("0", 440), ("000", 440), ("-1", 400), ("many", 400)])
def test_without_breadth_nobody_is_called(world, breadth, status):
    (bob,) = phones_of_bob(world, 1)
    alice, invite = call(world, breadth)
    assert world.wait(lambda: alice.agent.final(invite)).status == status
    assert not bob.agent.requests("INVITE")
    world.run(40)
    assert not any(node.core.gauges()["server_transactions"] for node in world.nodes.values())


def test_requests_in_a_dialog_have_it_too(world):
    (bob,) = phones_of_bob(world, 1)
    alice = world.phone("alice")
    alice.register()
    dialog, _ = answered_call(world, alice, bob)
    assert first(world, bob, "ACK").values("max-breadth") == ["60"]
    alice.send(alice.agent.in_dialog(dialog, "BYE", headers=["Max-Breadth: 5"]).to_bytes())
    assert first(world, bob, "BYE").values("max-breadth") == ["5"]
