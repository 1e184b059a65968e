"""Which way media of calls are to take, and how many may be relayed: what decisions say of it, and what is kept to where
none can be had."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from edge.proxy.forwarding.response_context import ResponseContext
from edge.proxy.routing.kept_routes import as_called_by
from lambdas.calls.facts import CallWay
from lambdas.calls.media import MediaEnd
from lambdas.calls.request import CallRequest
from lambdas.calls.routing import incoming, outgoing
from lambdas.calls.transferring import transfer
from lambdas.contract import (
    RELAYED_OF_ACCOUNT,
    RELAYED_OF_TENANT,
    Credentials,
    IncomingQuestion,
    Keep,
    Route,
    RouteQuestion,
    Target,
    TransferQuestion,
    combined,
)
from lambdas.decisions.limits import CallLimits
from lambdas.decisions.provider import StoredProvider, StoredRoute, TenantSettings, Way
from lambdas.decisions.rules import Plan
from lambdas.decisions.values import StoredBinding
from lambdas.repositories.directory import limits_of
from lambdas.repositories.items import tenant_item
from lambdas.repositories.models import TenantItem, limit_attributes
from tests.support.control import DOMAIN, Control
from tests.support.world import World

NOW = 1_800_000_000.0
ALICE, BOB, CAROL = (f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol"))
NUMBER = f"+442079460000@{DOMAIN}"
FLOW = ("203.0.113.11", 5060, "udp", "192.0.2.9", 5060, 0)
WORDS = ("auto", "relay", "direct")


@pytest.fixture
def control():
    made = Control(lambda: NOW)
    made.settings = TenantSettings("GB", tenant="t1", routes=(StoredRoute("", ("voip", "second")),))
    for name in ("voip", "second"):
        provider = StoredProvider(f"t1/{name}", "t1", f"{name}.test", "44", "x", incoming=(BOB,))
        made.ways[name] = Way(provider, "203.0.113.11", {}, registered=True)
    for aor in (ALICE, BOB, CAROL):
        made.add(aor.partition("@")[0], "pw")
        binding = StoredBinding(
            aor=aor, key=aor, contact=f"sip:{aor}", flow=FLOW, call_id="c", cseq=1, registered_at=0, changed_at=0,
            expires_at=NOW + 60, revision="r", tenant="t1",
        )  # fmt: skip
        made.items[aor, aor, FLOW[0]] = binding
    return made


def change(control, whose, **what):
    if whose == "tenant":
        control.settings = replace(control.settings, **what)
    elif whose in control.ways:
        way = control.ways[whose]
        control.ways[whose] = replace(way, provider=replace(way.provider, **what))
    else:
        control.accounts[whose] = replace(control.accounts[whose], **what)


def asked(called, caller=ALICE, method="INVITE"):
    credentials = Credentials(username="x", realm=DOMAIN, nonce="n", uri="sip:x", response="")
    return RouteQuestion(
        request="r", address=FLOW[0], epoch=1, method=method, caller=caller, called=called, credentials=credentials,
        call_id="c", flow=FLOW, attempt="a",
    )  # fmt: skip


def decided(control, called, caller=ALICE, method="INVITE"):
    """For a caller who has shown who he is."""
    account, settings = control.facts.member(caller)
    question, end = asked(called, caller, method), MediaEnd.of(account, settings)
    return outgoing(CallRequest(question, account, caller, called, settings, NOW, end), control.facts)


def from_provider(control, name):
    question = IncomingQuestion(
        request="r", address=FLOW[0], epoch=1, method="INVITE", provider=f"t1/{name}", caller="+4420", dialled="44",
        call_id="c", flow=FLOW, attempt="a",
    )  # fmt: skip
    return incoming(question, control.facts)


def test_what_both_ends_want_is_combined():
    assert [combined(one, other) for one, other in itertools.product(WORDS, WORDS)] == [
        "auto", "relay", "direct",
        "relay", "relay", "relay",
        "direct", "relay", "direct",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, "auto"),
        ({ALICE: "direct"}, "direct"),
        ({BOB: "relay"}, "relay"),
        ({ALICE: "relay", BOB: "direct"}, "relay"),
        ({"tenant": "direct"}, "direct"),
        ({"tenant": "relay", ALICE: "direct", BOB: "auto"}, "direct"),
        ({"tenant": "relay", ALICE: "direct"}, "relay"),
    ],
)
def test_an_account_counts_before_its_tenant(control, said, found):
    for whose, media in said.items():
        change(control, whose, media=media)
    (target,) = decided(control, BOB).targets
    assert target.media == found


def test_each_provider_that_a_call_may_go_by_has_its_own_word(control):
    change(control, "voip", media="direct")
    change(control, "tenant", media="relay")
    change(control, ALICE, media="auto")
    (target,) = decided(control, NUMBER).targets
    assert (target.media, [one.media for one in target.instead]) == ("direct", ["relay"])
    assert not target.one_site


def test_calls_from_a_provider(control):
    change(control, "voip", media="direct")
    assert [target.media for target in from_provider(control, "voip").targets] == ["direct"]
    assert [target.media for target in from_provider(control, "second").targets] == ["auto"]
    change(control, BOB, media="relay")
    assert [target.media for target in from_provider(control, "voip").targets] == ["relay"]


@pytest.mark.parametrize(("outside", "found"), [("t1/voip", "direct"), ("", "auto")])
def test_who_is_put_through_is_not_who_puts_him_through(control, outside, found):
    change(control, ALICE, media="relay", site="here")
    change(control, BOB, site="here")
    change(control, "voip", media="direct")
    binding = control.items[ALICE, ALICE, FLOW[0]].id
    control.facts.way_of_call = lambda way, call_id, tag: CallWay(outside, "t1", int(NOW), binding)
    question = TransferQuestion(
        request="r", address=FLOW[0], epoch=1, caller="+4420", called=BOB, call_id="c", flow=FLOW, call="x",
        way="w", way_call_id="y", way_tag="z", attempt="a",
    )  # fmt: skip
    (target,) = transfer(question, control.facts).targets
    assert (target.media, target.one_site) == (found, False)


@pytest.mark.parametrize(
    ("sites", "same"),
    [
        ({}, False),
        ({ALICE: "here"}, False),
        ({ALICE: "here", BOB: "there"}, False),
        ({ALICE: "here", BOB: "here"}, True),
        ({"tenant": "here"}, True),
        ({"tenant": "here", BOB: "home"}, False),
        ({"tenant": "here", BOB: "here"}, True),
    ],
)
def test_accounts_of_one_site(control, sites, same):
    for whose, site in sites.items():
        change(control, whose, site=site)
    decision = decided(control, BOB)
    assert [target.one_site for target in decision.targets] == [same]
    assert decision.keep.site == (sites.get(ALICE) or sites.get("tenant", ""))


def test_every_stage_of_a_plan_and_whoever_has_no_phone_just_now(control):
    rules = [
        {"name": "first", "ring": {"legs": [{"account": BOB}, {"number": "+442079460001"}]}},
        {"name": "then", "ring": {"legs": [{"account": CAROL}]}},
    ]
    control.plans["plan"] = Plan.model_validate({"rules": rules})
    change(control, "tenant", site="here", media="relay")
    change(control, CAROL, media="direct")
    change(control, ALICE, media="direct", plan="plan")
    change(control, BOB, plan="plan")
    control.items.pop((CAROL, CAROL, FLOW[0]))
    decision = decided(control, BOB)
    stages = [decision, *decision.stages]
    assert [target.media for stage in stages for target in stage.targets] == ["relay", "relay"]
    assert [target.one_site for stage in stages for target in stage.targets] == [True, False]
    assert [(one.aor, one.media, one.one_site) for stage in stages for one in stage.absent] == [(CAROL, "direct", True)]


def test_a_decision_for_one_who_wants_else_than_his_tenant_is_kept_for_him_alone(control):
    assert decided(control, BOB).keep.caller == ""
    change(control, "tenant", media="direct")
    assert decided(control, BOB).keep.caller == ""
    change(control, ALICE, media="relay")
    assert decided(control, BOB).keep.caller == ALICE
    change(control, "voip", media="relay")
    assert from_provider(control, "voip").keep.caller == ""  # it is kept for that provider account anyway


# How many


def test_how_many_may_be_relayed_of_all_to_whom_a_call_may_count(control):
    assert decided(control, BOB).relayed_calls == {ALICE: RELAYED_OF_ACCOUNT, "t1": RELAYED_OF_TENANT}
    change(control, "tenant", limits=CallLimits(relayed_calls=20), account_limits=CallLimits(relayed_calls=3))
    change(control, BOB, limits=CallLimits(relayed_calls=0))
    assert from_provider(control, "voip").relayed_calls == {BOB: 0, "t1": 20}
    change(control, ALICE, limits=CallLimits(relayed_calls=5))
    assert decided(control, BOB).relayed_calls == {ALICE: 5, "t1": 20}
    assert decided(control, BOB).counted == []  # edges count those, nobody else


def test_the_limit_stands_beside_those_that_versions_of_before_can_read():
    limits = {"concurrent_calls": 2, "relayed_calls": 5}
    kept = limit_attributes(limits, "account_")
    assert kept == {"account_limits": {"concurrent_calls": 2}, "account_relayed_calls": 5}
    item = tenant_item("t1", "Test")
    for name, value in (kept | limit_attributes({})).items():
        setattr(item, name, value)
    again = TenantItem.from_raw_data(item.to_dynamodb_dict())
    assert (again.all_account_limits, again.all_limits) == (limits, {})
    assert limits_of(again.all_account_limits) == CallLimits(concurrent_calls=2, relayed_calls=5)


def test_a_call_for_help_is_not_held_up(control):
    change(control, "tenant", emergency=("voip",), limits=CallLimits(relayed_calls=0))
    change(control, "voip", media="direct")
    decision = decided(control, f"999@{DOMAIN}")
    assert (decision.relayed_calls, decision.targets[0].media) == ({}, "direct")
    change(control, "voip", media="relay")
    assert decided(control, f"999@{DOMAIN}").targets[0].media == "auto", "which goes on where there is no relay"


def test_messages_have_no_media(control):
    decision = decided(control, BOB, method="MESSAGE")
    assert decision.relayed_calls == {}
    assert decision.targets


# Without a decision


def test_what_was_decided_for_another_is_fitted_to_the_caller():
    def target(media, one_site=True, instead=()):
        return Target(
            uri="sip:x",
            flow=FLOW,
            binding="b",
            aor=BOB,
            account=BOB,
            media=media,
            one_site=one_site,
            instead=list(instead),
        )

    kept = Route(
        targets=[target("auto", instead=[target("direct")])], absent=[target("relay")],
        stages=[{"targets": [target("auto", one_site=False)]}], keep=Keep(seconds=60, site="here"), tenant="t1",
        relayed_calls={ALICE: 5, BOB: 6, "t1": 7},
    )  # fmt: skip

    def seen(route):
        first, (second,) = route.targets[0], route.stages[0].targets
        return [(one.media, one.one_site) for one in (first, *first.instead, route.absent[0], second)]

    there = [("auto", True), ("direct", True), ("relay", True), ("auto", False)]
    assert seen(as_called_by(kept, CAROL, "auto", "here")) == there
    assert seen(as_called_by(kept, CAROL, "auto", "there")) == [(media, False) for media, _ in there]
    assert [media for media, _ in seen(as_called_by(kept, CAROL, "relay", "here"))] == ["relay"] * 4
    assert as_called_by(kept, CAROL, "auto", "").relayed_calls == {CAROL: RELAYED_OF_ACCOUNT, BOB: 6, "t1": 7}
    assert as_called_by(kept, ALICE, "auto", "").relayed_calls == {ALICE: 5, BOB: 6, "t1": 7}


@pytest.mark.parametrize("decided_before", [False, True])
def test_known_phones_call_without_control_plane_as_their_accounts_want(monkeypatch, decided_before):
    """Those that have registered at this edge; what others want is known where a decision was kept."""
    found = []
    follow = ResponseContext.on_decision

    def noted(context, decision, now):
        found.append(decision)
        follow(context, decision, now)

    monkeypatch.setattr(ResponseContext, "on_decision", noted)
    world = World(edges=1)
    world.control.settings = replace(world.control.settings, media="direct", site="here", tenant="t1")
    for name in ("alice", "bob", "carol"):
        world.control.add(name, f"pw-{name}")
    world.control.accounts[CAROL] = replace(world.control.accounts[CAROL], media="relay", site="home")
    alice, bob, carol = (world.phone(name) for name in ("alice", "bob", "carol"))
    for phone in (alice, bob, carol):
        assert phone.register() == 200

    def call(caller, callee):
        found.clear()
        caller.start_call(f"sip:{callee.agent.username}@{DOMAIN}")
        world.wait(lambda: found)
        (target,) = found[-1].targets
        counts = found[-1].relayed_calls
        assert counts[f"{caller.agent.username}@{DOMAIN}"] == RELAYED_OF_ACCOUNT
        assert set(counts.values()) == {RELAYED_OF_ACCOUNT, RELAYED_OF_TENANT}
        return target.media, target.one_site

    if decided_before:
        assert call(alice, bob) == ("direct", True)
    world.control.dark, world.decision_time = True, 0.0
    assert call(alice, bob) == ("direct", True)
    assert call(carol, bob) == ("relay", False)
    assert call(bob, carol) == ("relay", False)
