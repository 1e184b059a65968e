"""What is reported of relayed calls: how well their ends have heard each other, and that nothing is heard any more."""

from __future__ import annotations

import pytest

from edge.media.orders import SideQuality
from edge.proxy.stack.events import HangUp, MediaSilent
from lambdas.contract import CallAnswered, CallEnded, CallLost, MediaQuality, OpenCall
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.world import World

SAID = SideQuality(500, 0.0, 3, 10.5, 4.1)
UNSAID = SideQuality(480, 2.5)


@pytest.fixture
def world() -> World:
    made = World(media=True)
    for name in ("alice", "bob"):
        made.control.add(name, f"pw-{name}", tenant="t0123456789ab")
    return made


@pytest.fixture
def alice(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    return phone


@pytest.fixture
def bob(world):
    phone = world.phone("bob", "edge-b")
    assert phone.register() == 200
    return phone


def ended(world):
    world.run(3)
    return [one for one in world.control.reports if isinstance(one, CallEnded)]


@pytest.mark.parametrize(("by", "heard"), [("caller", (SAID, UNSAID)), ("called", (UNSAID, SAID))])
def test_the_end_of_a_relayed_call_says_how_it_was_heard(world, alice, bob, by, heard):
    dialog, other = answered_call(world, alice, bob)
    bob.agent.received.clear()
    world.engines["203.0.113.11"].quality = heard  # who hangs up first
    if by == "caller":
        hang_up(world, alice, dialog, bob)
    else:
        hang_up(world, bob, other, alice)
    (report,) = ended(world)
    assert report.by == by
    assert {one.side: one for one in report.quality} == {
        "caller": MediaQuality(side="caller", packets=500, longest_gap=0.0, lost=3, jitter=10.5, mos=4.1),
        "called": MediaQuality(side="called", packets=480, longest_gap=2.5),
    }


def test_an_end_is_reported_where_the_engine_says_nothing(world, alice, bob):
    dialog, _ = answered_call(world, alice, bob)
    world.engines["203.0.113.11"].fault = "silent"
    before = world.control.clock()
    hang_up(world, alice, dialog, bob)
    (report,) = ended(world)
    assert report.quality == []
    assert report.ended - before < 1.0


def test_a_call_in_which_nothing_is_heard_is_lost(world):
    world.nodes["edge-a"].handle(MediaSilent("t0123456789ab", "0123456789abcdef", 1000, 60))
    world.run(1)
    assert [one for one in world.control.reports if isinstance(one, CallLost)] == [
        CallLost(tenant="t0123456789ab", call="0123456789abcdef", started=1000, why="no media for 60 s")
    ]


def test_a_lost_call_that_is_ended_says_what_was_heard_last(world, alice, bob):
    answered_call(world, alice, bob)
    world.run(1)
    (answered,) = [one for one in world.control.reports if isinstance(one, CallAnswered)]
    name = {"tenant": answered.tenant, "call": answered.call, "started": answered.started}
    node, engine = world.nodes["edge-a"], world.engines["203.0.113.11"]
    engine.quality = (SAID, UNSAID)  # as of the BYE in alice's name, which bob answers first
    node.handle(HangUp([OpenCall(**name, address=node.address, sides=answered.sides, why="no media for 60 s")]))
    got = world.wait(lambda: next(iter(alice.agent.requests("BYE")), None))
    world.wait(lambda: next(iter(bob.agent.requests("BYE")), None))
    bob.send(bob.agent.response(bob.agent.requests("BYE")[0], 200).to_bytes())
    world.run(3)
    alice.send(alice.agent.response(got, 481).to_bytes())
    (report,) = ended(world)
    assert (report.by, report.reason) == ("service", 'SIP;cause=200;text="Ended by the service: no media for 60 s"')
    assert [(one.side, one.packets) for one in report.quality] == [("caller", 500), ("called", 480)]
    assert not engine.sessions
