"""GRUUs (RFC 5627): a URI that leads to one phone of an account, and to that one only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.location.contacts import equivalent
from edge.proxy.stack.gruu import gruu_of
from edge.sip.headers import NameAddr, parse_params
from edge.sip.uri import Uri
from lambdas.contract import RouteQuestion, TransferQuestion
from lambdas.decisions.limits import CallLimits
from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.scenarios.test_calls import answered_call
from tests.scenarios.test_crossings import ask, first
from tests.scenarios.test_transfers import Outside
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

CAROL = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
BOB = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"
GRUU = ["Supported: path, gruu, outbound"]
TENANT = "t00112233aabb"


@pytest.fixture
def world() -> World:
    made = World()
    for name in ("alice", "bob", "carol"):
        made.control.add(name, f"pw-{name}", TENANT)
    return made


@pytest.fixture
def alice(world):
    return registered(world, "alice")


def registered(world, name, edge="edge-a", instance="", contact="", headers=GRUU, transport="UDP"):
    phone = world.phone(name, edge, transport)
    phone.agent.instance, phone.agent.reg_id = instance, 1 if instance else 0
    assert phone.register(contact=contact, headers=headers) == 200
    return phone


def said(phone):
    """The parameters of the phone's own Contact in the last answer to its REGISTER."""
    ok = [one for one in phone.agent.responses("REGISTER") if one.status == 200][-1]
    contacts = [NameAddr.parse(value) for value in ok.values("contact")]
    found = [parse_params(one.params) for one in contacts]
    return next(one for one in found if one.get("+sip.instance", "").strip("<>") == phone.agent.instance)


def gruu(phone, kind="pub"):
    return said(phone)[f"{kind}-gruu"]


def refresh(phone, headers=GRUU):
    request = phone.agent.register_request(3600, headers=headers)
    return phone.transact(request)


def refused(world, caller, uri):
    invite = caller.start_call(uri)
    return world.wait(lambda: caller.agent.final(invite)).status


def take(world, caller, callee, uri):
    """``caller`` calls ``uri``, and ``callee``'s phone answers; its INVITE."""
    invite = caller.start_call(uri)
    got = first(world, callee, "INVITE")
    callee.send(callee.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: caller.agent.final(invite)).status == 200
    return got


# What the registrar gives


def test_a_phone_that_knows_gruus_gets_two(world):
    carol = registered(world, "carol", instance=CAROL)
    assert gruu(carol) == f"sip:carol@{DOMAIN};gr={CAROL}"
    temporary = gruu(carol, "temp")
    assert temporary.endswith(f"@{DOMAIN};gr")
    assert "carol" not in temporary
    assert len(Uri.parse(temporary).user) <= 80


@pytest.mark.parametrize(("instance", "headers"), [(CAROL, ["Supported: path"]), (CAROL, []), ("", GRUU)])
def test_others_get_none(world, instance, headers):
    carol = registered(world, "carol", instance=instance, headers=headers)
    assert not {"pub-gruu", "temp-gruu"} & said(carol).keys()


def test_none_is_given_before_every_edge_knows_where_they_lead(world):
    world.spoken = 8
    for node in world.nodes.values():
        world.inform(node)
    carol = registered(world, "carol", instance=CAROL)
    assert "pub-gruu" not in said(carol)


def test_each_refresh_brings_another_temporary_one(world, alice):
    carol = registered(world, "carol", instance=CAROL)
    first_one = gruu(carol, "temp")
    asked = len(world.control.questions)
    world.run(30)
    assert refresh(carol).status == 200
    assert len(world.control.questions) == asked  # by its grant
    assert gruu(carol, "temp") != first_one
    for one in (first_one, gruu(carol, "temp")):
        carol.agent.received.clear()
        take(world, alice, carol, one)


def test_an_instance_that_is_no_urn_is_escaped(world, alice):
    instance = 'odd "one";x=1'
    carol = world.phone("carol")
    contact = '<sip:carol@10.0.0.9:5060>;+sip.instance="<odd \\"one\\";x=1>"'
    assert carol.register(contact=contact, headers=GRUU) == 200
    carol.agent.instance = instance
    assert gruu(carol) == f"sip:carol@{DOMAIN};gr=odd%20%22one%22%3Bx%3D1"
    take(world, alice, carol, gruu(carol))


def test_the_edge_says_that_it_knows_them(world, alice):
    options = alice.agent.request("OPTIONS", f"sip:{DOMAIN}")
    alice.send(options.to_bytes())
    assert "gruu" in world.wait(lambda: alice.agent.final(options)).get("supported")
    assert refresh(alice, ["Require: gruu"]).status == 200


# Where they lead


@pytest.mark.parametrize("kind", ["pub", "temp"])
@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_call_reaches_that_phone_only(world, alice, kind, edge, dark):
    carol = registered(world, "carol", edge, CAROL)
    other = registered(world, "carol", edge, BOB, "<sip:carol@10.0.0.77:5060>")
    uri = gruu(carol, kind)
    world.control.dark = dark
    invite = alice.start_call(uri)
    got = first(world, carol, "INVITE")
    assert got.uri == "sip:carol@10.0.0.9:5060"
    carol.send(carol.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200
    assert not other.agent.requests("INVITE")


@pytest.mark.parametrize("method", ["MESSAGE", "REFER"])
def test_other_requests_too(world, alice, method):
    carol = registered(world, "carol", "edge-b", CAROL)
    request = ask(world, alice, alice.agent.request(method, gruu(carol)))
    got = first(world, carol, method)
    carol.send(carol.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(request)).status == 200


@pytest.mark.parametrize(
    "spelled", [f"sip:carol@alias.example;gr={CAROL}", f"sip:%63arol@{DOMAIN};GR={CAROL.upper().replace(':', '%3A')}"]
)
def test_however_it_is_spelled(world, alice, spelled):
    take(world, alice, registered(world, "carol", "edge-b", CAROL), spelled)


def test_its_flows_are_tried_in_turn(world, alice):
    one = registered(world, "carol", instance=CAROL, transport="TCP")
    other = world.phone("carol", "edge-b", "TCP")
    other.agent.instance, other.agent.reg_id = CAROL, 2
    assert other.register(headers=GRUU) == 200
    alice.start_call(gruu(one))
    first(world, other, "INVITE")
    assert not one.agent.requests("INVITE")
    other.disconnect()
    first(world, one, "INVITE")


def test_it_is_a_call_to_the_account(world, alice):
    """Do not disturb and limits count, and it is on record as such."""
    carol = registered(world, "carol", instance=CAROL)
    uri = gruu(carol)
    aor = f"carol@{DOMAIN}"
    world.control.accounts[aor] = replace(world.control.accounts[aor], do_not_disturb=True)
    assert refused(world, alice, uri) == 486
    world.control.accounts[aor] = replace(world.control.accounts[aor], do_not_disturb=False)
    caller = f"alice@{DOMAIN}"
    world.control.accounts[caller] = replace(world.control.accounts[caller], limits=CallLimits(concurrent_calls=0))
    assert refused(world, alice, uri) == 403
    assert not carol.agent.requests("INVITE")
    question = next(one for one in world.control.questions if isinstance(one, RouteQuestion))
    assert question.called == aor


def test_of_another_tenant_it_is_nobodys(world):
    carol = registered(world, "carol", instance=CAROL)
    world.control.add("eve", "pw-eve", "t99")
    eve = registered(world, "eve")
    assert refused(world, eve, gruu(carol)) == 404
    assert refused(world, eve, gruu(carol, "temp")) == 404
    assert not carol.agent.requests("INVITE")


# When they end


def test_a_public_one_waits_for_its_phone(world, alice):
    carol = registered(world, "carol", instance=CAROL)
    registered(world, "carol", "edge-b", BOB, "<sip:carol@10.0.0.77:5060>")
    public, temporary = gruu(carol), gruu(carol, "temp")
    assert carol.register(0) == 200
    assert refused(world, alice, public) == 480
    assert refused(world, alice, temporary) == 404
    assert carol.register(headers=GRUU) == 200
    take(world, alice, carol, public)


def test_a_temporary_one_ends_with_the_call_id_of_its_registration(world, alice):
    carol = registered(world, "carol", instance=CAROL)
    public, temporary = gruu(carol), gruu(carol, "temp")
    carol.agent.call_id = "another"
    assert carol.register(headers=GRUU) == 200
    assert refused(world, alice, temporary) == 404
    take(world, alice, carol, gruu(carol, "temp"))
    carol.agent.received.clear()
    take(world, alice, carol, public)


@pytest.mark.parametrize("user", ["t.AAAA", "t.", "carol", f"t.{'A' * 200}", "t.%00%ff"])
def test_one_that_nobody_made_is_not_found(world, alice, user):
    registered(world, "carol", instance=CAROL)
    assert refused(world, alice, f"sip:{user}@{DOMAIN};gr") == 404


def test_it_is_of_no_use_in_another_domain(world):
    carol = registered(world, "carol", instance=CAROL)
    temporary = gruu(carol, "temp")
    fleet = replace(world.fleet(world.nodes["edge-a"]), domains={DOMAIN: DOMAIN, "other.example": "other.example"})
    assert gruu_of(Uri.parse(temporary), temporary, fleet).aor == f"carol@{DOMAIN}"
    moved = temporary.replace(DOMAIN, "other.example")
    with pytest.raises(Exception, match="404"):
        gruu_of(Uri.parse(moved), moved, fleet)


# In dialogs


def as_contact(phone, uri):
    """From now on the phone gives its GRUU for a Contact."""
    phone.agent.__class__ = type("WithGruu", (type(phone.agent),), {"contact": property(lambda self: f"<{uri}>")})


@pytest.mark.parametrize("kind", ["pub", "temp"])
@pytest.mark.parametrize("edges", [("edge-a", "edge-a"), ("edge-a", "edge-b")])
@pytest.mark.parametrize("dark", [False, True])
def test_requests_in_a_dialog_reach_both_by_their_contacts(world, kind, edges, dark):
    """Some phones know nothing but their Contact (404 to a GRUU of theirs)."""
    alice = registered(world, "alice", edges[0], BOB)
    carol = registered(world, "carol", edges[1], CAROL)
    contact_of = {phone.agent.username: phone.agent.contact.strip("<>") for phone in (alice, carol)}
    for phone in (alice, carol):
        as_contact(phone, gruu(phone, kind))
    invite = alice.start_call(f"sip:carol@{DOMAIN}")
    got = first(world, carol, "INVITE")
    assert got.get("contact") == alice.agent.contact
    ok = carol.agent.response(got, 200)
    carol.send(ok.to_bytes())
    final = world.wait(lambda: alice.agent.final(invite))
    assert final.get("contact") == carol.agent.contact
    mine, theirs = alice.agent.caller_dialog(invite, final), carol.agent.callee_dialog(got, ok)
    world.control.dark = dark
    alice.send(alice.agent.in_dialog(mine, "ACK").to_bytes())
    assert first(world, carol, "ACK").uri == contact_of["carol"]
    for phone, dialog, other in ((carol, theirs, alice), (alice, mine, carol)):
        request = phone.agent.in_dialog(dialog, "INFO")
        phone.send(request.to_bytes())
        arrived = first(world, other, "INFO")
        assert arrived.uri == contact_of[other.agent.username]
        other.send(other.agent.response(arrived, 200).to_bytes())
        assert world.wait(lambda phone=phone, request=request: phone.agent.final(request)).status == 200


@pytest.mark.parametrize("kind", ["pub", "temp"])
def test_a_hidden_caller_stays_so(world, kind):
    alice = registered(world, "alice", "edge-a", BOB)
    carol = registered(world, "carol", "edge-b", CAROL)
    contact = alice.agent.contact.strip("<>")
    shown = gruu(alice, kind)
    as_contact(alice, shown)
    invite = alice.start_call(f"sip:carol@{DOMAIN}", ["Privacy: id"])
    got = first(world, carol, "INVITE")
    text = got.to_bytes().decode()
    assert "alice" not in text
    assert Uri.parse(shown).user not in text
    assert BOB not in text
    ok = carol.agent.response(got, 200)
    carol.send(ok.to_bytes())
    world.wait(lambda: alice.agent.final(invite))
    bye = carol.agent.in_dialog(carol.agent.callee_dialog(got, ok), "BYE")
    carol.send(bye.to_bytes())
    assert first(world, alice, "BYE").uri == contact


@pytest.mark.parametrize("kind", ["pub", "temp"])
def test_a_hidden_callee_stays_so(world, kind):
    alice = registered(world, "alice", "edge-a")
    carol = registered(world, "carol", "edge-b", CAROL)
    contact = carol.agent.contact.strip("<>")
    as_contact(carol, gruu(carol, kind))
    invite = alice.start_call(f"sip:carol@{DOMAIN}")
    got = first(world, carol, "INVITE")
    carol.send(carol.agent.response(got, 200, headers=["Privacy: id"]).to_bytes())
    final = world.wait(lambda: alice.agent.final(invite))
    assert CAROL not in final.get("contact")
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    assert first(world, carol, "ACK").uri == contact


@pytest.mark.parametrize("kind", ["pub", "temp"])
def test_an_attended_transfer_between_phones(world, kind):
    alice, bob = registered(world, "alice"), registered(world, "bob", "edge-b")
    carol = registered(world, "carol", "edge-a", CAROL)
    other = registered(world, "carol", "edge-b", BOB, "<sip:carol@10.0.0.77:5060>")
    with_bob, _ = answered_call(world, alice, bob)
    target = gruu(carol, kind)
    refer_to = f"Refer-To: <{target}?Replaces=abc%3Bto-tag%3D1%3Bfrom-tag%3D2>"
    alice.send(alice.agent.in_dialog(with_bob, "REFER", headers=[refer_to]).to_bytes())
    refer = first(world, bob, "REFER")
    bob.send(bob.agent.response(refer, 202).to_bytes())
    assert refer.get("refer-to") == refer_to.partition(": ")[2]
    bob.start_call(target, ["Replaces: abc;to-tag=1;from-tag=2"])
    assert first(world, carol, "INVITE").get("replaces") == "abc;to-tag=1;from-tag=2"
    assert not other.agent.requests("INVITE")


def test_of_a_phone_that_calls_by_another_connection_too(world):
    """Its token names no binding then."""
    alice = registered(world, "alice", "edge-a", BOB)
    carol = registered(world, "carol", "edge-b")
    contact = alice.agent.contact.strip("<>")
    as_contact(alice, gruu(alice))
    other = world.phone("alice", "edge-b", "TCP")
    other.agent.send = other.send
    as_contact(other, gruu(alice))
    invite = other.start_call(f"sip:carol@{DOMAIN}")
    got = first(world, carol, "INVITE")
    ok = carol.agent.response(got, 200)
    carol.send(ok.to_bytes())
    world.wait(lambda: other.agent.final(invite))
    carol.send(carol.agent.in_dialog(carol.agent.callee_dialog(got, ok), "BYE").to_bytes())
    assert first(world, other, "BYE").uri == contact


def test_a_temporary_one_waits_for_a_browser_that_comes_back(world, alice):
    carol = registered(world, "carol", "edge-b", CAROL, transport="WSS")
    temporary = gruu(carol, "temp")
    carol.disconnect()
    alice.start_call(temporary)
    world.run(1)
    carol.connect()
    assert carol.register(headers=GRUU) == 200
    assert first(world, carol, "INVITE")


def test_a_uri_with_gr_is_another_one_than_without():
    gruu = f"sip:carol@{DOMAIN};gr={CAROL}"
    assert equivalent(gruu, gruu.upper().replace("SIP:CAROL", "sip:carol"))
    assert not equivalent(gruu, f"sip:carol@{DOMAIN}")
    assert not equivalent(gruu, f"sip:carol@{DOMAIN};gr={BOB}")
    assert not equivalent(gruu, f"sip:carol@{DOMAIN};gr")


# Across the border


def with_provider():
    world = World()
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    provider = ProviderDouble(world)
    provider.asks = False
    assign(world, account())
    world.run(2)
    return world, provider


@pytest.mark.parametrize("kind", ["pub", "temp"])
@pytest.mark.parametrize("way", ["out", "in"])
def test_a_provider_sees_none_and_reaches_the_phone(kind, way):
    world, provider = with_provider()
    alice = registered(world, "alice", "edge-b", BOB)
    contact = alice.agent.contact.strip("<>")
    as_contact(alice, gruu(alice, kind))
    call = Outside(world, provider, alice, way)
    assert BOB not in call.theirs.target
    bye = provider.agent.in_dialog(call.theirs, "BYE")
    provider.send(bye.to_bytes())
    assert first(world, alice, "BYE").uri == contact


@pytest.mark.parametrize("replaces", ["", "?Replaces=abc%3Bto-tag%3D1%3Bfrom-tag%3D2"])
def test_a_call_from_outside_is_put_through_to_a_gruu(replaces):
    world, provider = with_provider()
    alice = registered(world, "alice", "edge-b", BOB)
    carol = registered(world, "carol", "edge-b", CAROL)
    other = registered(world, "carol", "edge-a", BOB, "<sip:carol@10.0.0.77:5060>")
    call = Outside(world, provider, alice, "out")
    assert call.refer(f"{gruu(carol)}{replaces}")[1].status == 202
    assert first(world, carol, "INVITE")
    assert not other.agent.requests("INVITE")
    question = next(one for one in world.control.questions if isinstance(one, TransferQuestion))
    assert (question.called, bool(question.instance)) == (f"carol@{DOMAIN}", True)
