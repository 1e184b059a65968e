"""Media of calls with people outside: one session on both sides of the border, whoever the call goes on with."""

from __future__ import annotations

import pytest

from edge.media.judging import Networks
from edge.media.orders import ANSWER, OFFER
from edge.sip.headers import NameAddr
from lambdas.contract import CallAnswered
from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.scenarios import test_plan_calls, test_transfers
from tests.scenarios.test_provider_calls import acknowledged, arrives, call_in, dial
from tests.scenarios.test_transfers import CAROLS, THEIRS, Outside, answering, put_through, replacing, rings, takes
from tests.support.engine import HeldEngine
from tests.support.provider import ProviderDouble, account, assign
from tests.support.relayed import TYPE, WEB, media_said, orders, place, relaying, roles, sdp
from tests.support.world import DOMAIN, World

HERE, THERE = "203.0.113.11", "203.0.113.12"
MINE, OTHERS = sdp(22000), sdp(23000, "198.51.100.1")


@pytest.fixture
def world():
    made = World(media=True, engine=HeldEngine)
    made.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    yield from relaying(made)


@pytest.fixture
def carol(world):
    phone = world.phone("carol", "edge-a")
    assert phone.register() == 200
    return phone


@pytest.fixture
def transparent(world):
    """So that what phones write is what others get, as in the scenarios that this goes through again."""
    for engine in world.engines.values():
        engine.transparent = True


@pytest.fixture
def second(world):
    return test_transfers.second.__wrapped__(world)


@pytest.fixture
def two(world, provider, second, alice):
    return test_transfers.two.__wrapped__(world, provider, second, alice)


def said(agent, request, status, body, tag=""):
    response = agent.response(request, status, tag, body=body)
    response.headers.insert(-1, ("content-type", TYPE))
    return response


class Border:
    """A call between alice's phone and the provider, and how to ask something in it from either side."""

    def __init__(self, world, provider, phone, way):
        self.world, self.provider, self.phone = world, provider, phone
        if way == "out":
            self.invite = dial(world, phone)
            self.got = arrives(world, provider)
            ok = said(provider.agent, self.got, 200, OTHERS)
            provider.answer(ok)
            self.final = world.wait(lambda: phone.agent.final(self.invite))
            self.mine = phone.agent.caller_dialog(self.invite, self.final)
            self.theirs = provider.agent.callee_dialog(self.got, ok)
            phone.send(phone.agent.in_dialog(self.mine, "ACK").to_bytes())
            acknowledged(world, provider, self.got)
        else:
            assign(world, account(incoming=(f"{phone.agent.username}@{DOMAIN}",), version=2))
            self.invite = call_in(world, provider)
            self.got = world.wait(lambda: phone.agent.requests("INVITE"))[0]
            ok = said(phone.agent, self.got, 200, MINE)
            phone.send(ok.to_bytes())
            self.final = world.wait(lambda: provider.agent.final(self.invite))
            self.mine = phone.agent.callee_dialog(self.got, ok)
            self.theirs = provider.agent.caller_dialog(self.invite, self.final)
            self.theirs.routes = []
            provider.send(provider.agent.in_dialog(self.theirs, "ACK").to_bytes())
            world.wait(lambda: phone.agent.requests("ACK"))
        provider.asks = False

    def ask(self, side, method, offer, answer):
        one, dialog, other = self._side(side)
        other.agent.received.clear()
        request = one.agent.in_dialog(dialog, method, offer, [TYPE] if offer else [])
        one.send(request.to_bytes())
        got = self.world.wait(lambda: other.agent.requests(method))[-1]
        self._answer(other, said(other.agent, got, 200, answer, "" if side == "phone" else "tag-alice"))
        final = self.world.wait(lambda: one.agent.final(request))
        if method == "INVITE":
            dialog.target = NameAddr.parse(final.get("contact")).uri
        return got, final

    def acknowledge(self, side, body=b""):
        one, dialog, other = self._side(side)
        one.send(one.agent.in_dialog(dialog, "ACK", body, [TYPE] if body else []).to_bytes())
        return self.world.wait(lambda: other.agent.requests("ACK"))[-1]

    def end(self, side):
        one, dialog, other = self._side(side)
        bye = one.agent.in_dialog(dialog, "BYE")
        one.send(bye.to_bytes())
        got = self.world.wait(lambda: other.agent.requests("BYE"))[-1]
        self._answer(other, other.agent.response(got, 200))
        assert self.world.wait(lambda: one.agent.final(bye)).status == 200
        self.world.run(1)

    def _answer(self, other, response):
        if other is self.provider:
            self.provider.answer(response)
        else:
            other.send(response.to_bytes())

    def _side(self, side):
        sides = (self.phone, self.mine, self.provider), (self.provider, self.theirs, self.phone)
        return sides[side == "provider"]


def records(world):
    world.run(1)
    return [(one.media, one.media_why) for one in world.control.reports if isinstance(one, CallAnswered)]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("side", ["phone", "provider"])
@pytest.mark.parametrize(("way", "edge"), [("out", "edge-b"), ("in", "edge-a")])
def test_both_sides_of_a_border_find_one_session(world, provider, alice, way, edge, side, restarted):
    """Where the caller's edge address is: alice's phone is at the second one's, and the provider at the first's. What
    has to be sent again with a password is described once."""
    call = Border(world, provider, alice, way)
    address = world.nodes[edge].address
    assert place(call.got)[0] == place(call.final)[0] == address
    assert roles(world, edge) == [OFFER, ANSWER]
    assert records(world) == [("relayed", "nat")]
    if restarted:
        for name in ("edge-a", "edge-b"):
            world.restart(name)
        assign(world, account(incoming=(f"alice@{DOMAIN}",), version=3))
        world.run(2)
    for method in ("INVITE", "UPDATE", "INVITE"):
        got, final = call.ask(side, method, MINE, OTHERS)
        assert place(got)[0] == place(final)[0] == address
        assert b"10.0.0.9" not in got.to_bytes() if side == "phone" else True
        if method == "INVITE":
            call.acknowledge(side)
    got, final = call.ask(side, "INVITE", b"", MINE)
    ack = call.acknowledge(side, OTHERS)
    assert (got.body, place(final)[0], place(ack)[0]) == (b"", address, address)
    assert roles(world, edge) == [OFFER, ANSWER] * 5
    assert len({order.key for order in orders(world, edge)}) == 1
    assert len({frozenset((order.by, order.to)) for order in orders(world, edge)[1:]}) == 1
    call.end(side)
    assert world.engines[address].sessions == {}


def test_a_call_that_is_not_relayed_shows_the_provider_the_phones_public_address(world, provider, alice):
    media_said(world, media="direct")
    call = Border(world, provider, alice, "out")
    assert place(call.got)[0] == alice.public[0]
    call.end("phone")
    assert orders(world) == orders(world, "edge-b") == []


def test_the_next_provider_gets_the_same_description(world, provider, alice):
    second = ProviderDouble(world, "198.51.100.2", "sip.second.test")
    assign(world, account("second", host="sip.second.test"))
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip", "second")),))
    invite = dial(world, alice)
    provider.answer(provider.agent.response(arrives(world, provider), 503))
    second.answer(second.agent.response(arrives(world, second), 486))
    assert world.wait(lambda: alice.agent.final(invite)).status == 486
    world.run(1)
    assert world.engines[THERE].sessions == {}


# From one provider to another


@pytest.fixture
def chained(world):
    voip = ProviderDouble(world)
    assign(world, account(tenant="t0123456789ab"))
    other = ProviderDouble(world, "198.51.100.2", "sip.other.test")
    assign(world, account("other", "t0123456789ab", host="sip.other.test", contact_user="contactother"), "edge-b")
    world.run(2)
    test_plan_calls.decides(world, {"targets": [test_plan_calls.number_target(world)]})
    return voip, other


@pytest.mark.parametrize("by", ["voip", "other"])
def test_between_two_providers_one_border_has_the_session(world, chained, by):
    voip, other = chained
    theirs, others, out, _ = test_plan_calls.connected(world, voip, other)
    theirs.routes = others.routes = []
    assert place(out)[0] == HERE
    assert roles(world) == [OFFER, ANSWER]
    for one, mine, two, that in ((voip, theirs, other, others), (other, others, voip, theirs)):
        two.agent.received.clear()
        again = one.agent.in_dialog(mine, "INVITE", MINE, [TYPE])
        one.send(again.to_bytes(), "edge-b" if one is other else "edge-a")
        got = world.wait(lambda two=two: two.agent.requests("INVITE"))[0]
        two.answer(said(two.agent, got, 200, OTHERS, "tag-4420"))
        final = world.wait(lambda one=one, again=again: one.agent.final(again))
        assert place(got)[0] == place(final)[0] == HERE
        mine.target, that.target = (NameAddr.parse(one.get("contact")).uri for one in (final, got))
        one.send(one.agent.in_dialog(mine, "ACK").to_bytes(), "edge-b" if one is other else "edge-a")
        world.wait(lambda two=two: two.agent.requests("ACK"))
    assert roles(world) == [OFFER, ANSWER] * 3
    assert len({order.key for order in orders(world)}) == 1
    assert orders(world, "edge-b") == []
    one, mine, two = (voip, theirs, other) if by == "voip" else (other, others, voip)
    one.send(one.agent.in_dialog(mine, "BYE").to_bytes(), "edge-b" if one is other else "edge-a")
    two.answer(two.agent.response(world.wait(lambda: two.agent.requests("BYE"))[0], 200))
    world.run(1)
    assert world.engines[HERE].sessions == {}


def test_a_call_that_another_provider_refuses_leaves_nothing(world, chained):
    voip, other = chained
    invite = test_plan_calls.call_in(voip)
    other.answer(other.agent.response(world.wait(lambda: other.agent.requests("INVITE"))[0], 486))
    assert world.wait(lambda: voip.agent.final(invite)).status == 486
    world.run(1)
    assert world.engines[HERE].sessions == {}


# Transfers


@pytest.mark.parametrize("by", ["carol", "provider"])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("way", ["out", "in"])
@pytest.mark.usefixtures("transparent")
def test_a_transferred_call_has_a_session_of_its_own(world, provider, alice, carol, way, restarted, by):
    """Carol's offer and the provider's answer are described once each, and alice's session ends."""
    edge = "edge-b" if way == "out" else "edge-a"
    call = Outside(world, provider, alice, way)
    answering(alice)
    (before,) = world.engines[world.nodes[edge].address].sessions
    seen = {name: len(orders(world, name)) for name in world.nodes}
    call.refer(f"sip:carol@{DOMAIN}")
    dialog = put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")
    world.run(10)
    fresh = [order for name in world.nodes for order in orders(world, name)[seen[name] :]]
    assert [order.role for order in fresh] == [OFFER, ANSWER]
    sessions = [key for engine in world.engines.values() for key in engine.sessions]
    assert sessions == [fresh[0].key] != [before]
    if restarted:
        world.restart("edge-a")
        world.restart("edge-b")
        assign(world, account())
        world.run(2)
    test_transfers.hold_and_hang_up(world, provider, call, carol, dialog, by)
    after = [order for name in world.nodes for order in orders(world, name)[seen[name] :]]
    assert [order.role for order in after] == [OFFER, ANSWER] * 3
    assert {order.key for order in after} == {fresh[0].key}
    assert len({frozenset((order.by, order.to)) for order in after}) == 1


def test_what_a_transferred_call_is_relayed_for_stays_so(world, provider, alice, carol):
    """Somebody wants it, though both ends are public."""
    media_said(world, media="relay")
    world.public_networks = Networks(["0.0.0.0/0"])
    for node in world.nodes.values():
        world.inform(node)
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    dialog = takes(carol, rings(world, carol))
    reinvite = arrives(world, provider)
    assert place(reinvite)[0] == THERE
    provider.answer(said(provider.agent, reinvite, 200, OTHERS, "none"))
    assert place(world.wait(lambda: carol.agent.requests("ACK"))[0])[0] == THERE
    world.run(10)
    carol.send(carol.agent.in_dialog(dialog, "BYE").to_bytes())
    provider.answer(provider.agent.response(arrives(world, provider, "BYE"), 200))
    world.run(1)


def test_a_browser_that_a_call_is_put_through_to_is_bridged(world, provider, alice):
    web = world.phone("carol", "edge-a", "WSS")
    assert web.register() == 200
    call = Outside(world, provider, alice, "out")
    answering(alice)
    answering(web)
    call.refer(f"sip:carol@{DOMAIN}")
    got = rings(world, web)
    web.send(said(web.agent, got, 200, WEB).to_bytes())
    reinvite = arrives(world, provider)
    offer = orders(world, "edge-b")[-1]
    assert (offer.role, offer.by, offer.for_.profile) == (OFFER, "tag-carol", "RTP/AVP")
    provider.answer(said(provider.agent, reinvite, 200, OTHERS, "none"))
    ack = world.wait(lambda: web.agent.requests("ACK"))[0]
    assert place(ack)[0] == THERE
    world.run(10)
    call.theirs.target = NameAddr.parse(reinvite.get("contact")).uri
    provider.send(provider.agent.in_dialog(call.theirs, "BYE").to_bytes())
    world.wait(lambda: web.agent.requests("BYE"))
    world.run(1)


@pytest.mark.usefixtures("transparent")
def test_a_transfer_that_the_provider_refuses_leaves_the_session_that_there_was(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    answering(carol)
    before = dict(world.engines[THERE].sessions)
    call.refer(f"sip:carol@{DOMAIN}")
    takes(carol, rings(world, carol))
    provider.answer(provider.agent.response(arrives(world, provider), 488, tag="none"))
    world.wait(lambda: call.last_word().startswith("488"))
    world.run(10)
    assert world.engines[THERE].sessions == before
    test_transfers.talk_on(world, provider, call)


@pytest.mark.parametrize("by", ["provider", "second"])
@pytest.mark.usefixtures("transparent")
def test_two_calls_with_people_outside_become_one_session(world, provider, second, alice, two, by):
    one, mine, other = two
    answering(alice)
    assert sum(len(engine.sessions) for engine in world.engines.values()) == 2
    seen = {name: len(orders(world, name)) for name in world.nodes}
    one.refer(f"sip:07700900000@{DOMAIN}{replacing(mine)}")
    asked = arrives(world, second)
    second.answer(second.agent.response(asked, 200, tag="none", body=CAROLS))
    other.target = NameAddr.parse(asked.get("contact")).uri
    reinvite = arrives(world, provider)
    provider.answer(provider.agent.response(reinvite, 200, tag="none", body=THEIRS))
    one.theirs.target = NameAddr.parse(reinvite.get("contact")).uri
    assert acknowledged(world, second, asked).body == THEIRS
    world.run(10)
    fresh = [order for name in world.nodes for order in orders(world, name)[seen[name] :]]
    assert [order.role for order in fresh] == [OFFER, ANSWER]
    assert [key for engine in world.engines.values() for key in engine.sessions] == [fresh[0].key]
    ends = (provider, one.theirs, second) if by == "provider" else (second, other, provider)
    edge = "edge-a" if by == "provider" else "edge-b"
    ends[2].agent.received.clear()
    again = ends[0].agent.in_dialog(ends[1], "INVITE", MINE, [TYPE])
    ends[0].send(again.to_bytes(), edge)
    got = arrives(world, ends[2])
    ends[2].answer(ends[2].agent.response(got, 200, tag="none", body=OTHERS))
    final = world.wait(lambda: ends[0].agent.final(again))
    ends[1].target = NameAddr.parse(final.get("contact")).uri
    ends[0].send(ends[0].agent.in_dialog(ends[1], "ACK").to_bytes(), edge)
    acknowledged(world, ends[2], got)
    after = [order for name in world.nodes for order in orders(world, name)[seen[name] :]]
    assert [order.role for order in after] == [OFFER, ANSWER] * 2
    assert {order.key for order in after} == {fresh[0].key}
    bye = ends[0].agent.in_dialog(ends[1], "BYE")
    ends[0].send(bye.to_bytes(), edge)
    ends[2].answer(ends[2].agent.response(arrives(world, ends[2], "BYE"), 200, tag="none"))
    world.run(1)


@pytest.mark.usefixtures("transparent")
def test_two_calls_that_stay_two_keep_their_sessions(world, provider, second, alice, two):
    one, mine, other = two
    answering(alice)
    before = {key for engine in world.engines.values() for key in engine.sessions}
    one.refer(f"sip:07700900000@{DOMAIN}{replacing(mine)}")
    asked = arrives(world, second)
    second.answer(second.agent.response(asked, 200, tag="none", body=CAROLS))
    provider.answer(provider.agent.response(arrives(world, provider), 488, tag="none"))
    world.wait(lambda: one.last_word().startswith("488"))
    world.run(2)
    assert {key for engine in world.engines.values() for key in engine.sessions} == before
    for dialog, there in ((one.mine, provider), (mine, second)):
        alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
        there.answer(there.agent.response(arrives(world, there, "BYE"), 200, tag="none"))
    world.run(1)
