"""RFC 3263 as a client, against a name server on loopback."""

from __future__ import annotations

import asyncio
import time

import pytest

from edge.transport import resolver as module
from edge.transport.resolver import Resolver
from tests.support.dns_server import DnsServer

HOST = "voip.test"
ONE, TWO, SIX, SIX2 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"
ALLOWED = ["192.0.2.0/24", "2001:db8::/32"]  # both are for documentation


@pytest.fixture
def dns():
    server = DnsServer("127.0.0.1")
    server.records = {("one.test", "A"): [ONE], ("two.test", "A"): [TWO]}
    yield server
    server.close()


def find(dns, host=HOST, port=0, transport="udp", by_dns=False, ipv6=True, allowed=ALLOWED):
    return asyncio.run(Resolver([dns.address], allowed).resolve(host, port, transport, by_dns, ipv6))


@pytest.mark.parametrize(
    ("transport", "service", "port"),
    [("udp", "_sip._udp", 5060), ("tcp", "_sip._tcp", 5060), ("tls", "_sips._tcp", 5061)],
)
def test_a_transport_that_is_said_has_its_own_srv_records_and_port(dns, transport, service, port):
    dns.records[HOST, "NAPTR"] = ['10 10 "s" "SIPS+D2T" "" _other.voip.test.']
    dns.records[HOST, "A"] = [TWO]
    assert find(dns, transport=transport) == ([(transport, TWO, port)], "")
    dns.records[f"{service}.{HOST}", "SRV"] = ["20 1 5070 two.test.", "10 1 5080 one.test."]
    assert find(dns, transport=transport) == ([(transport, ONE, 5080), (transport, TWO, 5070)], "")
    assert (HOST, "NAPTR") not in dns.asked
    assert find(dns, port=5090, transport=transport) == ([(transport, TWO, 5090)], "")


NAPTR = {
    "tls": '50 50 "s" "SIPS+D2T" "" _sips._tcp.voip.test.',
    "tcp": '90 50 "s" "SIP+D2T" "" _sip._tcp.voip.test.',
    "udp": '100 50 "s" "SIP+D2U" "" _sip._udp.voip.test.',
    "sctp": '10 50 "s" "SIP+D2S" "" _sip._sctp.voip.test.',
    "ws": '10 60 "s" "SIP+D2W" "" _sip._ws.voip.test.',
    "regexp": '10 70 "u" "SIP+D2U" "!^.*$!sip:x@evil.test!" .',
}
SRV = {
    ("_sips._tcp.voip.test", "SRV"): ["10 1 5061 one.test."],
    ("_sip._tcp.voip.test", "SRV"): ["10 1 5062 one.test."],
    ("_sip._udp.voip.test", "SRV"): ["10 1 5063 one.test."],
}


@pytest.mark.parametrize(
    ("has", "wanted"),
    [
        (list(NAPTR), [("tls", ONE, 5061)]),
        (["sctp", "udp", "tcp"], [("tcp", ONE, 5062)]),
        (["udp", "ws"], [("udp", ONE, 5063)]),
        (["sctp", "regexp"], [("tls", ONE, 5061)]),  # none that both have: as without
        ([], [("tls", ONE, 5061)]),
    ],
)
def test_naptr_says_by_what(dns, has, wanted):
    dns.records |= {(HOST, "NAPTR"): [NAPTR[name] for name in has], **SRV}
    assert find(dns, by_dns=True) == (wanted, "")


def test_preference_counts_among_equal_orders(dns):
    dns.records |= {(HOST, "NAPTR"): ['10 90 "S" "SIPS+D2T" "" a.test.', '10 20 "s" "sip+d2t" "" b.test.']}
    dns.records |= {("a.test", "SRV"): ["1 1 5061 one.test."], ("b.test", "SRV"): ["1 1 5060 two.test."]}
    assert find(dns, by_dns=True) == ([("tcp", TWO, 5060)], "")


def test_one_transport_is_chosen_and_not_fallen_back_from(dns):
    dns.records |= {(HOST, "NAPTR"): [NAPTR["tls"], NAPTR["udp"]], **SRV}
    found, _ = find(dns, by_dns=True)
    assert {transport for transport, _, _ in found} == {"tls"}
    del dns.records["_sips._tcp.voip.test", "SRV"]  # it leads nowhere
    assert find(dns, by_dns=True) == ([("udp", ONE, 5063)], "")


@pytest.mark.parametrize(
    ("srv", "wanted"),
    [
        (["_sip._tcp", "_sip._udp"], ("tcp", ONE, 5062)),
        (["_sip._udp"], ("udp", ONE, 5063)),
        ([], ("udp", TWO, 5060)),
    ],
)
def test_without_naptr_the_srv_records_say_it(dns, srv, wanted):
    dns.records |= {key: value for key, value in SRV.items() if key[0].removesuffix(f".{HOST}") in srv}
    dns.records[HOST, "A"] = [TWO]
    assert find(dns, by_dns=True) == ([wanted], "")


@pytest.mark.parametrize(("host", "port", "wanted"), [(ONE, 0, 5060), (f"[{SIX}]", 0, 5060), (f"[{SIX}]", 5070, 5070)])
def test_an_address_is_nothing_to_ask_about(dns, host, port, wanted):
    assert find(dns, host, port, by_dns=True) == ([("udp", host.strip("[]"), wanted)], "")
    assert find(dns, host, port, "tls")[0] == [("tls", host.strip("[]"), port or 5061)]
    assert not dns.asked


def test_both_families_take_turns(dns):
    dns.records |= {(HOST, "AAAA"): [SIX, SIX2], (HOST, "A"): [ONE]}
    found = [ip for _, ip, _ in find(dns, port=5060)[0]]
    assert [":" in ip for ip in found] == [True, False, True]
    assert sorted(found) == sorted([SIX, SIX2, ONE])  # a server gives records of one kind in any order
    assert [ip for _, ip, _ in find(dns, port=5060, ipv6=False)[0]] == [ONE]
    del dns.records[HOST, "A"]
    found, why = find(dns, port=5060, ipv6=False)
    assert (found, why) == ([], "voip.test has IPv6 addresses only, and this edge address has no IPv6 side")


@pytest.mark.parametrize(
    "address", ["::1", "fd00::1", "fe80::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:db8::1"]
)
def test_nothing_but_the_internet_is_a_provider_by_ipv6_either(dns, address):
    dns.records[HOST, "AAAA"] = [address]
    for host in (HOST, f"[{address}]"):
        found, why = find(dns, host, 5060, allowed=["10.0.0.0/8"])
        assert (found, "isn't public" in why) == ([], True)
    dns.records[HOST, "A"] = ["8.8.8.8"]
    assert find(dns, port=5060, allowed=[])[0] == [("udp", "8.8.8.8", 5060)]


def test_a_network_of_ones_own_may_be_allowed(dns):
    dns.records[HOST, "AAAA"] = ["fd00:1::5"]
    assert find(dns, port=5060, allowed=["fd00:1::/64"])[0] == [("udp", "fd00:1::5", 5060)]


def test_one_server_that_cannot_be_found_does_not_take_the_others_along(dns):
    dns.records[f"_sip._udp.{HOST}", "SRV"] = ["1 1 5060 gone.test.", "2 1 5060 loop.test.", "3 1 5060 one.test."]
    dns.records |= {("loop.test", "CNAME"): ["pool.test."], ("pool.test", "CNAME"): ["loop.test."]}
    assert find(dns) == ([("udp", ONE, 5060)], "")


def test_aliases_are_followed_but_not_in_a_circle(dns):
    dns.records |= {("alias.test", "CNAME"): ["one.test."], ("loop.test", "CNAME"): ["loop.test."]}
    assert find(dns, "alias.test", 5060)[0] == [("udp", ONE, 5060)]
    found, why = find(dns, "loop.test", 5060)
    assert (found, "can't be resolved" in why) == ([], True)


@pytest.mark.parametrize("by_dns", [False, True])
def test_a_host_may_say_that_it_has_no_such_service(dns, by_dns):
    dns.records[f"_sip._udp.{HOST}", "SRV"] = ["0 0 0 ."]
    found, why = find(dns, by_dns=by_dns)
    assert (found, why) == ([], "voip.test has no address")


def test_however_many_there_are_few_are_tried(dns):
    dns.records[f"_sip._udp.{HOST}", "SRV"] = [f"{number} 1 5060 many.test." for number in range(30)]
    dns.records["many.test", "A"] = [f"192.0.2.{number}" for number in range(1, 40)]
    assert len(find(dns)[0]) == 8


def test_silence_ends_in_time(dns, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    dns.silent = True
    begun = time.monotonic()
    found, why = find(dns, by_dns=True)
    assert (found, "can't be resolved" in why) == ([], True)
    assert time.monotonic() - begun < 2
