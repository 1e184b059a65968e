"""Phones whose connection has ended: nobody waits for them, at any edge, and nothing counts on them."""

from __future__ import annotations

import pytest

from edge.proxy.location.closed import AWAY, ClosedFlows
from edge.proxy.stack.events import BindingsChanged, FlowClosed, StreamsEnd
from edge.sip.flow import Flow
from edge.sip.transaction.client import make_cancel
from lambdas.contract import BindingReport, RouteQuestion
from tests.scenarios.test_calls import answered_call
from tests.support.world import DOMAIN, World

SOON = 0.5  # seconds


@pytest.fixture
def world() -> World:
    return World()


def refused_at_once(world, caller, invite):
    """What ``caller`` hears without waiting for anybody."""
    return world.wait(lambda: caller.agent.final(invite), SOON)


def call(caller):
    return caller.start_call(f"sip:bob@{DOMAIN}")


def rung(world, phone):
    return world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None))


def back_elsewhere(phone):
    """A connection from another port, which is in the Contact, too."""
    phone.disconnect()
    phone.agent.port += 1
    phone.public = (phone.public[0], phone.public[1] + 1)
    phone.connect()


def gone(world):
    return [report for report in world.control.reports if isinstance(report, BindingReport) and not report.expires]


# Calls that are under way


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("ringing", [True, False])
def test_a_phone_that_loses_its_connection_fails_its_branch(world, edge, ringing):
    alice, bob = world.phone("alice"), world.phone("bob", edge, transport="TCP")
    assert alice.register() == bob.register() == 200
    invite = call(alice)
    incoming = rung(world, bob)
    if ringing:
        bob.send(bob.agent.response(incoming, 180).to_bytes())
        world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    bob.disconnect()
    assert refused_at_once(world, alice, invite).status == 480


def test_the_other_phone_rings_on(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b", transport="TCP")
    other = world.phone("bob")
    other.agent.port = 5070
    assert alice.register() == bob.register() == other.register() == 200
    invite = call(alice)
    rung(world, bob)
    incoming = rung(world, other)
    bob.disconnect()
    world.run(5)
    assert alice.agent.final(invite) is None
    other.send(other.agent.response(incoming, 486).to_bytes())
    assert refused_at_once(world, alice, invite).status == 486


def test_an_edge_that_dies_takes_its_connections_along(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b", transport="TCP")
    assert alice.register() == bob.register() == 200
    invite = call(alice)
    bob.send(bob.agent.response(rung(world, bob), 180).to_bytes())
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    world.restart("edge-b")
    assert refused_at_once(world, alice, invite).status == 480


def test_a_call_that_was_answered_goes_on_when_the_address_moves(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b", transport="TCP")
    assert alice.register() == bob.register() == 200
    dialog, _ = answered_call(world, alice, bob)
    world.restart("edge-b")
    world.run(1)
    bob.connect()
    assert bob.register() == 200
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("BYE")), None))
    bob.send(bob.agent.response(got, 200).to_bytes())
    world.wait(lambda: 200 in alice.agent.statuses("BYE"))


# Calls that begin later


@pytest.mark.parametrize("caller", ["edge-a", "edge-b"])
def test_it_counts_as_not_registered_from_that_moment_at_every_edge(world, caller):
    alice, bob = world.phone("alice", caller), world.phone("bob", "edge-b", transport="TCP")
    assert alice.register() == bob.register() == 200
    bob.disconnect()
    world.run(0.1)
    answer = refused_at_once(world, alice, call(alice))
    assert (answer.status, answer.reason) == (480, "Temporarily Unavailable: not registered")
    assert not gone(world)


def test_only_the_phone_that_is_there_rings(world):
    alice, lost = world.phone("alice"), world.phone("bob", transport="TCP")
    there = world.phone("bob", "edge-b", transport="TCP")
    there.agent.port = 5070
    assert alice.register() == lost.register() == there.register() == 200
    lost.disconnect()
    world.run(0.1)
    invite = call(alice)
    incoming = rung(world, there)
    world.run(2)
    assert alice.agent.final(invite) is None
    there.send(there.agent.response(incoming, 603).to_bytes())
    assert refused_at_once(world, alice, invite).status == 603
    assert not lost.agent.requests("INVITE")


def test_connections_of_before_a_start_have_ended(world):
    alice, bob = world.phone("alice", "edge-b"), world.phone("bob", transport="TCP")
    assert alice.register() == bob.register() == 200
    world.restart("edge-a")
    world.run(0.1)
    assert refused_at_once(world, alice, call(alice)).status == 480
    # A whole office that comes back at once is no crowd of strangers.
    assert world.nodes["edge-a"].core.stack.sources.proven(bob.public[0], world.now)
    bob.connect()
    assert bob.register() == 200
    call(alice)
    rung(world, bob)


def test_a_connection_that_is_open_stays_what_it_is_when_it_is_told_of(world):
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    assert alice.register() == bob.register() == 200
    node, wall = world.nodes["edge-a"], world.control.clock()
    told = [item.as_change(wall) for item in world.control.items.values()]
    node.handle(BindingsChanged(told, frozenset((bob.connection,))))
    call(alice)
    rung(world, bob)


@pytest.mark.parametrize("caller", ["edge-a", "edge-b"])
def test_a_call_waits_for_phones_whose_address_moves_on_purpose(world, caller):
    alice, bob = world.phone("alice", caller), world.phone("bob", "edge-b", transport="TCP")
    assert alice.register() == bob.register() == 200
    for node in world.nodes.values():
        node.handle(StreamsEnd())
    bob.disconnect()
    world.run(0.1)
    invite = call(alice)
    world.run(1)
    assert alice.agent.statuses("INVITE", invite.get("call-id"))[-1] == 100
    bob.connect()
    assert bob.register() == 200
    world.run(3)
    rung(world, bob)


def test_it_does_not_wait_twice_nor_for_whoever_gives_up(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b", transport="TCP")
    assert alice.register() == bob.register() == 200
    world.nodes["edge-a"].handle(StreamsEnd())
    bob.disconnect()
    world.run(0.1)
    invite = call(alice)
    world.nodes["edge-a"].handle(StreamsEnd())
    world.run(3)
    assert alice.agent.final(invite) is None
    world.run(1.5)
    assert alice.agent.final(invite).status == 480
    world.nodes["edge-a"].handle(StreamsEnd())
    invite = call(alice)
    world.run(0.5)
    alice.send(make_cancel(invite).to_bytes())
    world.wait(lambda: alice.agent.final(invite))
    assert alice.agent.final(invite).status == 487
    asked = len(world.control.questions)
    world.run(10)
    assert len(world.control.questions) == asked


# What is written


def test_a_phone_that_is_back_in_time_costs_nothing_but_its_return(world):
    bob = world.phone("bob", transport="TCP")
    assert bob.register() == 200
    bob.disconnect()
    world.run(AWAY - 5)
    bob.connect()
    assert bob.register() == 200
    world.run(2 * AWAY)
    assert not gone(world)
    alice = world.phone("alice", "edge-b")
    alice.register()
    call(alice)
    rung(world, bob)


def test_one_that_stays_away_is_reported_once(world):
    bob = world.phone("bob", transport="TCP")
    assert bob.register() == 200
    bob.disconnect()
    world.run(AWAY - 1)
    assert not gone(world)
    world.run(3)
    assert len(gone(world)) == 1
    assert all(item.removed for item in world.control.items.values())
    world.run(300)
    assert len(gone(world)) == 1


def test_after_a_start_they_are_reported_as_well(world):
    bob = world.phone("bob", transport="TCP")
    assert bob.register() == 200
    world.restart("edge-a")
    world.run(AWAY + 2)
    assert all(item.removed for item in world.control.items.values())


def test_what_ends_while_it_is_being_decided_is_not_kept(world):
    bob = world.phone("bob", transport="TCP")
    challenged = bob.agent.register_request()
    bob.send(challenged.to_bytes())
    challenge = world.wait(lambda: bob.agent.final(challenged))
    world.decision_time = 2.0
    bob.send(bob.agent.authorize(challenged, challenge).to_bytes())
    world.run(1)
    bob.disconnect()
    world.run(2)
    assert world.nodes["edge-a"].core.gauges()["bindings"] == 0
    assert world.nodes["edge-a"].core.gauges()["closed_bindings"] == 1
    world.run(AWAY + 1)
    assert len(gone(world)) == 1


def test_it_does_not_fill_its_accounts_places(world):
    """Phones without an instance, each time from another port; and all of an account's at once."""
    bob = world.phone("bob", transport="TCP")
    for _ in range(13):
        assert bob.register() == 200
        back_elsewhere(bob)
    answer = bob.transact(bob.agent.register_request())
    assert answer.status == 200
    assert len(answer.values("contact")) == 1
    phones = [world.phone("carol", transport="TCP") for _ in range(6)]
    for number, phone in enumerate(phones):
        phone.agent.port = 6000 + 100 * number
        assert phone.register() == 200
    world.restart("edge-a")
    world.run(1)
    for phone in phones:
        back_elsewhere(phone)
        assert phone.register() == 200
    world.run(AWAY + 2)
    live = [item for item in world.control.items.values() if item.live(world.control.clock())]
    assert len([item for item in live if item.aor == f"carol@{DOMAIN}"]) == 6


# What is told


def test_a_stranger_s_connection_is_nobody_s_business(world):
    bob = world.phone("bob", transport="TCP")
    node = world.nodes["edge-a"]
    assert not node.core.handle(FlowClosed(bob.connection), world.now)


def test_a_question_names_few_of_many():
    flows = [Flow("203.0.113.11", 5060, "tcp", "192.0.2.1", port, port) for port in range(1, 200)]
    closed = ClosedFlows()
    for flow in flows:
        assert closed.note(flow, (f"u{flow.remote_port}@{DOMAIN}",), 100.0)
    assert not closed.note(flows[0], (), 101.0)
    named = closed.named((f"u3@{DOMAIN}", "nobody"), 101.0)
    assert len(named) == 50
    assert named[:2] == [flows[2].wire, flows[-1].wire]
    assert closed.named((), 1000.0) == []


def test_questions_of_an_edge_that_knows_of_none_say_nothing(world):
    alice = world.phone("alice")
    alice.register()
    call(alice)
    world.run(1)
    asked = [question for question in world.control.questions if isinstance(question, RouteQuestion)]
    assert [question.closed for question in asked] == [[]]


# What can't be sent


def test_a_request_that_no_packet_has_room_for_is_refused_or_taken_by_another(world):
    alice, bob = world.phone("alice", transport="TCP"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200

    def invite():
        """Of nearly as many octets as a message may have, and two Record-Routes come to it."""
        request = alice.agent.invite_request(f"sip:bob@{DOMAIN}")
        alice.send(request.to_bytes())
        challenge = world.wait(lambda: alice.agent.final(request))
        alice.ack_refusal(request, challenge)
        request = alice.agent.authorize(request, challenge)
        request.headers = [header for header in request.headers if header[0] != "content-length"]
        request.body = b"x" * (65_530 - len("Content-Length: 65000\r\n") - len(request.to_bytes()))
        request.headers.append(("content-length", f"Content-Length: {len(request.body)}"))
        alice.send(request.to_bytes())
        return request

    tried = invite()
    assert world.wait(lambda: alice.agent.final(tried), 1).status == 513
    assert not bob.agent.requests("INVITE")
    other = world.phone("bob", transport="TCP")
    assert other.register() == 200
    tried = invite()
    incoming = rung(world, other)
    other.send(other.agent.response(incoming, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(tried)).status == 200


def test_a_registered_phone_s_connection_is_kept(world):
    bob = world.phone("bob", transport="TCP")
    core = world.nodes["edge-a"].core
    assert not core.keeps(bob.connection)
    assert bob.register() == 200
    assert core.keeps(bob.connection)
    assert bob.register(expires=0) == 200
    assert not core.keeps(bob.connection)
