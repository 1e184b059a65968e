"""Stages: who is tried when, for how long, and after what."""

from __future__ import annotations

import pytest

from edge.sip.transaction.client import make_cancel
from lambdas.contract import Reject, Route, RouteQuestion, Stage
from lambdas.decisions.route import targets_of
from tests.support.world import DOMAIN, World

BUSY, NO_ANSWER, UNREACHABLE = [486, 600, 603], [408], [480, 430, 500, 503]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def phones(world):
    made = {
        name: world.phone(name, f"edge-{'ab'[index % 2]}")
        for index, name in enumerate(("alice", "bob", "carol", "dave"))
    }
    for phone in made.values():
        assert phone.register() == 200
    return made


def target(world, name, **kwargs):
    (found,) = targets_of(world.control.bindings(f"{name}@{DOMAIN}"), world.control.clock())
    return found.model_copy(update=kwargs)


def plan(world, **kwargs):
    """Every call is routed so."""
    decide = world.control.decide
    route = Route(**{"tenant": "t1", **kwargs})
    world.control.decide = lambda question: route if isinstance(question, RouteQuestion) else decide(question)


def rings(world, phone):
    return world.wait(lambda: phone.agent.requests("INVITE"))[0]


def answer(phone, invite, status):
    phone.send(phone.agent.response(invite, status).to_bytes())


def test_one_after_the_other_each_for_its_time(world, phones):
    stages = [
        Stage(targets=[target(world, "carol")], when=NO_ANSWER, timeout=10),
        Stage(targets=[target(world, "dave")]),
    ]
    plan(world, targets=[target(world, "bob")], timeout=20, stages=stages)
    begun = world.now
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), 180)
    second = rings(world, phones["carol"])
    assert 20 <= world.now - begun < 21
    assert phones["bob"].agent.requests("CANCEL")
    answer(phones["carol"], second, 486)
    answer(phones["dave"], rings(world, phones["dave"]), 200)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
    assert world.now - begun < 22


@pytest.mark.parametrize(("status", "who"), [(486, "carol"), (480, "dave"), (404, None)])
def test_the_outcome_says_which_comes_next(world, phones, status, who):
    stages = [
        Stage(targets=[target(world, "carol")], when=BUSY),
        Stage(targets=[target(world, "dave")], when=UNREACHABLE),
    ]
    plan(world, targets=[target(world, "bob")], stages=stages)
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), status)
    if who is None:
        assert world.wait(lambda: phones["alice"].agent.final(invite)).status == status
    else:
        answer(phones[who], rings(world, phones[who]), 200)
        assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
    for name in {"carol", "dave"} - {who}:
        assert not phones[name].agent.requests("INVITE")


def test_nobody_registered_is_a_stage_that_has_failed(world, phones):
    plan(world, targets=[], stages=[Stage(targets=[]), Stage(targets=[target(world, "dave")], when=[480])])
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["dave"], rings(world, phones["dave"]), 200)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200


def test_what_is_answered_when_all_have_failed(world, phones):
    plan(world, targets=[target(world, "bob")], stages=[Stage(targets=[], end=Reject(status=603, reason="Closed"))])
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), 486)
    final = world.wait(lambda: phones["alice"].agent.final(invite))
    assert (final.status, final.reason) == (603, "Closed")


def test_delayed_legs_ring_later_or_once_the_others_have_failed(world, phones):
    later = [target(world, "carol", after=5.0), target(world, "dave", after=60.0)]
    plan(world, targets=[target(world, "bob"), *later])
    begun = world.now
    phones["alice"].start_call(f"sip:x@{DOMAIN}")
    first = rings(world, phones["bob"])
    answer(phones["bob"], first, 180)
    second = rings(world, phones["carol"])
    assert 5 <= world.now - begun < 6
    answer(phones["carol"], second, 486)
    answer(phones["bob"], first, 486)
    rings(world, phones["dave"])
    assert world.now - begun < 7


def test_an_answer_stops_all_that_was_to_come(world, phones):
    plan(
        world,
        targets=[target(world, "bob"), target(world, "carol", after=5.0)],
        timeout=30,
        stages=[Stage(targets=[target(world, "dave")])],
    )
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), 200)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
    world.run(60)
    assert not phones["carol"].agent.requests("INVITE")
    assert not phones["dave"].agent.requests("INVITE")


def test_the_callers_cancel_ends_everything(world, phones):
    plan(
        world,
        targets=[target(world, "bob"), target(world, "carol", after=5.0)],
        timeout=30,
        stages=[Stage(targets=[target(world, "dave")])],
    )
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    world.run(1)
    phones["alice"].send(make_cancel(invite).to_bytes())
    world.wait(lambda: phones["bob"].agent.requests("CANCEL"))
    answer(phones["bob"], got, 487)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 487
    world.run(60)
    assert not phones["carol"].agent.requests("INVITE")
    assert not phones["dave"].agent.requests("INVITE")


def test_an_answer_that_crosses_the_end_of_its_stage_counts(world, phones):
    plan(world, targets=[target(world, "bob")], timeout=10, stages=[Stage(targets=[target(world, "carol")])])
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    world.wait(lambda: phones["bob"].agent.requests("CANCEL"))
    answer(phones["bob"], got, 200)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200


def test_headers_of_a_leg(world, phones):
    plan(
        world,
        targets=[target(world, "bob", headers=["Alert-Info: <urn:alert:service:normal>"]), target(world, "carol")],
    )
    phones["alice"].start_call(f"sip:x@{DOMAIN}")
    assert rings(world, phones["bob"]).get("alert-info") == "<urn:alert:service:normal>"
    assert rings(world, phones["carol"]).get("alert-info") is None


def test_a_decline_of_one_ends_its_stage_and_the_next_is_tried(world, phones):
    plan(
        world,
        targets=[target(world, "bob"), target(world, "carol")],
        stages=[Stage(targets=[target(world, "dave")], when=BUSY)],
    )
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    bob, carol = (rings(world, phones[name]) for name in ("bob", "carol"))
    answer(phones["carol"], carol, 180)
    world.run(0.5)
    answer(phones["bob"], bob, 603)
    world.wait(lambda: phones["carol"].agent.requests("CANCEL"))
    answer(phones["carol"], carol, 487)
    answer(phones["dave"], rings(world, phones["dave"]), 200)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
