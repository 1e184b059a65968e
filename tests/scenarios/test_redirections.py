"""Phones that redirect their calls (3xx): followed as if their account's plan had said so, at its expense, or passed on
with the Contact (RFC 3261 §16.7 step 4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.forwarding.deflection import redirected_to
from edge.sip.flow import Flow
from edge.sip.message import Response
from edge.sip.transaction.client import make_cancel
from lambdas.contract import CallFailed, Reject
from lambdas.decisions.limits import CallLimits
from tests.scenarios.test_contacts import registered
from tests.scenarios.test_crossings import ask, first
from tests.scenarios.test_dial_plans import plan
from tests.scenarios.test_provider_calls import arrives, call_in
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN

BOB, CAROL = f"bob@{DOMAIN}", f"carol@{DOMAIN}"


@pytest.fixture
def three(world):
    return registered(world, "alice"), registered(world, "bob", "edge-b"), registered(world, "carol")


def redirect(phone, request, *contacts, status=302):
    response = phone.agent.response(request, status)
    response.headers += [("contact", f"Contact: {contact}") for contact in contacts]
    phone.send(response.to_bytes())


def refuse(phone, request, status=486):
    phone.send(phone.agent.response(request, status).to_bytes())


@pytest.mark.parametrize("status", [300, 301, 302])
@pytest.mark.parametrize(
    "contact", [f"<sip:{CAROL}>", "<sip:carol@alias.example>;q=0.5", f"<sip:%63arol@{DOMAIN}:5060>"]
)
def test_it_is_followed_to_an_account(world, three, contact, status):
    alice, bob, carol = three
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), contact, status=status)
    got = first(world, carol, "INVITE")
    assert got.get("diversion") == f"<sip:{BOB}>;reason=deflection;counter=1"
    assert f"cause%3D{status}" in got.get("history-info")
    carol.send(carol.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200
    assert 302 not in alice.agent.statuses("INVITE")


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize(
    "contact", ["<sip:dave@10.0.0.9:5090>", "sip:dave@10.0.0.9:5090", "<sip:dave@10.0.0.9:5090;ob>"]
)
def test_it_is_followed_to_a_phones_own_contact(world, three, contact, edge):
    alice, bob, _ = three
    dave = registered(world, "dave", edge, "<sip:dave@10.0.0.9:5090>")
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, arrives(world, bob), contact)
    dave.send(dave.agent.response(arrives(world, dave), 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_what_becomes_of_it_there_is_the_calls_end(world, three):
    alice, bob, carol = three
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>")
    refuse(carol, first(world, carol, "INVITE"), 486)
    assert world.wait(lambda: alice.agent.final(invite)).status == 486
    world.run(1)
    (failed,) = [report for report in world.control.reports if isinstance(report, CallFailed)]
    assert [(leg.to, leg.status) for leg in failed.legs] == [(BOB, 302), (CAROL, 486)]


def test_a_providers_caller_never_sees_it(world, three):
    _, bob, carol = three
    provider = ProviderDouble(world)
    assign(world, account())
    world.run(2)
    invite = call_in(world, provider)
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>")
    carol.send(carol.agent.response(first(world, carol, "INVITE"), 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(invite)).status == 200


@pytest.mark.parametrize("contact", [f"<sip:+442079460999@{DOMAIN};user=phone>", "<tel:+442079460999;x=y>"])
def test_a_number_is_called_at_the_expense_of_who_redirects(world, three, contact):
    alice, bob, _ = three
    provider = ProviderDouble(world)
    assign(world, account())
    world.run(2)
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), contact)
    out = arrives(world, provider)
    assert out.uri.startswith("sip:+442079460999@")
    provider.answer(provider.agent.response(out, 200))
    assert world.wait(lambda: alice.agent.final(invite)).status == 200
    world.run(1)
    answered = next(report for report in world.control.reports if report.kind == "answered")
    assert answered.account == BOB


def test_the_limits_of_who_redirects_hold_and_the_caller_gets_the_contact(world, three):
    alice, bob, _ = three
    provider = ProviderDouble(world)
    assign(world, account())
    world.run(2)
    bobs = world.control.accounts[BOB]
    world.control.accounts[BOB] = replace(bobs, limits=CallLimits(calls_per_day=0))
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:+442079460999@{DOMAIN}>")
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, final.get("contact")) == (302, f"<sip:+442079460999@{DOMAIN}>")
    assert not provider.agent.requests("INVITE")


@pytest.mark.parametrize(
    "contacts",
    [
        ["<sip:carol@192.0.2.77>"],  # outside, which this tenant may not call
        ["<mailto:carol@example.com>"],
        ["<sip:nobody@example.com>"],
        ["<what"],
        ["<sip:x@[2001:db8::1]>"],
        [],
    ],
)
def test_what_cant_be_followed_is_passed_on(world, three, contacts):
    world.control.settings = replace(world.control.settings, outside=False, routes=())
    alice, bob, _ = three
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), *contacts)
    final = world.wait(lambda: alice.agent.final(invite))
    assert final.status == 302
    assert final.values("contact") == contacts


@pytest.mark.parametrize("status", [305, 380])
def test_other_redirections_are_the_callers(world, three, status):
    alice, bob, carol = three
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>", status=status)
    assert world.wait(lambda: alice.agent.final(invite)).status == status
    assert not carol.agent.requests("INVITE")


def test_those_of_other_requests_are_too(world, three):
    alice, bob, _ = three
    request = ask(world, alice, alice.agent.request("MESSAGE", f"sip:{BOB}"))
    redirect(bob, first(world, bob, "MESSAGE"), f"<sip:{CAROL}>")
    final = world.wait(lambda: alice.agent.final(request))
    assert (final.status, final.get("contact")) == (302, f"<sip:{CAROL}>")


def test_two_that_redirect_to_each_other_end(world, three):
    alice, bob, carol = three
    invite = alice.start_call(f"sip:{BOB}")
    for turn in range(6):
        phone, to = ((bob, CAROL), (carol, BOB))[turn % 2]
        got = world.wait(lambda phone=phone, turn=turn: phone.agent.requests("INVITE")[turn // 2 :])[0]
        redirect(phone, got, f"<sip:{to}>")
    assert world.wait(lambda: alice.agent.final(invite)).status == 482
    world.run(1)
    assert len(bob.agent.requests("INVITE")) + len(carol.agent.requests("INVITE")) == 6


def test_the_plan_of_who_redirects_may_say_otherwise(world, three):
    alice, bob, carol = three
    ring = {"name": "bob", "ring": {"legs": [{"account": BOB}], "timeout": 20}}
    end = {"name": "no", "reject": {"status": 480, "reason": "Not there"}}
    later = {"name": "moved", "when": {"after": ["redirected"]}, "reject": {"status": 603, "reason": "No"}}
    plan(world, BOB, ring, later, end)
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>")
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, final.reason) == (603, "No")
    bob.agent.received.clear()
    plan(world, BOB, ring, end)
    alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>")
    first(world, carol, "INVITE")  # a plan that doesn't mention it leaves it to the phone


def test_the_plan_of_who_is_redirected_to_holds(world, three):
    alice, bob, carol = three
    plan(world, CAROL, {"name": "no", "reject": {"status": 480, "reason": "Closed"}})
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>")
    assert world.wait(lambda: alice.agent.final(invite)).reason == "Closed"
    assert not carol.agent.requests("INVITE")


def test_of_two_phones_that_one_rings_on(world, three):
    alice, bob, carol = three
    second = registered(world, "bob", "edge-a", "<sip:bob@10.0.0.10>")
    invite = alice.start_call(f"sip:{BOB}")
    one, two = first(world, bob, "INVITE"), first(world, second, "INVITE")
    redirect(bob, one, f"<sip:{CAROL}>")
    world.run(1)
    assert not carol.agent.requests("INVITE")
    second.send(second.agent.response(two, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_a_caller_who_gives_up_meanwhile_calls_nobody(world, three):
    alice, bob, carol = three
    invite = alice.start_call(f"sip:{BOB}")
    got = first(world, bob, "INVITE")
    world.decision_time = 1.0
    redirect(bob, got, f"<sip:{CAROL}>")
    world.run(0.5)
    alice.send(make_cancel(invite).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 487
    world.run(3)
    assert not carol.agent.requests("INVITE")


def test_without_the_control_plane_it_is_passed_on(world, three):
    alice, bob, carol = three
    invite = alice.start_call(f"sip:{BOB}")
    got = first(world, bob, "INVITE")
    world.control.dark = True
    redirect(bob, got, f"<sip:{CAROL}>")
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, final.get("contact")) == (302, f"<sip:{CAROL}>")
    assert len(bob.agent.requests("INVITE")) == 1


def test_a_control_plane_of_before_refuses_the_question(world, three, monkeypatch):
    """It doesn't know the new fields, so it reads ``again``."""
    alice, bob, carol = three
    decide = world.control.decide
    blank = {"redirected_by": "", "redirected_to": ""}
    monkeypatch.setattr(world.control, "decide", lambda question: decide(question.model_copy(update=blank)))
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:{CAROL}>")
    assert world.wait(lambda: alice.agent.final(invite)).status == 302
    assert len(bob.agent.requests("INVITE")) == 1
    assert isinstance(world.control.decide(world.control.questions[-1]), Reject)


@pytest.mark.parametrize(
    ("contacts", "to"),
    [
        (["<sip:a@x.example>;q=0.2, <sip:b@x.example>;q=0.7"], "sip:b@x.example"),
        (["<sip:a@x.example>;q=0.2", "<sip:c@example.com>"], "c@example.com"),
        (["<sip:a@x.example;transport=tcp?Subject=x>"], "sip:a@x.example;transport=tcp"),
        (["sip:a@x.example;q=many"], "sip:a@x.example"),
        (["<tel:117;phone-context=+44>"], "117"),
        (["<urn:service:sos>"], ""),
        (["<sip:example.com>"], ""),
        (["*"], ""),
        (["<sip:a@203.0.113.12>"], "a@example.com"),
        (["<sip:a@203.0.113.12:40000>"], "sip:a@203.0.113.12:40000"),
    ],
)
def test_where_to(world, contacts, to):
    response = Response(302, "", [("contact", f"Contact: {contact}") for contact in contacts])
    stack = world.nodes["edge-a"].core.stack
    flow = Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 5060)
    assert redirected_to(response, flow, stack.own, stack.fleet) == (to, False)


def test_who_is_there_without_a_phone_is_not_reached(world, three):
    alice, bob, _ = three
    world.phone("dave")
    invite = alice.start_call(f"sip:{BOB}")
    redirect(bob, first(world, bob, "INVITE"), f"<sip:dave@{DOMAIN}>")
    assert world.wait(lambda: alice.agent.final(invite)).status == 480
