"""Calls in that name a number instead of the Contact that was registered: of trunks, which know us by our address, and
of providers that write what was dialled, or the user name, into the Request-URI."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack.events import ProvidersAssigned, ProvidersLocated, Received
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.sip.flow import Flow
from lambdas.contract import CallAnswered, CallEnded, IncomingQuestion, ProviderPlace
from lambdas.decisions.provider import TenantSettings, Way
from lambdas.decisions.provider_numbers import in_its_form, spellings
from lambdas.decisions.provider_places import ProviderPlaces
from tests.support.agent import SDP
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

TRUNK, NUMBER = "198.51.100.1", "+442079460111"


@pytest.fixture
def world() -> World:
    made = World()
    made.control.settings = TenantSettings("GB")
    return made


@pytest.fixture
def provider(world) -> ProviderDouble:
    return ProviderDouble(world)


@pytest.fixture
def bob(world):
    phone = world.phone("bob", "edge-b")
    assert phone.register() == 200
    return phone


def locate(world, *ips: str, networks=None):
    """Every edge knows where the trunk of t1 is."""
    for node in world.nodes.values():
        known = {ip: frozenset({"t1"}) for ip in ips}
        hosts = {ip: frozenset({"sip.voip.test"}) for ip in ips}
        node.handle(ProvidersLocated(ProviderAddresses(known, known, hosts, networks or {})))


def trunk(world, numbers=(NUMBER,), **kwargs):
    """An account that isn't registered; calls for its numbers ring bob."""
    made = account(registers=False, numbers=tuple(spellings(numbers, "GB")), **kwargs)
    assign(world, made)
    locate(world, TRUNK)
    return made


def call_in(
    world, provider, uri, edge="edge-a", from_="<sip:+4930123@sip.voip.test>;tag=theirs", method="INVITE", headers=()
):
    lines = [f"Contact: <sip:+4930@{provider.place[0]}:5060>", "Content-Type: application/sdp", *headers]
    invite = provider.agent.request(method, uri, "<sip:somebody@sip.voip.test>", lines, SDP, from_=from_)
    provider.send(invite.to_bytes(), edge)
    return invite


def refusal(world, provider, invite):
    return world.wait(lambda: provider.agent.final(invite))


# Trunks


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize(
    "uri",
    [
        "sip:+442079460111@203.0.113.11",
        "sip:442079460111@203.0.113.12:5060",
        "sip:02079460111@203.0.113.11",
        "sip:%2B44-20-7946-0111;npdi@edge.example.net;user=phone",
        f"sip:+442079460111@{DOMAIN}",
        "sip:+442079460111@sip.voip.test",
    ],
)
def test_a_trunks_call_comes_in_by_its_number_at_any_edge(world, provider, bob, edge, uri):
    trunk(world)
    invite = call_in(world, provider, uri, edge)
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    question = next(one for one in world.control.questions if isinstance(one, IncomingQuestion))
    assert (question.provider, question.places) == ("", ["sip.voip.test"])
    bob.send(bob.agent.response(got, 200).to_bytes())
    final = world.wait(lambda: provider.agent.final(invite))
    assert final.status == 200
    dialog = provider.agent.caller_dialog(invite, final)
    provider.send(provider.agent.in_dialog(dialog, "ACK").to_bytes(), edge)
    world.wait(lambda: bob.agent.requests("ACK"))
    # In the call it may speak from another of its servers.
    other = ProviderDouble(world, "198.51.100.2", "sip2.voip.test")
    locate(world, TRUNK, "198.51.100.2")
    bye = provider.agent.in_dialog(dialog, "BYE")
    other.send(bye.to_bytes(), edge)
    got = world.wait(lambda: bob.agent.requests("BYE"))[0]
    bob.send(bob.agent.response(got, 200).to_bytes())
    world.run(1)
    start = next(report for report in world.control.reports if isinstance(report, CallAnswered))
    assert (start.providers[0], start.tenant, start.caller) == ("t1/voip", "t1", "+4930123@sip.voip.test")
    assert any(isinstance(report, CallEnded) for report in world.control.reports)


def test_from_a_network_of_the_trunk(world, bob):
    trunk(world)
    provider = ProviderDouble(world, "192.0.2.77", "media.voip.test")
    call_in(world, provider, "sip:+442079460111@203.0.113.11")
    world.run(1)
    assert not bob.agent.requests("INVITE")
    locate(
        world,
        TRUNK,
        networks={(False, 8): {0xC00002: frozenset({"sip.voip.test"})}, (False, 0): {1: frozenset({"other"})}},
    )
    call_in(world, provider, "sip:+442079460111@203.0.113.11")
    world.wait(lambda: bob.agent.requests("INVITE"))


def test_what_nobody_has_is_404_and_told(world, provider, bob):
    trunk(world)
    for uri in ("sip:+442079460112@203.0.113.11", "sip:442079460@203.0.113.11"):
        assert refusal(world, provider, call_in(world, provider, uri)).status == 404
    assert world.control.unknown == ["442079460112", "442079460"]
    assert not bob.agent.requests("INVITE")
    assert world.nodes["edge-a"].core.stack.counters["unknown_numbers"] == 2


def test_a_stranger_elsewhere_costs_nothing(world, bob):
    trunk(world)
    stranger = ProviderDouble(world, "198.51.100.66", "stranger.test")
    asked = len(world.control.questions)
    invite = call_in(world, stranger, "sip:+442079460111@203.0.113.11")
    assert refusal(world, stranger, invite).status in (403, 404)
    assert len(world.control.questions) == asked


def test_who_guesses_numbers_from_a_trunks_address_is_slowed_and_its_calls_are_not(world, provider, bob):
    trunk(world)
    known = call_in(world, provider, "sip:+442079460111@203.0.113.11")
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    bob.send(bob.agent.response(got, 486).to_bytes())
    assert refusal(world, provider, known).status == 486
    before = len(world.control.questions)
    for number in range(200):
        call_in(world, provider, f"sip:+4420794602{number:02}@203.0.113.11")
    world.run(1)
    assert len(world.control.questions) - before <= 25
    call_in(world, provider, "sip:+442079460111@203.0.113.11")
    world.wait(lambda: bob.agent.requests("INVITE")[1:])


def test_a_phone_at_the_trunks_address_is_a_phone(world, provider, bob):
    """A PBX, and the phones of the same office."""
    trunk(world)
    own = f"<sip:alice@{DOMAIN}>;tag=x"
    invite = call_in(world, provider, f"sip:+442079460111@{DOMAIN}", from_=own)
    assert refusal(world, provider, invite).status == 407
    signed = ['Proxy-Authorization: Digest username="alice", realm="r", nonce="n", uri="sip:x", response="0"']
    invite = call_in(world, provider, f"sip:+442079460111@{DOMAIN}", headers=signed)
    assert refusal(world, provider, invite).status != 200
    assert not bob.agent.requests("INVITE")


def test_a_trunk_may_ask_whether_we_are_there_and_nothing_else(world, provider, bob):
    trunk(world)
    asked = len(world.control.questions)
    for uri in ("sip:203.0.113.11", "sip:ping@203.0.113.11"):
        assert refusal(world, provider, call_in(world, provider, uri, method="OPTIONS")).status == 200
    for method in ("SUBSCRIBE", "PUBLISH"):
        invite = call_in(world, provider, "sip:+442079460111@203.0.113.11", method=method)
        assert refusal(world, provider, invite).status == 405
    assert len(world.control.questions) == asked


def test_a_trunks_calls_come_in_without_control_plane(world, provider, bob):
    trunk(world)
    first = call_in(world, provider, "sip:+442079460111@203.0.113.11")
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    bob.send(bob.agent.response(got, 486).to_bytes())
    refusal(world, provider, first)
    world.control.dark = True
    call_in(world, provider, "sip:+442079460111@203.0.113.11")
    got = world.wait(lambda: bob.agent.requests("INVITE")[1:])[0]
    other = call_in(world, provider, "sip:+442079460112@203.0.113.11")
    assert refusal(world, provider, other).status == 503


def test_a_ban_is_not_for_a_trunks_calls(world, provider, bob):
    trunk(world)
    invite = provider.agent.request("INVITE", "sip:+442079460111@203.0.113.11", "<sip:x@y>", [], SDP)
    node = world.nodes["edge-a"]
    flow = Flow(node.address, 5060, "udp", *provider.place)
    node.handle(Received(flow, invite.to_bytes(), banned=True))
    world.wait(lambda: bob.agent.requests("INVITE"))


def test_what_was_decided_for_a_trunk_goes_with_its_account(world, provider, bob):
    trunk(world)
    invite = call_in(world, provider, "sip:+442079460111@203.0.113.11")
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    bob.send(bob.agent.response(got, 486).to_bytes())
    refusal(world, provider, invite)
    kept = world.nodes["edge-a"].core.kept_routes
    assert len(kept) == 1
    kept.forget(provider="t1/another")
    assert len(kept) == 1
    kept.forget(provider="t1/voip")
    assert len(kept) == 0


def test_a_disabled_trunk_has_no_number(world, provider, bob):
    trunk(world, enabled=False)
    assert refusal(world, provider, call_in(world, provider, "sip:+442079460111@203.0.113.11")).status == 404


# Registered accounts


@pytest.mark.parametrize(
    "uri",
    [
        "sip:4420@203.0.113.11:5060",  # the user name
        "sip:+442079460111@203.0.113.11",
        "sip:02079460111@sip.voip.test",
        "sip:%63ontactvoip@10.1.1.1:40123;x=y",  # the Contact, as the registrar has seen it
    ],
)
def test_a_registered_accounts_number_and_user_name_stand_for_its_contact(world, provider, bob, uri):
    assign(world, account(numbers=tuple(spellings([NUMBER], "GB"))))
    world.run(2)
    invite = call_in(world, provider, uri)
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    bob.send(bob.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(invite)).status == 200


def test_only_at_the_address_that_is_registered_and_from_the_provider(world, provider, bob):
    assign(world, account())
    world.run(2)
    world.nodes["edge-b"].handle(ProvidersAssigned(world.nodes["edge-b"].address, [], [], True))
    stranger = ProviderDouble(world, "198.51.100.66", "stranger.test")
    for who, edge in ((provider, "edge-b"), (stranger, "edge-a")):
        invite = call_in(world, who, f"sip:4420@{world.nodes[edge].address}", edge)
        assert refusal(world, who, invite).status in (403, 404)
    assert not bob.agent.requests("INVITE")


def test_a_user_name_that_the_provider_has_not_taken_is_nobodys(world, provider, bob):
    provider.password = "another"
    assign(world, account())
    world.run(2)
    invite = call_in(world, provider, "sip:4420@203.0.113.11:5060")
    assert refusal(world, provider, invite).status == 404
    assert not bob.agent.requests("INVITE")


def test_who_says_that_anothers_user_name_is_his_gets_nothing(world, provider, bob):
    """Two tenants at one provider and one address; the second doesn't know the password."""
    mine = account()
    assign(world, mine)
    world.run(2)
    theirs = account("thief", "t2", password="guess", incoming=(), numbers=("442079460111",))
    node = world.nodes["edge-a"]
    node.handle(ProvidersAssigned(node.address, [mine.account, theirs.account], [], True))
    world.control.ways["thief"] = replace(world.control.ways["voip"], provider=theirs)
    world.run(2)
    call_in(world, provider, "sip:4420@203.0.113.11:5060")
    world.wait(lambda: bob.agent.requests("INVITE"))
    invite = call_in(world, provider, "sip:+442079460111@203.0.113.11:5060")
    assert refusal(world, provider, invite).status == 404


def test_what_two_tenants_have_proven_is_nobodys(world, provider, bob):
    both = [account(), account("second", "t2")]
    node = world.nodes["edge-a"]
    for one in both:
        assign(world, one)
    node.handle(ProvidersAssigned(node.address, [one.account for one in both], [], True))
    world.run(3)
    invite = call_in(world, provider, "sip:4420@203.0.113.11:5060")
    assert refusal(world, provider, invite).status == 404
    assign(world, replace(both[1], enabled=False, version=2))
    world.run(2)
    call_in(world, provider, "sip:4420@203.0.113.11:5060")
    world.wait(lambda: bob.agent.requests("INVITE"))


def thief(world, **changes):
    """An account of t2, registered at a server of its own, that says that the provider's address is its own, too."""
    fake = ProviderDouble(world, "198.51.100.90", "sip.fake.test")
    made = account("thief", "t2", host="sip.fake.test", incoming=("carol@example.com",), call_id="thiefs", **changes)
    node = world.nodes["edge-a"]
    world.control.ways["thief"] = Way(made, node.address, {"udp": 5060}, registered=True)
    node.handle(ProvidersAssigned(node.address, [made.account], [], True))
    world.run(2)
    assert fake.registers
    return made


def test_a_registrar_of_ones_own_proves_nothing_about_anothers_addresses(world, provider, bob):
    """A tenant may name any network as its sources, have its host's name lead anywhere, and accept any user name."""
    assign(world, account())
    thief(world, sources=("198.51.100.0/24",))
    call_in(world, provider, "sip:4420@203.0.113.11")
    world.wait(lambda: bob.agent.requests("INVITE"))
    # Nor where the other one's registration is elsewhere, but known to be at that address.
    world.nodes["edge-a"].handle(ProvidersLocated(ProviderAddresses({TRUNK: frozenset({"t1"})}, {TRUNK: frozenset()})))
    assign(world, account(enabled=False, version=2))
    world.run(2)
    invite = call_in(world, provider, "sip:4420@203.0.113.11")
    assert refusal(world, provider, invite).status == 404


def test_a_trunks_number_counts_for_more_than_what_others_say(world, provider, bob):
    trunk(world)
    thief(world, sources=("198.51.100.0/24",), numbers=("442079460111",))
    world.nodes["edge-a"].handle(  # even if its own name led there, and the server had accepted it
        ProvidersLocated(ProviderAddresses({}, {}, {TRUNK: frozenset({"sip.voip.test"})}))
    )
    call_in(world, provider, "sip:+442079460111@203.0.113.11")
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    assert world.control.questions[-1].provider == "t2/thief"
    bob.send(bob.agent.response(got, 200).to_bytes())
    world.run(1)
    start = next(report for report in world.control.reports if isinstance(report, CallAnswered))
    assert start.providers[0] == "t1/voip"


def test_a_trunks_number_that_nobody_answers_is_known_all_the_same(world, provider):
    trunk(world)
    world.phone("bob", "edge-b")
    for _ in range(100):
        assert refusal(world, provider, call_in(world, provider, "sip:+442079460111@203.0.113.11")).status == 480
    assert world.nodes["edge-a"].core.stack.counters["unknown_numbers"] == 0


def test_numbers_change_with_the_account(world, provider, bob):
    assign(world, account(numbers=("442079460111",)))
    world.run(2)
    assign(world, account(numbers=("442079460222",), version=2))
    world.run(2)
    invite = call_in(world, provider, "sip:+442079460111@203.0.113.11:5060")
    assert refusal(world, provider, invite).status == 404
    call_in(world, provider, "sip:+442079460222@203.0.113.11:5060")
    world.wait(lambda: bob.agent.requests("INVITE"))


# What numbers are called


@pytest.mark.parametrize(
    ("text", "country", "form", "spelt"),
    [
        ("+442079460111", "GB", "+442079460111", {"442079460111", "02079460111"}),
        ("020 7946 0111", "GB", "+442079460111", {"442079460111", "02079460111"}),
        ("+442079460111", "", "+442079460111", {"442079460111"}),
        ("+442079460111", "DE", "+442079460111", {"442079460111", "00442079460111"}),
        ("+12025550123", "US", "+12025550123", {"12025550123", "2025550123"}),
        ("442079460111", "", "442079460111", {"442079460111"}),
        ("trunk_1", "GB", "trunk_1", {"trunk_1"}),
        ("1001", "GB", "1001", {"1001"}),
    ],
)
def test_spellings(text, country, form, spelt):
    assert in_its_form(text, country) == form
    assert set(spellings([in_its_form(text, country)], country)) == spelt


def test_where_trunks_are_is_told_by_host_and_network():
    made = account(registers=False, sources=("192.0.2.0/24", "10.0.0.0/8"), outbound_proxy="proxy.voip.test:5080")
    places = ProviderPlaces.of(made.places, established=())
    assert [(one.host, one.networks) for one in places.hosts] == [
        ("proxy.voip.test", []),
        ("sip.voip.test", ["192.0.2.0/24"]),  # not half of the world
    ]
    assert isinstance(places.hosts[0], ProviderPlace)
    registered = account(sources=("192.0.2.0/24",))
    assert all(not one.networks for one in ProviderPlaces.of(registered.places).hosts)
