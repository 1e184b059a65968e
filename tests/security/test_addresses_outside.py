"""No address that somebody else names leads inside: not by any spelling, not by a version of Python, not by a port."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from edge.transport.resolver import Resolver
from lambdas.contract.addresses import is_public
from lambdas.hooks.delivering import check
from lambdas.lookups.errors import OutsideError
from lambdas.lookups.outside import Outside
from lambdas.lookups.pages import Pages

INSIDE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("100.64.0.1", "100.127.255.254", "198.18.0.1", "198.19.255.255", "192.88.99.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    # Where clouds tell whoever asks from inside what they know: AWS and most, ECS, Alibaba, Oracle, Azure.
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    *("192.0.0.0", "192.0.0.9", "192.0.0.170", "192.0.0.255"),
]
INSIDE_IPV6 = [
    *("::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "100::1", "5f00::1"),
    *("2001:db8::1", "3fff::1", "2001::1", "2001:2::1", "2001:20::1", "2001:1::1", "4000::1"),
    # What stands for 169.254.169.254 or 10.0.0.1: mapped, compatible, translated, NAT64 (both), 6to4, Teredo.
    *("::ffff:169.254.169.254", "::ffff:a00:1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::169.254.169.254"),
    *("64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::", "2002:a00:1::1", "2001:0:a00:1::"),
    # Mapped and translated public ones are refused as well: nobody needs them.
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "168.63.129.15"),
    *("168.63.129.17", "172.15.255.255", "172.32.0.1", "191.255.255.255", "192.0.1.1", "223.255.255.255"),
]
PUBLIC_IPV6 = ["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1"]


@pytest.fixture(autouse=True)
def nothing_is_allowed(monkeypatch):
    monkeypatch.delenv("SCRIPT_NETWORKS", raising=False)


@pytest.mark.parametrize("text", [*INSIDE, *INSIDE_IPV6])
def test_nothing_inside_is_public(text):
    assert not is_public(ipaddress.ip_address(text))
    with pytest.raises(OutsideError, match="public address") as caught:
        Outside(0.1).address(text)
    assert caught.value.forbidden


@pytest.mark.parametrize("text", [*PUBLIC, *PUBLIC_IPV6])
def test_the_internet_is_public(text):
    assert is_public(ipaddress.ip_address(text))
    assert Outside(0.1).address(text) == text


@pytest.mark.parametrize("text", INSIDE)
def test_providers_are_found_at_public_addresses_only(text):
    found, why = asyncio.run(Resolver(["127.0.0.1:9"]).resolve(text, 5060, "udp"))
    assert (found, "isn't public" in why) == ([], True)


@pytest.mark.parametrize("text", PUBLIC)
def test_providers_on_the_internet_are_found(text):
    assert asyncio.run(Resolver(["127.0.0.1:9"]).resolve(text, 5060, "udp")) == ([("udp", text, 5060)], "")


def test_what_an_operator_allows_is_allowed(monkeypatch):
    monkeypatch.setenv("SCRIPT_NETWORKS", "10.1.0.0/16")
    assert Outside(0.1).address("10.1.2.3") == "10.1.2.3"
    found, _ = asyncio.run(Resolver(["127.0.0.1:9"], ["10.1.0.0/16"]).resolve("10.1.2.3", 5060, "udp"))
    assert found == [("udp", "10.1.2.3", 5060)]


@pytest.mark.parametrize("port", [1, 22, 25, 80, 444, 3306, 5060, 6379, 8080, 65535])
def test_webhooks_knock_at_no_other_services_port(port):
    with pytest.raises(OutsideError, match="443 and 8443") as caught:
        check(f"https://8.8.8.8:{port}/hook", Outside(0.1))
    assert caught.value.forbidden


@pytest.mark.parametrize("place", ["8.8.8.8", "8.8.8.8:443", "8.8.8.8:8443", "[2606:4700:4700::1111]:443"])
def test_webhooks_go_to_the_ports_of_https(place):
    assert check(f"https://{place}/hook", Outside(0.1)) == place.removesuffix(":443").removesuffix(":8443").strip("[]")


@pytest.mark.parametrize("port", [1, 22, 25, 53, 389, 1023])
def test_pages_of_scripts_are_at_no_other_services_port(port):
    with pytest.raises(OutsideError, match="another service's") as caught:
        Pages().get(f"http://8.8.8.8:{port}/", {f"8.8.8.8:{port}"})
    assert caught.value.forbidden
