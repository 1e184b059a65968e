"""Privacy across the border to providers, both ways."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge.proxy.stack.events import FleetChanged
from edge.sip import base64url
from edge.sip.message import header_of, make_response
from lambdas.contract import CallAnswered, CallFailed, IncomingQuestion, way_sealed_for
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.rules import Plan
from tests.scenarios.test_identity import ANONYMOUS, arrives, dial, refusal
from tests.support.agent import SDP, unique
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

SECRET = "+442079460999"
ASSERTED = [
    "Privacy: id",
    f'P-Asserted-Identity: "J Doe" <sip:{SECRET};cpc=ordinary@itsp.example>',
    f"P-Asserted-Identity: <tel:{SECRET}>",
]


@pytest.fixture
def world() -> World:
    made = World()
    made.control.settings = TenantSettings("GB", ("voip",), (StoredRoute("", ("voip",)),))
    return made


@pytest.fixture
def provider(world) -> ProviderDouble:
    made = ProviderDouble(world)
    made.asks = False
    assign(world, account(caller_id="+442079460000", contact_user="contactvoip"))
    world.run(2)
    return made


@pytest.fixture
def bob(world):
    phone = world.phone("bob", "edge-b")
    assert phone.register() == 200
    return phone


@pytest.fixture
def alice(world):
    phone = world.phone("alice", "edge-b")
    assert phone.register() == 200
    return phone


def call_in(world, provider, sender, headers=(), to="<sip:4420@sip.voip.test>"):
    uri = f"sip:contactvoip@{world.nodes['edge-a'].address}:5060"
    lines = ["Contact: <sip:+4930@198.51.100.1:5060>", *headers]
    invite = provider.agent.request("INVITE", uri, to, lines, SDP, from_=f"{sender};tag={unique('p')}")
    provider.send(invite.to_bytes())
    return invite


def asked(world):
    return next(one for one in world.control.questions if isinstance(one, IncomingQuestion))


WITHHELD = {
    "asserted": (ANONYMOUS, ASSERTED),
    "in From, too": (f'"J Doe" <sip:{SECRET}@itsp.example>', ["Privacy: id"]),
    "a display name": ('"J Doe" <sip:anonymous@anonymous.invalid>', [*ASSERTED, "Organization: J Doe Ltd"]),
    "Remote-Party-ID": (ANONYMOUS, [f"Remote-Party-ID: <sip:{SECRET}@itsp.example>;party=calling;privacy=full"]),
    "tel": (f"<tel:{SECRET}>", ["Privacy: user;id", f"Diversion: <tel:{SECRET}>;reason=unconditional"]),
}


@pytest.mark.parametrize("how", WITHHELD)
def test_what_a_provider_asserts_in_confidence_reaches_nobody_but_the_operator(world, provider, bob, how):
    sender, lines = WITHHELD[how]
    heard: list[bytes] = []
    take = bob.agent.take
    bob.agent.take = lambda data: (heard.append(data), take(data))[1]
    invite = call_in(world, provider, sender, lines)
    got = arrives(bob)
    assert got.get("from").startswith(ANONYMOUS)
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    final = world.wait(lambda: provider.agent.final(invite))
    assert final.get("from") == invite.get("from")
    dialog = provider.agent.caller_dialog(invite, final)
    dialog.routes = []
    provider.send(provider.agent.in_dialog(dialog, "ACK").to_bytes())
    arrives(bob, "ACK")
    world.run(1)
    world.restart("edge-a")
    world.restart("edge-b")
    # The provider doesn't ask again.
    bob.agent.received.clear()
    theirs = provider.agent.in_dialog(dialog, "INVITE", SDP)
    provider.send(theirs.to_bytes())
    again = arrives(bob)
    assert again.get("from") == got.get("from")
    bob.send(bob.agent.response(again, 200).to_bytes())
    world.wait(lambda: provider.agent.final(theirs))
    provider.send(provider.agent.in_dialog(dialog, "ACK").to_bytes())
    arrives(bob, "ACK")
    # To what the phone sends the provider finds the name that it has given itself.
    bye = bob.agent.in_dialog(bob.agent.callee_dialog(got, ok), "BYE")
    bob.send(bye.to_bytes())
    out = world.wait(lambda: provider.agent.requests("BYE"))[0]
    assert out.get("to") == invite.get("from").replace('"J Doe" ', "").replace('"Anonymous" ', "")
    provider.answer(provider.agent.response(out, 200))
    assert world.wait(lambda: bob.agent.final(bye)).get("to") == bye.get("to")
    for data in heard:
        assert b"79460999" not in data, data
        assert b"J Doe" not in data, data
    assert "79460999" not in asked(world).model_dump_json()
    assert asked(world).caller == "anonymous@anonymous.invalid"
    world.run(1)
    (record,) = (one for one in world.control.reports if isinstance(one, CallAnswered))
    assert record.caller == "anonymous@anonymous.invalid"
    assert SECRET in record.asserted


def test_while_older_edges_are_there_their_tokens_are_made(world, provider, bob):
    """And each request that asks for privacy has it."""
    for node in world.nodes.values():
        node.handle(FleetChanged(replace(world.fleet(node), spoken=7)))
    invite = call_in(world, provider, ANONYMOUS, ASSERTED)
    got = arrives(bob)
    assert got.get("from").startswith(ANONYMOUS)
    bob.send(bob.agent.response(got, 200).to_bytes())
    final = world.wait(lambda: provider.agent.final(invite))
    user = final.get("contact").partition("sip:d.")[2].partition("@")[0]
    sealed = way_sealed_for("d.", invite.get("call-id"))
    assert len(json.loads(world.tokens.open_data(base64url.decode(user), sealed))) <= 11
    dialog = provider.agent.caller_dialog(invite, final)
    dialog.routes = []
    provider.send(provider.agent.in_dialog(dialog, "ACK", headers=ASSERTED).to_bytes())
    assert SECRET not in arrives(bob, "ACK").to_bytes().decode()


def test_without_privacy_the_phone_sees_who_it_is(world, provider, bob):
    line = f"P-Asserted-Identity: <sip:{SECRET}@itsp.example>"
    invite = call_in(world, provider, f'"J Doe" <sip:{SECRET};cpc=ordinary@itsp.example>', [line])
    got = arrives(bob)
    assert line in got.to_bytes().decode()
    assert got.get("from") == invite.get("from")
    bob.send(bob.agent.response(got, 486).to_bytes())
    world.wait(lambda: provider.agent.final(invite))
    world.run(1)
    (record,) = (one for one in world.control.reports if isinstance(one, CallFailed))
    assert (record.caller, record.asserted) == (f"{SECRET}@itsp.example", "")


def test_plans_know_numbers_however_they_are_written_and_a_word_for_those_who_hide(world, provider, bob):
    rules = [
        {"name": "hidden", "when": {"caller_in": "pests"}, "reject": {"status": 433}},
        {"name": "one", "when": {"called": ["+442079460001"]}, "reject": {"status": 606}},
        {"name": "rest", "as_dialled": True},
    ]
    lists = {"pests": ["anonymous", "+442079460777"]}
    world.control.plans["in"] = Plan.model_validate({"rules": rules, "lists": lists})
    way = world.control.ways["voip"]
    world.control.ways["voip"] = replace(way, provider=replace(way.provider, plan="in"))

    def outcome(sender, to="<sip:4420@sip.voip.test>", headers=()):
        invite = call_in(world, provider, sender, headers, to)
        return world.wait(lambda: provider.agent.final(invite)).status

    assert outcome(f"<sip:{SECRET}@itsp.example>", headers=["Privacy: id"]) == 433
    for sender in (
        "tel:+44-20-7946-0777",
        "sip:%2B442079460777;cpc=x@itsp.example",
        "sip:+442079460777@itsp.example;user=phone",
    ):
        assert outcome(f"<{sender}>") == 433
    for to in (
        "<tel:+442079460001>",
        "<sip:+442079460001;npdi;rn=+4479@sip.voip.test>",
        "<sip:%2b44-20-7946-0001@x.test>",
    ):
        assert outcome("<sip:+442079460778@itsp.example>", to) == 606


SETTINGS = {
    "from": "P-Preferred-Identity: <sip:+442079460000@sip.voip.test>",
    "p-asserted-identity": "P-Asserted-Identity: <sip:+442079460000@sip.voip.test>",
    "p-preferred-identity": "P-Preferred-Identity: <sip:+442079460000@sip.voip.test>",
    "remote-party-id": "Remote-Party-ID: <sip:+442079460000@sip.voip.test>;party=calling;screen=yes;privacy=full",
    "none": "P-Preferred-Identity: <sip:4420@sip.voip.test>",
}


@pytest.mark.parametrize("wish", ["phone", "anonymous", "code"])
@pytest.mark.parametrize("where", SETTINGS)
def test_a_call_out_is_hidden_the_providers_way(world, provider, alice, where, wish):
    way = world.control.ways["voip"]
    world.control.ways["voip"] = replace(way, provider=replace(way.provider, caller_id_in=where))
    match wish:
        case "phone":
            dial(alice, f"sip:02079460111@{DOMAIN}", headers=["Privacy: id;critical"])
        case "anonymous":
            dial(alice, f"sip:02079460111@{DOMAIN}", ANONYMOUS)
        case "code":
            dial(alice, f"sip:14102079460111@{DOMAIN}")
    out = world.wait(lambda: provider.agent.requests("INVITE"))[0]
    lines = out.to_bytes().decode().splitlines()
    assert out.get("from").startswith(ANONYMOUS)
    assert out.values("privacy") == ["id"]
    assert SETTINGS[where] in lines
    assert sum(line.startswith(("P-", "Remote-")) for line in lines) == 1
    # And so is what follows in the call.
    provider.answer(provider.agent.response(out, 200))
    final = world.wait(lambda: [one for one in alice.agent.responses("INVITE") if one.status == 200])[0]
    invite = alice.agent.request("INVITE", "sip:x", call_id=final.get("call-id"), from_=final.get("from"), cseq=2)
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
    bye = world.wait(lambda: provider.agent.requests("BYE"))[0]
    assert bye.get("from") == out.get("from")


def test_a_code_that_shows_counts_for_more_than_the_phone(world, provider, alice):
    dial(alice, f"sip:147002079460111@{DOMAIN}", headers=["Privacy: id"])
    out = world.wait(lambda: provider.agent.requests("INVITE"))[0]
    assert not out.values("privacy")
    assert out.get("from").startswith("<sip:+442079460000@sip.voip.test>")


def test_whoever_is_in_need_is_shown(world, provider, alice):
    for number, (uri, sender) in enumerate(((f"sip:999@{DOMAIN}", ""), ("tel:999;phone-context=+44", ANONYMOUS))):
        dial(alice, uri, sender, headers=["Privacy: id"])
        out = world.wait(lambda number=number: provider.agent.requests("INVITE")[number:])[0]
        assert out.uri == "sip:999@sip.voip.test"
        assert not out.values("privacy")
        assert out.get("from").startswith("<sip:+442079460000@sip.voip.test>")
    assert len(world.control.emergencies) == 2


def test_calls_without_a_decision_are_hidden_as_well(world, provider, alice):
    refused = dial(alice, f"sip:02079460111@{DOMAIN}")
    out = world.wait(lambda: provider.agent.requests("INVITE"))[0]
    assert out.get("from").startswith("<sip:+442079460000@")
    provider.answer(make_response(out, 486, to_tag="x"))
    assert refusal(alice, refused).status == 486
    world.control.dark = True
    dial(alice, f"sip:02079460111@{DOMAIN}", headers=["Privacy: id"])
    out = world.wait(lambda: provider.agent.requests("INVITE")[1:])[0]
    assert out.get("from").startswith(ANONYMOUS)
    assert out.values("privacy") == ["id"]


@pytest.mark.parametrize(("wish", "shown"), [("Privacy: id", False), ("Privacy: none", True)])
def test_whoever_answers_is_hidden_as_he_asks(world, provider, alice, wish, shown):
    invite = dial(alice, f"sip:02079460111@{DOMAIN}")
    out = world.wait(lambda: provider.agent.requests("INVITE"))[0]
    ok = provider.agent.response(out, 200)
    ok.headers[1:1] = [header_of(line) for line in (wish, f"P-Asserted-Identity: <tel:{SECRET}>")]
    provider.answer(ok)
    final = refusal(alice, invite)
    assert bool(final.values("p-asserted-identity")) == shown


def test_a_hidden_call_that_goes_on_to_another_provider_stays_hidden(world, provider, bob):
    """It says whose line it came by, and that nobody is to see it."""
    rules = [{"name": "mobile", "ring": {"legs": [{"number": "+447700900123"}]}}]
    world.control.plans["in"] = Plan.model_validate({"rules": rules})
    way = world.control.ways["voip"]
    world.control.ways["voip"] = replace(way, provider=replace(way.provider, plan="in", caller_id_in="remote-party-id"))
    call_in(world, provider, ANONYMOUS, ASSERTED)
    out = world.wait(lambda: provider.agent.requests("INVITE"))[0]
    text = out.to_bytes().decode()
    assert SECRET not in text
    assert out.values("privacy") == ["id"]
    assert "privacy=off" not in text
    assert out.get("from").startswith(ANONYMOUS)
    assert out.get("diversion").startswith("<sip:4420@sip.voip.test>")
