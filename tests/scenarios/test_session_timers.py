"""Session timers (RFC 4028): who is asked to refresh, and which calls are reported to be lost."""

from __future__ import annotations

import pytest

from edge.sip.message import Request
from lambdas.contract import CallEnded, CallLost
from tests.support.relayed import invited, relaying, rung, says, sdp
from tests.support.world import DOMAIN, World

BOB = f"sip:bob@{DOMAIN}"
TIMER = "Supported: timer"
SHORT = "Session-Expires: 90"
UAS, UAC = f"{SHORT};refresher=uas", f"{SHORT};refresher=uac"


@pytest.fixture
def world() -> World:
    made = World()
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


def answered(world, alice, bob, said=(), replied=()):
    """A call: (bob's INVITE, alice's 200, her dialog, his)."""
    invite = alice.start_call(BOB, list(said))
    there = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    ok = bob.agent.response(there, 200, headers=list(replied))
    bob.send(ok.to_bytes())
    answer = world.wait(lambda: alice.agent.final(invite))
    dialog = alice.agent.caller_dialog(invite, answer)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    return there, answer, dialog, bob.agent.callee_dialog(there, ok)


def refresh(world, one, dialog, other, status=200, said=(), replied=(), method="UPDATE"):
    """What ``one`` is answered."""
    before = len(other.agent.requests(method))
    request = one.agent.in_dialog(dialog, method, headers=[SHORT, *said])
    one.send(request.to_bytes())
    there = world.wait(lambda: other.agent.requests(method)[before:])[0]
    other.send(other.agent.response(there, status, headers=list(replied)).to_bytes())
    return world.wait(lambda: one.agent.final(request))


def lost(world):
    return [one for one in world.control.reports if isinstance(one, CallLost)]


def watched(world):
    return [node.core.gauges()["timed_sessions"] for node in world.nodes.values()]


def test_nobody_who_can_refresh_nobody_who_has_to(world, alice, bob):
    there, answer, _, _ = answered(world, alice, bob)
    assert there.values("session-expires") == ["1800"]
    assert answer.get("session-expires") is answer.get("require") is None
    assert watched(world) == [0, 0]


def test_the_called_side_takes_it_up(world, alice, bob):
    _, answer, _, _ = answered(world, alice, bob, replied=[UAS, "Require: timer"])
    assert answer.values("session-expires") == ["90;refresher=uas"]
    assert answer.values("require") == ["timer"]
    assert watched(world) == [1, 0]
    world.run(110)
    assert not lost(world)
    world.run(40)
    assert [one.why for one in lost(world)] == ["its session timer was not refreshed"]
    assert watched(world) == [0, 0]


def test_the_caller_does_it_where_the_called_side_cant(world, alice, bob):
    _, answer, dialog, _ = answered(world, alice, bob, said=[TIMER, SHORT], replied=["Require: 100rel"])
    assert answer.values("session-expires") == ["90;refresher=uac"]
    assert answer.values("require") == ["100rel, timer"]
    for _ in range(3):
        world.run(50)
        found = refresh(world, alice, dialog, bob, said=[TIMER])
        assert found.values("session-expires") == ["90;refresher=uac"]
        assert found.values("require") == ["timer"]
    assert not lost(world)
    world.run(150)
    assert len(lost(world)) == 1


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_a_refresh_at_another_edge_counts_at_the_callers(world, alice, bob, method):
    _, _, _, his = answered(world, alice, bob, replied=[UAS])
    for _ in range(3):
        world.run(50)
        refresh(world, bob, his, alice, method=method, replied=[UAC])
        world.run(1)
        assert watched(world) == [1, 0]
    assert not lost(world)
    world.run(150)
    assert len(lost(world)) == 1


def test_who_hangs_up_isnt_lost(world, alice, bob):
    _, _, _, his = answered(world, alice, bob, replied=[UAS])
    bye = bob.agent.in_dialog(his, "BYE")
    bob.send(bye.to_bytes())
    there = world.wait(lambda: next(iter(alice.agent.requests("BYE")), None))
    alice.send(alice.agent.response(there, 200).to_bytes())
    world.run(150)
    assert watched(world) == [0, 0]
    assert not lost(world)
    assert any(isinstance(one, CallEnded) for one in world.control.reports)


@pytest.mark.parametrize(("status", "expected"), [(405, 0), (501, 0), (488, 0), (481, 1), (500, 1), (491, 1)])
def test_a_refresh_that_is_refused_has_nothing_expected(world, alice, bob, status, expected):
    """The phone that promised it won't try again; unless the refusal says that it will, or that nobody is there."""
    _, _, _, his = answered(world, alice, bob, replied=[UAS])
    world.run(40)
    assert refresh(world, bob, his, alice, status).status == status
    world.run(150)
    assert len(lost(world)) == expected


def test_a_refresh_that_says_nothing_ends_it(world, alice, bob):
    _, _, _, his = answered(world, alice, bob, replied=[UAS])
    world.run(40)
    assert refresh(world, bob, his, alice).get("session-expires") is None
    world.run(150)
    assert not lost(world)


def test_a_restarted_edge_learns_of_it_again(world, alice, bob):
    _, _, _, his = answered(world, alice, bob, replied=[UAS])
    world.restart("edge-a")
    world.run(40)
    assert watched(world) == [0, 0]
    refresh(world, bob, his, alice, replied=[UAC])
    world.run(1)
    assert watched(world) == [1, 0]
    world.run(150)
    assert len(lost(world)) == 1


@pytest.mark.parametrize(
    ("said", "there"),
    [
        (["Session-Expires: 90"], "90"),
        (["Session-Expires: 600;refresher=uac"], "600;refresher=uac"),
        (["x: 7200"], "1800"),
        (["Session-Expires: 7200", "Min-SE: 3600"], "3600"),
        (["Min-SE: 2400"], "2400"),
        (["Session-Expires: 30;refresher=uac"], "90;refresher=uac"),
        (["Session-Expires: soon"], "1800"),
    ],
)
def test_what_the_caller_asks_for(world, alice, bob, said, there):
    assert answered(world, alice, bob, said=said)[0].values("session-expires") == [there]


def test_too_short_an_interval_is_refused_to_who_can_choose_another(world, alice, bob):
    invite = alice.agent.invite_request(BOB, [TIMER, "Session-Expires: 60"])
    refused = alice.transact(invite)
    assert (refused.status, refused.get("min-se")) == (422, "90")
    assert not bob.agent.requests("INVITE")


def test_nothing_is_watched_before_all_edges_tell_of_refreshes(world, alice, bob):
    world.spoken = 9
    for node in world.nodes.values():
        world.inform(node)
    answered(world, alice, bob, replied=[UAS])
    assert watched(world) == [0, 0]


def test_other_requests_are_left_alone(world, alice, bob):
    _, _, dialog, _ = answered(world, alice, bob, said=[TIMER])
    alice.send(alice.agent.in_dialog(dialog, "INFO").to_bytes())
    there: Request = world.wait(lambda: next(iter(bob.agent.requests("INFO")), None))
    assert there.get("session-expires") is None
    request = alice.agent.in_dialog(dialog, "UPDATE")
    alice.send(request.to_bytes())
    assert world.wait(lambda: bob.agent.requests("UPDATE"))[0].get("session-expires") is None


def test_a_relayed_call_whose_ends_are_gone_is_lost_too():
    """On hold, the engine expects no packets of it."""
    world = World(media=True)
    for _ in relaying(world):
        alice, bob = (world.phone(name, nat=30.0) for name in ("alice", "bob"))
        assert alice.register() == bob.register() == 200
        invite = invited(world, alice, BOB, sdp(20000), [TIMER, SHORT])
        there = rung(world, bob)
        assert there.values("session-expires") == ["90"]
        says(bob, there, 200, sdp(21000))
        answer = world.wait(lambda: alice.agent.final(invite))
        assert answer.values("session-expires") == ["90;refresher=uac"]
        dialog = alice.agent.caller_dialog(invite, answer)
        alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
        world.run(150)
        assert len(lost(world)) == 1
        alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
        says(bob, world.wait(lambda: bob.agent.requests("BYE"))[0], 200)
