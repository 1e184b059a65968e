"""Passwords of providers: who gets them, by what proof, and what is kept of them."""

from __future__ import annotations

import dataclasses

import pytest

from edge.control.store import StateStore
from edge.providers.leg_token import LegToProvider, seal_way
from edge.proxy.stack.events import FleetChanged, ProvidersAssigned, Remembered
from edge.runtime.disk_format import read_provider, write_provider
from edge.sip.flow import Flow
from lambdas.contract import Access, AccessQuestion, IncomingQuestion, Reject, RouteQuestion
from lambdas.decisions.provider import TenantSettings
from tests.support.provider import ProviderDouble, account, assign, provider_world, registered_provider
from tests.support.world import DOMAIN, WALL, World

HOLDER, OTHER = "203.0.113.11", "203.0.113.12"


@pytest.fixture
def world() -> World:
    return provider_world()


@pytest.fixture
def provider(world) -> ProviderDouble:
    return registered_provider(world)


def asked(world, address=OTHER, way="", call_id="c1", tag="p1", name="t1/voip"):
    question = AccessQuestion(request="q", address=address, epoch=1, provider=name, way=way, call_id=call_id, tag=tag)
    return world.control.decide(question)


def sealed(world, provider="t1/voip", started=None, call_id="c1", tag="p1"):
    flow = Flow(HOLDER, 5060, "udp", "198.51.100.1", 5060)
    at = int(world.control.clock()) if started is None else started
    return seal_way(LegToProvider(provider, flow, 0, "t1", at, False), call_id, world.tokens, tag)


def test_a_password_goes_to_the_holder_or_where_a_call_proves_it(world, provider):
    assert isinstance(asked(world, HOLDER), Access)
    refused = asked(world)
    assert isinstance(refused, Reject)
    assert refused.status == 403
    assert isinstance(asked(world, way=sealed(world)), Access)
    now = int(world.control.clock())
    for way in (
        "r.",
        "r.!!",
        "r.AAAA",
        "d." + sealed(world)[2:],
        sealed(world)[:-1] + ("A" if sealed(world)[-1] != "A" else "B"),
        sealed(world, provider="t2/voip"),
        sealed(world, started=0),
        sealed(world, started=now - 7 * 86_400 - 1),
        sealed(world, started=now + 3600),
        sealed(world, call_id="another"),
        sealed(world, tag="another"),
    ):
        assert isinstance(asked(world, way=way), Reject), way
    assert isinstance(asked(world, name="t1/nobody"), Reject)


def test_later_versions_may_seal_more_into_it(world):
    import json

    from edge.sip import base64url
    from lambdas.contract import way_sealed_for

    values = ["t1/voip", [], 0, "t1", int(WALL), 0, "", "", "", [], 0, "something", ["more"]]
    data = world.tokens.seal_data(json.dumps(values).encode(), way_sealed_for("r.", "c1 p1"))
    way = world.control.keys.way_of_call(f"r.{base64url.encode(data)}", "c1", "p1", WALL)
    assert (way.provider, way.tenant, way.started) == ("t1/voip", "t1", int(WALL))


def test_a_trunks_password_needs_a_call_whoever_asks(world):
    ProviderDouble(world)
    assign(world, account(registers=False))
    assert isinstance(asked(world, HOLDER), Reject)
    assert isinstance(asked(world, HOLDER, way=sealed(world)), Access)


def test_only_the_holder_of_a_registration_speaks_for_its_provider(world, provider):
    world.phone("bob").register()

    def incoming(address):
        question = IncomingQuestion(
            request="q", address=address, epoch=1, method="INVITE", call_id="c", provider="t1/voip",
            caller="02070000000@sip.voip.test", dialled="bob", flow=(address, 5060, "udp", "198.51.100.1", 5060, 0),
        )  # fmt: skip
        return world.control.decide(question)

    assert isinstance(incoming(OTHER), Reject)
    assert not isinstance(incoming(HOLDER), Reject)


def call(world, provider, edge):
    phone = world.phone("alice", edge)
    assert phone.register() == 200
    invite = phone.start_call(f"sip:02079460000@{DOMAIN}", [f"Contact: {phone.agent.contact}"])
    out = world.wait(lambda: provider.agent.requests("INVITE"))[0]
    provider.answer(provider.agent.response(out, 200))
    dialog = phone.agent.caller_dialog(invite, world.wait(lambda: phone.agent.final(invite)))
    phone.send(phone.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    return phone, dialog


def secrets_told(world):
    """The passwords that decisions about calls had with them."""
    found = []
    decide = world.control.decide

    def decided(question):
        decision = decide(question)
        if isinstance(question, RouteQuestion) and question.method == "INVITE":
            found.extend(target.provider.secret for target in decision.targets)
        return decision

    world.control.decide = decided
    return found


@pytest.mark.parametrize(("edge", "told"), [("edge-a", False), ("edge-b", True)])
def test_a_decision_brings_the_password_only_where_it_is_not_known(world, provider, edge, told):
    found = secrets_told(world)
    call(world, provider, edge)  # challenged, and answered in any case
    assert [secret is not None for secret in found] == [told]


def test_an_edge_that_has_forgotten_proves_the_call(world, provider):
    phone, dialog = call(world, provider, "edge-b")
    world.restart("edge-b")
    world.run(1)
    provider.nonce = "fresh"
    bye = phone.agent.in_dialog(dialog, "BYE")
    phone.send(bye.to_bytes())
    got = world.wait(lambda: provider.agent.requests("BYE"))[0]
    assert 'nonce="fresh"' in got.get("proxy-authorization")
    (question,) = [one for one in world.control.questions if isinstance(one, AccessQuestion)]
    assert question.way.startswith("r.")
    assert isinstance(world.control.decide(question.model_copy(update={"way": ""})), Reject)


def test_who_is_called_elsewhere_gets_no_password_at_all(world):
    from lambdas.decisions.rules import Plan

    world.control.settings = TenantSettings("GB", plan="out")
    world.control.plans["out"] = Plan.model_validate(
        {"rules": [{"name": "out", "ring": {"legs": [{"uri": "sip:1@sip.voip.test"}]}}]}
    )
    ProviderDouble(world)  # which asks for one
    phone = world.phone("alice")
    assert phone.register() == 200
    invite = phone.start_call(f"sip:1@{DOMAIN}")
    assert world.wait(lambda: phone.agent.final(invite)).status == 403
    assert not [one for one in world.control.questions if isinstance(one, AccessQuestion)]


# What the holder keeps


def kept(world):
    """What the holder's disk has, as it is written and read."""
    found = world.nodes["edge-a"].core.agent.take_changed(10)
    return [(name, write_provider(record)) for name, record in found]


def test_hashes_are_kept_instead_of_the_password(world, provider, tmp_path):
    records = kept(world)
    ((name, data),) = records
    assert name == "t1/voip"
    assert b"secret" not in data.replace(b'"secret":', b"").replace(b"/secret", b"")
    record = read_provider(data)
    assert record.account.secret.password == ""
    assert set(record.hashes) == {("voip.test", "MD5")}
    store = StateStore(tmp_path / "kept.sqlite", bytes(32))
    assert store.keep("provider", records)
    assert list(record.hashes.values())[0].encode() not in (tmp_path / "kept.sqlite").read_bytes()
    assert store.load("provider") == records
    store.close()
    node = world.nodes["edge-a"]
    node.handle(ProvidersAssigned("", [], ["t1/voip"]))
    assert kept(world) == [("t1/voip", b"")]  # it isn't this edge's any more


def restarted(world, records, epoch=1, arriving=False):
    """Edge-a starts again in the dark, with what it had kept."""
    world.control.dark = True
    world.restart("edge-a")
    node = world.nodes["edge-a"]
    fleet = dataclasses.replace(world.fleet(node), epochs={node.address: epoch})
    if arriving:
        away = dataclasses.replace(fleet, epochs={}, arriving=frozenset({node.address}))
        node.handle(FleetChanged(away))
    else:
        node.handle(FleetChanged(fleet))
    accounts = [(name, read_provider(data)) for name, data in records]
    node.handle(Remembered([], [], True, accounts))
    if arriving:
        node.handle(FleetChanged(fleet))
    return node


@pytest.mark.parametrize("arriving", [False, True])
def test_after_a_restart_in_the_dark_challenges_are_answered_without_the_password(world, provider, arriving):
    phone, dialog = call(world, provider, "edge-a")
    records = kept(world)
    before = len(provider.registers)
    node = restarted(world, records, arriving=arriving)
    world.run(3)
    assert node.core.agent.registered() == 1  # its lease hasn't run out
    assert len(provider.registers) == before + 2
    provider.nonce = "fresh"
    bye = phone.agent.in_dialog(dialog, "BYE")
    phone.send(bye.to_bytes())
    provider.answer(provider.agent.response(world.wait(lambda: provider.agent.requests("BYE"))[0], 200))
    assert world.wait(lambda: phone.agent.final(bye)).status == 200
    flow = Flow(node.address, 5060, "udp", *provider.place)
    assert node.core.agent.account_of("contactvoip", flow) == "t1/voip"  # calls come in
    # Another realm was never heard: there is nothing to answer it with.
    provider.realm = "other.test"
    provider.nonce = "another"
    world.run(4000)
    assert node.core.agent.registered() == 0
    # The light: the password comes back, without a REGISTER for that alone.
    sent = len(provider.registers)
    node.handle(ProvidersAssigned(node.address, [account().account], [], True))
    world.run(0.5)
    assert len(provider.registers) == sent
    world.run(4000)
    assert node.core.agent.registered() == 1


def test_what_another_holder_may_have_by_now_is_not_taken_back(world, provider):
    records = kept(world)
    node = restarted(world, records, epoch=2)
    assert len(node.core.agent) == 0
    assert node.core.agent.take_changed(10) == [("t1/voip", None)]
