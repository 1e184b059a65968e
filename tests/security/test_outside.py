"""What leaves for outside: never on another tenant's trust, never as a flood."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edge.proxy.stack.events import ProvidersAssigned, ProvidersLocated
from edge.proxy.stack.outside import HeardOutside
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.runtime.provider_locator import ProviderLocator
from edge.transport.resolver import Resolver
from lambdas.calls.budget import MOST_OUTSIDE, Budget
from lambdas.contract import ProviderPlace, may_be_sip
from lambdas.decisions import outbound
from lambdas.decisions.continuation import Continuation
from lambdas.decisions.limits import CallLimits
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.provider_places import ProviderPlaces
from lambdas.decisions.rules import Plan
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

TRUNK = "198.51.100.50"


@pytest.fixture
def world() -> World:
    made = World()
    made.control.settings = TenantSettings("GB", plan="out")
    return made


@pytest.fixture
def alice(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    return phone


def elsewhere(world, host="198.51.100.7", name="elsewhere.test", transport="udp"):
    made = ProviderDouble(world, host, name, transport)
    made.asks = False
    return made


def plan(world, *uris, **more):
    legs = [{"uri": uri} for uri in uris]
    world.control.plans["out"] = Plan.model_validate({"rules": [{"name": "out", "ring": {"legs": legs, **more}}]})


def call(world, phone, seconds=40.0, headers=()):
    """The final status of a call by the plan, and what left for whom meanwhile: (host, port, transport, octets)."""
    sent = world.nodes["edge-a"].sent
    before = len(sent)
    invite = phone.start_call(f"sip:1234567@{DOMAIN}", list(headers))
    world.run(seconds)
    final = phone.agent.final(invite)
    left = [(one.flow.host, one.flow.remote_port, one.flow.transport, len(one.data)) for one in sent[before:]]
    return final.status if final else 0, [one for one in left if one[0] != phone.public[0]]


def others_trunk(world, host=TRUNK):
    """Another tenant is known at ``host`` by where its calls come from."""
    trunk = account("trunk", "t2", host=host, registers=False)
    world.control.places = ProviderPlaces.of(trunk.places)
    return trunk


@pytest.mark.parametrize(
    "uri",
    [
        f"sip:+449098790000@{TRUNK}",
        f"sip:+44909@{TRUNK}:5080",
        "sip:1@Trunk.Example",
        "sip:1@trunk.example.;transport=tcp",
    ],
)
def test_a_plan_calls_nobody_elses_provider(world, alice, uri):
    others_trunk(world, "trunk.example" if "runk" in uri else TRUNK)
    elsewhere(world, TRUNK, "trunk.example")
    elsewhere(world, TRUNK, TRUNK)
    plan(world, uri)
    status, sent = call(world, alice)
    assert (status, sent) == (480, [])
    assert any("a provider of somebody else's" in line for line in world.control.facts.log)


def test_nor_by_a_name_that_leads_to_its_address(world, alice):
    elsewhere(world, TRUNK, "mine.test")
    plan(world, "sip:1@mine.test")
    node = world.nodes["edge-a"]
    node.handle(ProvidersLocated(ProviderAddresses({TRUNK: frozenset({"t2"})}, {})))
    status, sent = call(world, alice)
    assert (status, sent) == (500, [])
    assert node.core.stack.counters["barred_targets"] == 1
    node.handle(ProvidersLocated(ProviderAddresses({TRUNK: frozenset({"t1"})}, {})))  # its own
    assert call(world, alice)[1]


def test_who_has_signed_up_takes_no_host_away_by_claiming_it(world, alice):
    elsewhere(world, name="198.51.100.7")
    plan(world, "sip:1@198.51.100.7")
    claimed = account("mine", "t9", host="198.51.100.7")
    world.control.places = ProviderPlaces.of(claimed.places, {"t1", "t2"})
    assert world.control.places.hosts == ()  # nor do edges learn of it
    assert all(world.control.places.knows(place) for place in claimed.places)  # it isn't noted again
    assert call(world, alice)[1]
    trunk = account("mine", "t9", host="198.51.100.7", registers=False)  # which administration alone can make
    for owner, place in (("t9", trunk), ("t2", account("mine", "t2", host="198.51.100.7"))):
        world.control.places = ProviderPlaces.of({*claimed.places, *place.places}, {"t1", "t2"})
        assert [one.tenants for one in world.control.places.hosts] == [[owner]]
        assert call(world, alice) == (480, [])


def test_an_own_provider_is_not_reached_where_another_is_trusted(world, alice):
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    provider = ProviderDouble(world, TRUNK, "mine.test")
    assign(world, account(host="mine.test"))
    world.run(2)
    node = world.nodes["edge-a"]

    def dialled():
        before = {one.get("call-id") for one in provider.agent.requests("INVITE")}
        alice.start_call(f"sip:02079460000@{DOMAIN}")
        world.run(3)
        return {one.get("call-id") for one in provider.agent.requests("INVITE")} - before

    assert dialled()
    node.handle(ProvidersLocated(ProviderAddresses({TRUNK: frozenset({"t1", "t2"})}, {TRUNK: frozenset({"t2"})})))
    assert not dialled()
    both = frozenset({"t1", "t2"})  # whoever runs the service answers for both
    node.handle(ProvidersLocated(ProviderAddresses({TRUNK: both}, {TRUNK: both})))
    assert dialled()
    # by its name the control plane leaves it out already
    world.control.places = ProviderPlaces.of(account("trunk", "t2", host="mine.test", registers=False).places)
    assert not dialled()
    assert any("others are known there" in line for line in world.control.facts.log)


def test_numbers_in_addresses_are_numbers(world, alice):
    elsewhere(world)
    world.control.settings = replace(
        world.control.settings, limits=CallLimits(blocked_prefixes=("+449",)), account_limits=CallLimits()
    )
    for user in ("+449098790000", "%2B449098790000", "09098790000"):
        plan(world, f"sip:{user}@elsewhere.test")
        assert call(world, alice) == (403, []), user
    plan(world, "sip:+442079460000@elsewhere.test")
    assert call(world, alice)[1]


# How many, and how much


def test_three_addresses_a_call_and_one_for_each_host(world, alice):
    for number in range(5):
        elsewhere(world, f"198.51.100.{100 + number}", f"h{number}.test")
    plan(world, *(f"sip:{user}@h0.test" for user in "abc"), *(f"sip:a@h{number}.test" for number in range(5)))
    _, sent = call(world, alice)
    assert {host for host, *_ in sent} == {"198.51.100.100", "198.51.100.101", "198.51.100.102"}
    assert any("h0.test is called already" in line for line in world.control.facts.log)
    assert any("at most 3 addresses outside" in line for line in world.control.facts.log)


def test_a_script_that_is_asked_again_gets_no_more():
    budget = Budget(lambda: 0.0, 0)
    assert [budget.take_outside(host) for host in ("a.test", "b.test")] == ["", ""]
    again = Continuation.parse(str(Continuation("p", 1, "f", "", 1, budget.outside)))
    assert again is not None
    later = Budget(lambda: 0.0, 0, again.outside)
    assert later.take_outside("c.test") == ""
    assert str(MOST_OUTSIDE) in later.take_outside("d.test")
    assert Continuation.parse("p 1 f 1 alice@example.com") == Continuation("p", 1, "f", "alice@example.com", 1)


def test_who_has_signed_up_calls_nobody_outside(world, alice):
    elsewhere(world)
    world.control.settings = replace(world.control.settings, outside=False)
    plan(world, "sip:1@elsewhere.test")
    assert call(world, alice) == (480, [])
    assert any("may not call addresses outside" in line for line in world.control.facts.log)


def test_ports_of_other_services_are_left_alone(world, alice):
    assert [port for port in (22, 25, 53, 123, 443, 1023, 1024, 5060, 65535) if may_be_sip(port)] == [
        443, 1024, 5060, 65535,
    ]  # fmt: skip
    plan(world, "sip:1@198.51.100.7:53")
    assert call(world, alice) == (480, [])
    world.servers["elsewhere.test"] = [("udp", "198.51.100.7", 53)]  # as an SRV record may say
    plan(world, "sip:1@elsewhere.test")
    assert call(world, alice) == (500, [])


def test_who_never_answered_gets_two_packets(world, alice):
    silent = elsewhere(world)
    silent.silent = True
    world.servers["elsewhere.test"] += [("udp", "198.51.100.8", 5060), ("udp", "198.51.100.9", 5060)]
    plan(world, "sip:1@elsewhere.test")
    status, sent = call(world, alice)
    assert status == 408
    assert [host for host, *_ in sent] == ["198.51.100.7"] * 2
    silent.silent = False
    call(world, alice, 1.0)
    silent.answer(silent.agent.response(silent.agent.requests("INVITE")[-1], 486))
    world.run(1.0)
    silent.silent = True
    assert len(call(world, alice)[1]) > 4  # Timer A as ever


def test_servers_that_answered_are_remembered_within_bounds():
    heard = HeardOutside()
    for number in range(2000):
        heard.note(("udp", f"198.51.{number // 256}.{number % 256}", 5060), 0.0)
    assert len(heard) == 1000
    known = ("udp", "198.51.7.207", 5060)
    assert heard.answers(known, 1.0)
    assert not heard.answers(known, 90_000.0)


def test_what_is_too_long_for_udp_goes_by_tcp_only(world, alice):
    server = elsewhere(world)
    plan(world, "sip:1@elsewhere.test")
    _, sent = call(world, alice, 5.0, [f"Subject: {'x' * 1500}"])
    assert sent
    assert all(transport == "tcp" for _, _, transport, _ in sent)
    (invite, *_) = server.agent.requests("INVITE")
    assert invite.get("via").startswith("SIP/2.0/TCP ")
    assert ";transport=tcp" in invite.get("contact")
    # headers that a plan adds count
    legs = [{"uri": "sip:1@elsewhere.test", "headers": [f"X-N{n}: {'y' * 200}" for n in range(5)]}]
    world.control.plans["out"] = Plan.model_validate({"rules": [{"name": "out", "ring": {"legs": legs}}]})
    _, sent = call(world, alice, 5.0, [f"Subject: {'x' * 300}"])
    assert sent
    assert all(transport == "tcp" for _, _, transport, _ in sent)


@pytest.mark.parametrize(("registers", "transport"), [(True, "udp"), (False, "tcp")])
def test_only_a_registered_provider_keeps_its_transport(world, alice, registers, transport):
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    provider = ProviderDouble(world)
    provider.asks = False
    assign(world, account(registers=registers))
    world.run(2)
    alice.start_call(f"sip:02079460000@{DOMAIN}", [f"Subject: {'x' * 1500}"])
    world.run(2)
    assert {
        one.flow.transport
        for one in world.nodes["edge-a"].sent
        if b"Subject: xxx" in one.data and one.flow.host == provider.place[0]
    } == {transport}


# Who is said to call


def test_a_providers_caller_is_nobody_of_ours():
    assert outbound.named_outside(f"alice@{DOMAIN}", "alice", "GB") == f"sip:alice@{DOMAIN}"
    assert outbound.named_outside("", "alice", "GB") == "sip:anonymous@anonymous.invalid"
    assert outbound.named_outside("", "02079460000", "GB") == "sip:+442079460000@anonymous.invalid;user=phone"
    assert outbound.named_outside("", "*100", "GB") == "sip:anonymous@anonymous.invalid"


# Where the providers are


def test_names_of_providers_are_resolved_and_remembered():
    found = {"sip.one.test": [("udp", "192.0.2.1", 5060)], "192.0.2.9": [("udp", "192.0.2.9", 5060)]}
    places = [
        ProviderPlace(host="sip.one.test", tenants=["t1"]),
        ProviderPlace(
            host="192.0.2.9", tenants=["t1", "t2"], trusting=["t2"], networks=["198.51.100.128/25", "203.0.113.5/32"]
        ),
    ]
    told: list[ProvidersLocated] = []

    class Names(Resolver):
        async def resolve(self, host, port, transport, by_dns):
            return found.get(host, []), "" if host in found else "no answer"

    async def run():
        locator = ProviderLocator(Names(["192.0.2.53"]), lambda: places, told.append)
        await locator.locate()
        del found["sip.one.test"]  # its name servers fail
        await locator.locate()

    asyncio.run(run())
    assert len(told) == 2
    for one in told:
        assert one.addresses.tenants == {"192.0.2.1": {"t1"}, "192.0.2.9": {"t1", "t2"}}
        assert one.addresses.trusting == {"192.0.2.9": {"t2"}}
        for ip in ("192.0.2.9", "198.51.100.128", "198.51.100.255", "203.0.113.5"):
            assert one.addresses.trunks_at(ip) == ["192.0.2.9"], ip
        for ip in ("192.0.2.1", "198.51.100.127", "203.0.113.4", "2001:db8::1"):
            assert one.addresses.trunks_at(ip) == [], ip


# Registrars that never answer


def registers_to(world, host):
    return [one for one in world.nodes["edge-a"].sent if one.flow.host == host and b"REGISTER " in one.data]


def assign_many(world, number, host="sip.voip.test", start=0):
    node = world.nodes["edge-a"]
    made = [
        account(f"voip{n}", host=host, username=f"u{n}", headers=(f"X-Pad: {'p' * 200}",))
        for n in range(start, start + number)
    ]
    node.handle(ProvidersAssigned(node.address, [one.account for one in made], [], True))
    return made


def test_accounts_at_a_silent_registrar_cost_one_accounts_packets(world):
    provider = ProviderDouble(world)
    provider.silent = True
    world.servers["also.test"] = [("udp", *provider.place)]  # by whatever name
    assign_many(world, 50)
    assign_many(world, 50, "also.test", 50)
    world.run(60)
    many = len(registers_to(world, provider.place[0]))
    alone = World()
    lonely = ProviderDouble(alone)
    lonely.silent = True
    assign_many(alone, 1)
    alone.run(60)
    assert 0 < many <= 1.5 * len(registers_to(alone, lonely.place[0]))
    world.run(3600)
    assert len(registers_to(world, provider.place[0])) < 140  # of a hundred accounts in an hour
    # Once it answers all are registered.
    provider.silent = False
    world.run(1900)
    assert world.nodes["edge-a"].core.agent.registered() == 100


def test_a_registrar_that_answers_costs_one_round_trip(world):
    ProviderDouble(world)
    assign_many(world, 200)
    world.run(4)  # a hundred a second, as ever
    assert world.nodes["edge-a"].core.agent.registered() == 200


def test_accounts_made_and_removed_in_turn_gain_nothing(world):
    provider = ProviderDouble(world)
    provider.silent = True
    node = world.nodes["edge-a"]
    for number in range(30):
        (made,) = assign_many(world, 1, start=number)
        world.run(1)
        node.handle(ProvidersAssigned("", [], [made.id]))
        world.run(1)
    assert len(registers_to(world, provider.place[0])) <= 24


def test_a_register_that_is_too_long_for_udp_goes_by_tcp(world):
    provider = ProviderDouble(world)
    node = world.nodes["edge-a"]
    long = account(headers=tuple(f"X-P{n}: {'p' * 280}" for n in range(5)))
    node.handle(ProvidersAssigned(node.address, [long.account], [], True))
    world.run(5)
    sent = registers_to(world, provider.place[0])
    assert {one.flow.transport for one in sent} == {"tcp"}
    assert all(b"Via: SIP/2.0/TCP" in one.data and b";transport=tcp>;expires" in one.data for one in sent)
    assert world.control.reports[-1].server == "tcp:198.51.100.1:5060"


# What comes in by a provider


def test_nobody_has_phones_answer_by_themselves_by_way_of_a_provider(world):
    provider = ProviderDouble(world)
    assign(world, account())
    bob = world.phone("bob")
    assert bob.register() == 200
    world.run(2)
    said = [
        "Answer-Mode: Auto",
        "Priv-Answer-Mode: Auto",
        "Call-Info: <sip:x>;answer-after=0",
        "Alert-Info: <http://x>;info=alert-autoanswer",
    ]
    more = ["Alert-Info: <http://x/ring>", "P-Asserted-Identity: <sip:1@sip.voip.test>"]
    lines = [f"Contact: {provider.agent.contact}", *said, *more]
    provider.send(provider.agent.request("INVITE", provider.contact, headers=lines).to_bytes())
    text = world.wait(lambda: bob.agent.requests("INVITE"))[0].to_bytes().decode()
    assert not [line for line in said if line in text]
    assert not [line for line in more if line not in text]
