"""Dial plans from their rules to the phones: evaluated by the control plane's own policy, carried out by the edges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lambdas.decisions.rules import Plan
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

TENANT = "t0123456789ab"
DESK = f"desk@{DOMAIN}"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def phones(world):
    made = {name: world.phone(name, f"edge-{'ab'[n % 2]}") for n, name in enumerate(("alice", "desk", "mobile"))}
    for phone in made.values():
        assert phone.register() == 200
    return made


def plan(world, aor, *rules, name="office", **more):
    """The calls of ``aor`` are decided by a plan of these rules."""
    world.control.plans[name] = Plan.model_validate({"rules": list(rules), **more})
    world.control.accounts[aor] = replace(world.control.accounts[aor], plan=name)


def rings(world, phone):
    return world.wait(lambda: phone.agent.requests("INVITE"))[0]


def answer(phone, invite, status, **kwargs):
    phone.send(phone.agent.response(invite, status, **kwargs).to_bytes())


RING = {"name": "desk first", "ring": {"legs": [{"account": DESK}], "timeout": 20}}
THEN = {
    "name": "then the mobile",
    "when": {"after": ["no-answer", "busy"]},
    "ring": {"legs": [{"account": f"mobile@{DOMAIN}", "headers": ["X-From: desk"]}], "timeout": 10},
}
END = {"name": "nobody", "reject": {"status": 480, "reason": "Nobody is there"}}


@pytest.mark.parametrize("busy", [True, False])
def test_rules_ring_one_after_the_other_and_end_with_their_own_words(world, phones, busy):
    plan(world, DESK, RING, THEN, END)
    begun = world.now
    invite = phones["alice"].start_call(f"sip:{DESK}")
    first = rings(world, phones["desk"])
    answer(phones["desk"], first, 486 if busy else 180)
    second = rings(world, phones["mobile"])
    # A busy desk is left at once, a silent one after its time, and is told so.
    assert (world.now - begun < 1) is busy
    assert bool(phones["desk"].agent.requests("CANCEL")) is not busy
    assert second.get("x-from") == "desk"
    assert DESK in second.get("diversion")  # the mobile rings instead of it
    answer(phones["mobile"], second, 180)
    final = world.wait(lambda: phones["alice"].agent.final(invite))
    assert (final.status, final.reason) == (480, "Nobody is there")
    taken = 10 if busy else 20 + 10
    assert taken < world.now - begun < taken + 3  # a phone that doesn't answer its CANCEL is waited for


def test_a_rule_that_doesnt_hold_leaves_the_call_to_the_next_one(world, phones):
    pests = {"name": "pests", "when": {"caller_in": "pests"}, "reject": {"status": 603}}
    plan(world, DESK, pests, RING, lists={"pests": [f"alice@{DOMAIN}"]})
    invite = phones["alice"].start_call(f"sip:{DESK}")
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 603
    invite = phones["mobile"].start_call(f"sip:{DESK}")
    answer(phones["desk"], rings(world, phones["desk"]), 200)
    assert world.wait(lambda: phones["mobile"].agent.final(invite)).status == 200


def test_accounts_that_forward_to_each_other_end_in_a_loop_not_for_ever(world, phones):
    plan(world, DESK, {"name": "on", "forward": f"mobile@{DOMAIN}"}, name="desk")
    plan(world, f"mobile@{DOMAIN}", {"name": "back", "forward": DESK}, name="mobile")
    invite = phones["alice"].start_call(f"sip:{DESK}")
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 482
    assert not phones["desk"].agent.requests("INVITE")
    assert not phones["mobile"].agent.requests("INVITE")


def test_a_plan_for_a_providers_calls_sends_them_on_to_its_numbers(world):
    voip, other = ProviderDouble(world), ProviderDouble(world, "198.51.100.2", "sip.other.test")
    assign(world, account(tenant=TENANT, plan="provider"))
    assign(world, account("other", TENANT, host="sip.other.test", contact_user="contactother"), "edge-b")
    world.control.settings = replace(world.control.settings, country="GB", tenant=TENANT)
    leg = {"number": "07700900123", "providers": ["other"]}
    world.control.plans["provider"] = Plan.model_validate({"rules": [{"name": "on", "ring": {"legs": [leg]}}]})
    world.run(2)
    invite = voip.agent.request("INVITE", voip.contact, headers=[f"Contact: {voip.agent.contact}"])
    voip.send(invite.to_bytes())
    arrived = world.wait(lambda: other.agent.requests("INVITE"))[0]
    assert arrived.uri.startswith("sip:+447700900123@sip.other.test")
    other.answer(other.agent.response(arrived, 200))
    assert world.wait(lambda: voip.agent.final(invite)).status == 200
