"""Requests that are over leave no objects in circles: an edge looks for garbage seldom, and never among what it has
had for long (``edge/runtime/garbage``)."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from edge.sip.transaction.client import make_cancel
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.world import DOMAIN, World

AFTER = 300.0  # seconds: every transaction and timer is over


def refreshed(world, alice, bob):
    assert alice.register() == 200


def answered(world, alice, bob):
    dialog, _ = answered_call(world, alice, bob)
    hang_up(world, alice, dialog, bob)


def refused(world, alice, bob):
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    incoming = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(incoming, 486).to_bytes())
    world.wait(lambda: 486 in alice.agent.statuses("INVITE"))
    alice.ack_refusal(invite, alice.agent.responses("INVITE", invite.get("call-id"))[-1])


def unanswered(world, alice, bob):
    alice.start_call(f"sip:bob@{DOMAIN}")


def cancelled(world, alice, bob):
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    incoming = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(incoming, 180).to_bytes())
    world.run(0.1)
    alice.send(make_cancel(invite).to_bytes())
    world.run(0.1)
    bob.send(bob.agent.response(incoming, 487).to_bytes())


def nobody(world, alice, bob):
    alice.start_call(f"sip:nobody@{DOMAIN}")


@pytest.mark.parametrize("edges", [1, 2])
@pytest.mark.parametrize("what", [refreshed, answered, refused, unanswered, cancelled, nobody])
def test_what_is_over_is_freed_at_once(edges, what):
    world = World(edges)
    alice, bob = world.phone("alice"), world.phone("bob", f"edge-{'ab'[edges - 1]}")
    assert (alice.register(), bob.register()) == (200, 200)
    world.run(60)
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            bob.agent.received.clear()
            alice.agent.received.clear()
            what(world, alice, bob)
            world.run(AFTER)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = Counter(f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert {name: number for name, number in left.items() if name.startswith("edge.")} == {}
