"""By ear: a web phone whose microphone is a tone, and phones that know neither ICE nor SRTP."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP, WSS, PhoneAccount
from scripts.processes import wait_for
from tests.browsers.conftest import PLACE, TONE
from tests.support.ears import hear, hear_nothing
from tests.support.kamailio import Kamailio
from tests.support.natlab import WAN
from tests.support.pace import slowness

pytestmark = pytest.mark.natlab

PROVIDER = "sip.voip.test"
FAR = PhoneAccount(f"442079460001@{PROVIDER}", "442079460001", "secret")
ITS_TONE = 700
BACK = 15.0  # seconds


@pytest.fixture(scope="module")
def desk(lab, fleet, tmp_path_factory) -> Iterator[Baresip]:
    """A phone with plain RTP, behind a NAT, at the other edge."""
    place, at = lab.host("phone"), f"{lab.host('edge-b').address}:{SIP}"
    directory = tmp_path_factory.mktemp("desk")
    with Baresip(directory, fleet.accounts["carol"], DOMAIN, at, place, "eth0", 5080, 4440, tone=ITS_TONE) as made:
        assert made.registered()
        yield made


@pytest.fixture(scope="module")
def far(lab, fleet, tmp_path_factory) -> Iterator[Baresip]:
    """A phone at a provider, which calls alice at its number 4420."""
    provider = Kamailio(tmp_path_factory.mktemp("provider"), lab.host("control"), PROVIDER)
    try:
        account = {"name": "voip", "host": provider.host.address, "from_domain": PROVIDER}
        login = {"username": "4420", "password": "secret", "incoming": [f"alice@{DOMAIN}"]}
        fleet.client.api("POST", "/v1/providers", {"tenant": fleet.tenant, **account, **login})
        routes = {"country": "GB", "outbound_routes": [{"providers": ["voip"]}]}
        fleet.client.api("PATCH", f"/v1/tenants/{fleet.tenant}", routes)
        wait_for("the account to be registered", lambda: provider.registrations("4420"), 15)
        place, at = lab.host("caller"), f"{provider.host.address}:{SIP}"
        with Baresip(
            tmp_path_factory.mktemp("far"), FAR, PROVIDER, at, place, "wan", 5120, 4444, tone=ITS_TONE
        ) as made:
            assert made.registered()
            yield made
    finally:
        provider.stop()


def calls(jssip, phone, uri):
    jssip.do("call", uri)
    phone.wait("CALL_INCOMING")
    phone.command("accept")
    jssip.wait("connected")
    phone.wait("CALL_ESTABLISHED")


def is_called(jssip, phone, uri):
    phone.command("dial", uri)
    jssip.wait("rings")
    jssip.do("answer")
    jssip.wait("connected")
    phone.wait("CALL_ESTABLISHED")


def hangs_up(jssip, phone):
    jssip.do("hangUp")
    jssip.wait("ended")
    phone.wait("CALL_CLOSED")


def test_a_desk_phone(jssip, desk):
    """Called and calling; on hold the browser hears nothing."""
    calls(jssip, desk, f"sip:carol@{DOMAIN}")
    hear([(jssip, ITS_TONE), (desk, TONE)])
    hangs_up(jssip, desk)
    is_called(jssip, desk, jssip.uri)
    hear([(jssip, ITS_TONE), (desk, TONE)])
    jssip.do("hold")
    jssip.wait("held")
    hear_nothing([(jssip, ITS_TONE)])
    jssip.do("resume")
    jssip.wait("resumed")
    hear([(jssip, ITS_TONE)])
    hangs_up(jssip, desk)


def test_either_of_two_desk_phones(jssip, desk, lab, fleet, tmp_path):
    """Both ring; whichever answers hears and is heard."""
    place, at = lab.host("phone2"), f"{lab.host('edge-a').address}:{SIP}"
    with Baresip(tmp_path, fleet.accounts["carol"], DOMAIN, at, place, "eth0", 5080, 4440, tone=ITS_TONE) as other:
        assert other.registered()
        for one, silent in ((desk, other), (other, desk)):
            jssip.do("call", f"sip:carol@{DOMAIN}")
            for phone in (one, silent):
                phone.wait("CALL_INCOMING")
            one.command("accept")
            silent.wait("CALL_CLOSED")
            jssip.wait("connected")
            hear([(jssip, ITS_TONE), (one, TONE)])
            hangs_up(jssip, one)


def test_a_provider(jssip, far):
    calls(jssip, far, f"sip:02079460001@{DOMAIN}")
    hear([(jssip, ITS_TONE), (far, TONE)])
    hangs_up(jssip, far)
    is_called(jssip, far, f"sip:4420@{PROVIDER}")
    hear([(jssip, ITS_TONE), (far, TONE)])
    hangs_up(jssip, far)


def test_another_browser(jssip, sipjs):
    jssip.do("call", sipjs.uri)
    sipjs.wait("rings")
    sipjs.do("answer")
    for phone in (jssip, sipjs):
        phone.wait("connected")
    hear([(jssip, TONE), (sipjs, TONE)])
    jssip.do("hangUp")
    for phone in (jssip, sipjs):
        phone.wait("ended")


def test_they_hear_each_other_again_when_the_engine_has_died(fleet, jssip, desk):
    """By themselves: the next engine goes on with the keys, but knows nothing of the browser's ICE."""
    calls(jssip, desk, f"sip:carol@{DOMAIN}")
    jssip.hears()
    begun = time.monotonic()
    for file in fleet.directory.glob("*.state/engines/*.pid"):
        os.kill(int(file.read_text()), signal.SIGKILL)
    jssip.hears()
    heard = time.monotonic() - begun
    jssip.wait("mended", BACK * slowness())
    jssip.hears()
    assert time.monotonic() - begun < BACK * slowness()
    print(f"heard again after {heard:.1f} s, and by a new offer after {time.monotonic() - begun:.1f} s")
    hear([(jssip, ITS_TONE), (desk, TONE)])
    hangs_up(jssip, desk)


_CUT = """
table inet cut {
  chain outgoing { type filter hook output priority 0;
    tcp dport WSS reject with tcp reset
    oifname "wan" meta l4proto udp drop; }
}
"""


def test_a_browser_whose_network_goes_comes_back_by_itself(lab, jssip, desk):
    """Its WebSocket and all its packets are cut; then it has another address. Each time it offers anew."""
    host, both = lab.host(PLACE), [(jssip, ITS_TONE), (desk, TONE)]

    def move(to: str) -> None:
        lab.run(PLACE, "ip", "addr", "flush", "dev", "wan")
        lab.run(PLACE, "ip", "addr", "add", f"{to}/24", "dev", "wan")

    def heard_again(since: float) -> None:
        jssip.wait("mended", BACK * slowness())
        hear(both)
        took = time.monotonic() - since
        print(f"heard again after {took:.1f} s")
        assert took < BACK * slowness()

    calls(jssip, desk, f"sip:carol@{DOMAIN}")
    hear(both)
    lab.run(PLACE, "nft", "-f", "-", text=_CUT.replace("WSS", str(WSS)))
    jssip.wait("disconnected")
    hear_nothing([(desk, TONE)])
    lab.run(PLACE, "nft", "delete", "table", "inet", "cut")
    heard_again(time.monotonic())
    try:
        move(f"{WAN}.21")
        heard_again(time.monotonic())
        hangs_up(jssip, desk)
    finally:
        move(host.address)
