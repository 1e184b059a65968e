"""Provider accounts where addresses move: Kamailio is the provider, real phones call through it, an edge is killed."""

from __future__ import annotations

import time

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP, PhoneAccount
from scripts.processes import wait_for
from tests.natlab.conftest import laboratory
from tests.natlab.test_takeover import home_again, phone, rings
from tests.support.cloudlab import CloudLab
from tests.support.kamailio import Kamailio
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.natlab

NAME = "sip.voip.test"
FAR = PhoneAccount(f"442079460001@{NAME}", "442079460001", "secret")


@pytest.fixture(scope="module")
def cloud():
    with laboratory(lambda: CloudLab(False)) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(cloud, tmp_path_factory):
    made = cloud.fleet(tmp_path_factory.mktemp("cloud") / "fleet")
    for edge in made.edges:
        edge.settings["provider_networks"] = ["203.0.113.0/24"]
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def provider(cloud, fleet, tmp_path_factory):
    """Kamailio, with an account that is registered there, for calls in to bob and out from everybody."""
    made = Kamailio(tmp_path_factory.mktemp("provider"), cloud.host("control"), NAME)
    try:
        tenant = fleet.client.api("GET", "/v1/tenants")["items"][0]["id"]
        account = {"name": "voip", "host": cloud.host("control").address, "from_domain": NAME, "expires": 3600}
        login = {"username": "4420", "password": "secret", "incoming": [f"bob@{DOMAIN}"]}
        fleet.client.api("POST", "/v1/providers", {"tenant": tenant, **account, **login})
        fleet.client.api(
            "PATCH", f"/v1/tenants/{tenant}", {"country": "GB", "outbound_routes": [{"providers": ["voip"]}]}
        )
        wait_for("the account to be registered", lambda: made.registrations("4420"), 15)
        yield made
    finally:
        made.stop()


def test_baresip_through_our_edges_and_kamailio_to_baresip(cloud, fleet, provider, tmp_path):
    phones = []
    try:
        for index, (account, domain, proxy, place, interface) in enumerate(
            (
                (fleet.accounts["bob"], DOMAIN, cloud.address("edge-b"), "phone", "eth0"),
                (FAR, NAME, cloud.host("control").address, "caller", "wan"),
            )
        ):
            made = Baresip(
                tmp_path,
                account,
                domain,
                f"{proxy}:{SIP}",
                cloud.host(place),
                interface,
                5080 + 10 * index,
                4440 + index,
            )
            phones.append(made.start())
        bob, far = phones
        assert bob.registered()
        assert far.registered()
        for one, other, uri in ((far, bob, f"sip:4420@{NAME}"), (bob, far, f"sip:02079460001@{DOMAIN}")):
            for ends in (one, other):
                one.command("dial", uri)
                other.wait("CALL_INCOMING")
                other.command("accept")
                one.wait("CALL_ESTABLISHED")
                other.wait("CALL_ESTABLISHED")
                ends.command("hangup")
                (other if ends is one else one).wait("CALL_CLOSED")
    finally:
        for made in phones:
            made.stop()


def test_the_provider_notices_nothing_of_a_takeover(cloud, fleet, provider):
    """Calls come in over the old registration at once; the new holder's REGISTER waits for the old one's lease."""
    first = provider.registrations("4420")[-1]
    source = first.source.split(":")[0]
    holder = next(edge for edge in fleet.edges if edge.address == source)
    other = next(edge for edge in fleet.edges if edge is not holder)
    far = SocketPhone(FAR, NAME, cloud.host("caller"), (cloud.host("control").address, SIP))
    with (
        far,
        phone(cloud, fleet, "bob", "phone", other.id) as bob,
        phone(cloud, fleet, "alice", "phone2", holder.id) as alice,
    ):
        assert far.register() == bob.register() == alice.register() == 200
        mine, theirs = call(far, bob, f"sip:4420@{NAME}")
        ours, remote = call(alice, far, f"sip:02079460001@{DOMAIN}")
        before = len(provider.registrations("4420"))
        fleet.processes.kill(holder.id)
        killed = time.monotonic()
        took = rings(far, bob, f"sip:4420@{NAME}", killed)
        print(f"a call in by the provider rings {took:.1f} s after the kill")
        assert took < 10 * slowness()
        # What was answered goes on through the new holder, from either side.
        in_dialog(far, mine, "INVITE", bob)
        in_dialog(bob, theirs, "BYE", far)
        in_dialog(alice, ours, "INVITE", far)
        in_dialog(far, remote, "BYE", alice)
        new = wait_for("a REGISTER of the new holder", lambda: provider.registrations("4420")[before:], 40)[0]
        assert time.monotonic() - killed > 8
        assert (new.contact, new.call_id, new.source) == (first.contact, first.call_id, first.source)
        assert new.cseq > first.cseq
        home_again(fleet, cloud, holder.id)
        call(far, bob, f"sip:4420@{NAME}")
        assert {item.contact for item in provider.registrations("4420")} == {first.contact}
