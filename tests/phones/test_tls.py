"""Phones by TLS behind a NAT, at edge-a; their peers are outside, at edge-b, by UDP. Linphone and pjsua check what its
certificate is for."""

from __future__ import annotations

import time

import pytest

from scripts.fleet_parts import DOMAIN, SIPS
from tests.natlab.conftest import laboratory
from tests.phones.scenarios import Calls, is_called, is_hung_up, rings
from tests.support.natlab import NatLab
from tests.support.pace import slowness
from tests.support.phones.baresip import Baresip
from tests.support.phones.linphone import Linphone
from tests.support.phones.pjsua import Pjsua

pytestmark = pytest.mark.natlab

EDGE = f"edge-a.{DOMAIN}"
ELSEWHERE = "sip.example.com"  # leads to the same address, and isn't in its certificate


@pytest.fixture(scope="module")
def lab():
    with laboratory(NatLab) as made:
        made.name(dict.fromkeys((EDGE, ELSEWHERE), made.host("edge-a").address))
        yield made


@pytest.fixture(scope="module")
def fleet(lab, tmp_path_factory):
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def make(kind, lab, fleet, directory, edge, user="bob", place="phone"):
    """A phone that has ``edge``, a name or an address, as its outbound proxy."""
    trusted = fleet.ca.path
    return kind(directory, fleet.accounts[user], DOMAIN, lab.host(place), (edge, SIPS), "tls", authority=trusted)


@pytest.fixture(scope="class")
def phone(request, lab, fleet, tmp_path_factory):
    with make(request.cls.kind, lab, fleet, tmp_path_factory.mktemp("phone"), request.cls.edge) as made:
        yield made


class TestLinphone(Calls):
    kind = Linphone
    edge = EDGE


class TestPjsua(Calls):
    kind = Pjsua
    edge = EDGE


class TestBaresip(Calls):
    kind = Baresip
    edge = "203.0.113.11"  # it asks no one for names but DNS
    attended = False


@pytest.mark.parametrize("kind", [Linphone, Pjsua])
def test_another_name_than_the_certificates_is_refused(kind, lab, fleet, tmp_path):
    phone = make(kind, lab, fleet, tmp_path, ELSEWHERE)
    phone.begin()
    try:
        phone.wait("refused")
    finally:
        phone.stop()
    assert not fleet.client.api("GET", f"/v1/accounts/{phone.account.aor}/bindings")


def test_their_edge_starts_anew(lab, fleet, tmp_path, alice, carol):
    """kill -9 in a call each: both calls go on once the phones are back."""
    with (
        make(Pjsua, lab, fleet, tmp_path, EDGE, "bob") as pjsua,
        make(Baresip, lab, fleet, tmp_path, "203.0.113.11", "dave", "phone2") as baresip,
    ):
        calls = [(pjsua, alice, is_called(pjsua, alice), 15), (baresip, carol, is_called(baresip, carol), 60)]
        edge = fleet.edges[0]
        fleet.processes.kill(edge.id)
        fleet.start_edge(edge)
        fleet.wait_ready(edge)
        begun = time.monotonic()
        for phone, peer, dialog, seconds in calls:
            while (answer := peer.ask(dialog, "INVITE", peer.sdp())).status != 200:
                assert time.monotonic() - begun < seconds * slowness(), answer.start_line
                peer.idle(1.0)
            print(f"{type(phone).__name__} is back {time.monotonic() - begun:.1f} s after its edge")
            is_hung_up(phone, peer, dialog)
            rings(phone, peer, 5)
