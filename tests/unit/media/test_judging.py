"""When the media of a call are relayed."""

from __future__ import annotations

import pytest

from edge.media.description import read
from edge.media.judging import FROM_BROWSER, TO_BROWSER, End, Networks, judge
from edge.media.orders import Needs
from tests.support.relayed import WEB, sdp

PUBLIC = Networks(["192.0.2.0/24", "2001:db8::/32"])
HOME = "198.51.100.1"  # of two phones behind one NAT


def end(host=HOME, body=b"", local="", browser=False):
    return End(host, read(body) if body else None, local, browser)


def judged(one, other, policy="auto", one_site=False):
    found = judge(policy, one, other, one_site, PUBLIC.have)
    return found.relay, found.why


@pytest.mark.parametrize(
    ("one", "other", "relay"),
    [
        (sdp(1, "192.168.1.2"), "192.168.1.3", False),
        (sdp(1, "10.0.1.2"), "10.0.200.3", False),
        (sdp(1, "10.0.1.2"), "10.1.1.3", True),  # nobody says that these two are one network
        (sdp(1, "192.168.1.2"), "10.0.0.3", True),
        (sdp(1, HOME), "192.168.1.3", True),
        (sdp(1, "192.168.1.2"), "phone.invalid", True),
        (sdp(1, "192.168.1.2"), "", True),
        (sdp(1, "fd00:1:2::2").replace(b"IP4", b"IP6"), "[fd00:1:2:9::3]", False),
        (sdp(1, "fd00:1:2::2").replace(b"IP4", b"IP6"), "[fd00:1:3::3]", True),
        (b"", "192.168.1.3", True),
    ],
)
def test_one_site_is_one_public_address_and_one_private_network_of_which_the_tenant_says_so(one, other, relay):
    host = HOME if b"fd00" not in one else "2001:db8:1::1"
    why = "nat" if relay else "one-site"
    assert judged(end(host, one), end(host, local=other), one_site=True) == (relay, why)
    assert judged(end(host, one), end(host, local=other)) == (True, "nat")
    elsewhere = "198.51.100.9" if ":" not in host else "2001:db8:2::1"
    assert judged(end(host, one), end(elsewhere, local=other), one_site=True) == (True, "nat")


@pytest.mark.parametrize(
    ("one", "other", "body", "relay"),
    [
        ("192.0.2.1", "192.0.2.2", sdp(1, "192.0.2.1"), False),
        ("192.0.2.1", "192.0.2.2", sdp(1, "10.0.0.9"), True),  # a NAT in a public network
        ("192.0.2.1", HOME, sdp(1, "192.0.2.1"), True),
        (HOME, "192.0.2.2", sdp(1, HOME), True),  # that it names the address it comes from proves nothing
        ("192.0.2.1", "", sdp(1, "192.0.2.1"), True),  # between two providers it isn't known who it will be
    ],
)
def test_public_is_who_is_known_to_be(one, other, body, relay):
    assert judged(end(one, body), end(other)) == (relay, "nat" if relay else "public")


def test_what_is_wanted_counts_before_what_is_known():
    public = end("192.0.2.1", sdp(1, "192.0.2.1")), end("192.0.2.2")
    assert judged(*public, "relay") == (True, "policy")
    assert judged(end(HOME, sdp(1)), end("198.51.100.2"), "direct") == (False, "policy")


def test_two_ends_with_ice_decide_themselves():
    found = judge("auto", end(HOME, WEB, browser=True), end("192.0.2.2", browser=True), False, PUBLIC.have)
    assert found == (True, True, "ice", Needs(ice="force-relay"))
    hidden = judge("relay", end(HOME, WEB, browser=True), end("192.0.2.2", browser=True), False, PUBLIC.have)
    assert hidden == (True, False, "policy", Needs(ice="force"))
    lite = WEB.replace(b"t=0 0", b"t=0 0\r\na=ice-lite")
    assert judged(end(HOME, lite, browser=True), end(browser=True)) == (True, "nat")


@pytest.mark.parametrize("policy", ["auto", "relay", "direct"])
def test_different_profiles_are_bridged_whatever_is_wanted(policy):
    phone, browser = end(HOME, sdp(1)), end("192.0.2.2", WEB, browser=True)
    found = judge(policy, phone, End("192.0.2.2", browser=True), False, PUBLIC.have)
    assert found == (True, False, "profiles", TO_BROWSER._replace(family="IP4"))
    found = judge(policy, browser, End(HOME), False, PUBLIC.have)
    assert found == (True, False, "profiles", FROM_BROWSER._replace(family="IP4"))


def test_a_phone_that_speaks_as_browsers_do_needs_no_bridge():
    assert judged(end(HOME, WEB), end(browser=True)) == (True, "ice")
    assert judged(end(HOME, sdp(1), browser=True), end("192.0.2.2")) == (True, "nat")


@pytest.mark.parametrize("policy", ["auto", "relay", "direct"])
def test_different_families_are_bridged_whatever_is_wanted(policy):
    six = sdp(1, "2001:db8::9").replace(b"IP4", b"IP6")
    found = judge(policy, end("2001:db8::9", six), end("192.0.2.2"), False, PUBLIC.have)
    assert found == (True, False, "families", Needs(family="IP4"))
    found = judge(policy, end("192.0.2.1"), end("2001:db8::9"), False, PUBLIC.have)
    assert found == (True, False, "families", Needs(family="IP6"))


def test_candidates_that_lead_past_the_relay_are_left_out():
    ice = sdp(1, "10.0.0.9", "RTP/AVP", "a=ice-ufrag:x", "a=candidate:1 1 UDP 1 10.0.0.9 5 typ host")
    assert judge("auto", end(HOME, ice), end("192.0.2.2"), False, PUBLIC.have).needs == Needs(ice="remove")


def test_networks():
    assert Networks(["192.0.2.1/24"]).have("192.0.2.200")
    assert not Networks(["192.0.2.0/24"]).have("2001:db8::1")
    assert not Networks(["192.0.2.0/24"]).have("host.invalid")
    assert not Networks().have("192.0.2.1")
