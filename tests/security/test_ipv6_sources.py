"""IPv6: whoever has a network of his own has countless addresses, and counts as one."""

from __future__ import annotations

import asyncio

import pytest

from edge.providers.agent import _comes_from
from edge.providers.sdp import published
from edge.proxy.registrar.expiries import DURABLE, GrantedTimes
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.runtime.bans import Bans
from edge.runtime.provider_locator import ProviderLocator
from edge.sip.flow import Flow
from edge.sip.flow import source_of as source_at_edge
from edge.transport.resolver import Resolver
from lambdas.api.edges.heartbeats import _without_ipv6
from lambdas.api.edges.registrations import _for
from lambdas.api.provisioning.common import network_of
from lambdas.contract import EdgePlace, ProviderPlace, ProvidersRequest
from lambdas.contract.addresses import source_of
from lambdas.decisions.abuse import BAN_AFTER
from lambdas.decisions.provider_places import too_wide
from lambdas.services import suspension
from lambdas.services.suspension import Failure, failed
from tests.security.test_bans import Told
from tests.support.provider import account

HOME = "2001:db8:1:100::/56"


def test_a_guesser_with_a_network_of_his_own_is_banned_with_all_of_it():
    told = Told()
    services = told.services()
    for number in range(BAN_AFTER):
        failed(Failure(f"u{number}@example.com", f"2001:db8:1:1{number:02x}:{number}::1", 1000.0), services)
    assert [what for kind, what in told.written if kind == "ban"] == [HOME]
    assert {what for kind, what in told.written if kind == "source"} == {HOME}


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:1ff:ffff::1", HOME),
        (HOME, HOME),
        ("2001:db8:1:200::1", "2001:db8:1:200::/56"),
    ],
)
def test_what_counts_as_one_source(host, source):
    assert source_of(host) == source
    if "/" not in host:
        assert source_at_edge(host) == source.partition("/")[0]


def test_bans_hold_for_both_kinds_of_addresses():
    bans = Bans()
    assert not bans
    bans.replace([HOME, "2001:db8:2::7", "192.0.2.0/24"])
    for host in ("2001:db8:1:1ff::9", "2001:db8:2::7", "192.0.2.200"):
        assert host in bans, host
    for host in ("2001:db8:1:200::9", "2001:db8:2::8", "192.0.3.1", "::c000:2c8"):
        assert host not in bans, host
    bans.replace(["2001:db8::/32"])
    assert bans
    assert "2001:db8:ffff::1" in bans
    assert "192.0.2.200" not in bans
    bans.replace([])
    assert not bans


def test_an_edges_ipv6_side_is_spared():
    told = Told(sides=[EdgePlace(address="203.0.113.11", address6="2001:db8::11")])
    assert suspension.spared("2001:db8::/32", told.services()) == "2001:db8::11 is an edge's own address"
    assert not suspension.spared("2001:db8:1::/48", told.services())


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("2001:DB8:0::7", "2001:db8::7"),
        ("2001:db8::7/128", "2001:db8::7"),
        (HOME, HOME),
        ("2001::/16", "2001::/16"),
        ("192.0.2.7/32", "192.0.2.7"),
    ],
)
def test_a_ban_is_known_by_one_spelling(text, network):
    assert network_of(text) == network


@pytest.mark.parametrize("text", ["::/0", "2000::/3", "2001:db8::7/56", "fe80::1%eth0/64", "10.0.0.0/7"])
def test_a_slip_of_the_finger_bans_nobody(text):
    with pytest.raises(ValueError, match=r"network|host bits|not|Unexpected"):
        network_of(text)


def test_phones_in_ipv6_networks_without_a_nat_get_what_they_ask_for():
    times = GrantedTimes(["2001:db8:1::/48", "192.0.2.0/24"])
    inside, outside = (Flow("203.0.113.11", 5060, "udp", host, 5060) for host in ("2001:db8:1:2::3", "2001:db8:2::3"))
    assert times.granted(7200, inside, "b", outbound=False) == DURABLE
    assert times.granted(7200, outside, "b", outbound=False) < 150


def test_a_trunks_networks_are_of_either_kind():
    places = [
        ProviderPlace(
            host="sip.voip.test", transport="udp", tenants=["t1"], trusting=["t1"], networks=[HOME, "198.51.100.0/25"]
        )
    ]
    told: list[ProviderAddresses] = []

    class Names(Resolver):
        async def resolve(self, host, port, transport, by_dns):
            return [("udp", "2001:db8:9::1", 5060)], ""

    locator = ProviderLocator(Names(["192.0.2.53"]), lambda: places, lambda event: told.append(event.addresses))
    asyncio.run(locator.locate())
    for ip in ("2001:db8:9::1", "2001:db8:1:1ff::5", "198.51.100.127"):
        assert told[0].trunks_at(ip) == ["sip.voip.test"], ip
    for ip in ("2001:db8:9::2", "2001:db8:1:200::5", "198.51.100.128"):
        assert told[0].trunks_at(ip) == [], ip


def test_an_accounts_sources_are_of_either_kind():
    class Registrant:
        sources: tuple[str, ...] = ()
        account = account(sources=["198.51.100.0/24", HOME])

    for ip, comes in {
        "2001:db8:1:100::9": True,
        "2001:db8:2::9": False,
        "198.51.100.9": True,
        "192.0.2.1": False,
    }.items():
        assert _comes_from(Registrant(), ip) is comes, ip  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "wide"), [("2001:db8::/32", False), ("2001::/31", True), ("10.0.0.0/16", False), ("10.0.0.0/15", True)]
)
def test_how_wide_a_network_of_a_trunk_may_be(network, wide):
    assert too_wide(network) is wide


def test_edges_that_cannot_read_ipv6_are_not_told_of_it():
    place = ProviderPlace(host="h", transport="udp", tenants=[], trusting=["t1"], networks=[HOME, "198.51.100.0/25"])
    assert _without_ipv6(place).networks == ["198.51.100.0/25"]
    made = account(sources=[HOME, "198.51.100.0/25"]).account
    asked = {"address": "203.0.113.11", "epoch": 1, "ports": {}}
    assert _for(ProvidersRequest(version=8, **asked), made).sources == ["198.51.100.0/25"]
    assert _for(ProvidersRequest(version=9, **asked), made).sources == [HOME, "198.51.100.0/25"]


@pytest.mark.parametrize(
    ("line", "public", "seen"),
    [
        (b"c=IN IP4 10.0.0.9", "192.0.2.1", b"c=IN IP4 192.0.2.1"),
        (b"c=IN IP4 10.0.0.9", "2001:4860::1", b"c=IN IP6 2001:4860::1"),  # it has both, and calls by the other
        (b"c=IN IP6 fd00::9", "192.0.2.1", b"c=IN IP4 192.0.2.1"),  # it reaches us through a NAT64
        (b"c=IN IP6 2001:4860::9", "2001:4860::1", b"c=IN IP6 2001:4860::9"),
        (b"o=- 1 1 IN IP6 fd00::9", "192.0.2.1", b"o=- 1 1 IN IP4 192.0.2.1"),
        (b"a=rtcp:4001 IN IP6 fd00::9", "2001:4860::1", b"a=rtcp:4001 IN IP6 2001:4860::1"),
        (b"a=rtcp:4001", "2001:4860::1", b"a=rtcp:4001"),
    ],
)
def test_a_provider_sees_no_private_address_of_either_kind(line, public, seen):
    body = b"v=0\r\n" + line + b"\r\n"
    assert published(body, "application/sdp", public)[0] == b"v=0\r\n" + seen + b"\r\n"
