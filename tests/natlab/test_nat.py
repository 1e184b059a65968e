"""The seed's hardest problem, in a real NAT: a call that enters at edge B leaves through edge A's registered socket."""

from __future__ import annotations

import socket

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP
from scripts.processes import in_namespace
from tests.support.ears import hear, hear_nothing
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.natlab

TONES = {"alice": 450, "bob": 700}  # Hz


def phone(lab, fleet, user, place, edge, transport="UDP"):
    return SocketPhone(fleet.accounts[user], DOMAIN, lab.host(place), (lab.host(edge).address, SIP), transport)


def hang_up_from_both_sides(caller, callee, uri):
    for one, other, side in ((caller, callee, 0), (callee, caller, 1)):
        dialogs = call(caller, callee, uri)
        in_dialog(one, dialogs[side], "INVITE", other)
        in_dialog(one, dialogs[side], "BYE", other)


def test_the_laboratory_is_honest(lab, fleet):
    """A packet from edge B straight to the phone's public mapping is dropped, and counted; from edge A it passes."""
    with phone(lab, fleet, "bob", "phone", "edge-a") as bob:
        assert bob.register() == 200
        public = ("203.0.113.10", lab.public_port("phone", "edge-a"))
        before = lab.dropped()

        def stray():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((lab.host("edge-b").address, 0))
                sock.sendto(b"OPTIONS sip:bob@10.77.0.2 SIP/2.0\r\n\r\n", public)

        in_namespace(lab.ns("edge-b"), stray)
        bob.idle(1)
        assert lab.dropped() > before
        assert not bob.agent.received[2:]


def test_calls_through_the_other_edge_at_once_and_after_two_minutes(lab, fleet):
    with (
        phone(lab, fleet, "alice", "caller", "edge-b") as alice,
        phone(lab, fleet, "bob", "phone", "edge-a") as bob,
        phone(lab, fleet, "carol", "phone2", "edge-a") as carol,
    ):
        for one in (alice, bob, carol):
            assert one.register() == 200
        before = fleet.client.events(fleet.edges[0]).get("sent_for_peers", 0)
        for callee, user in ((bob, "bob"), (carol, "carol")):  # two phones behind one NAT
            hang_up_from_both_sides(alice, callee, f"sip:{user}@{DOMAIN}")
        assert fleet.client.events(fleet.edges[0])["sent_for_peers"] > before
        hang_up_from_both_sides(carol, bob, f"sip:bob@{DOMAIN}")
        dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
        # 120 s in which the phones only answer keep-alives.
        import threading

        threads = [threading.Thread(target=one.idle, args=(120,)) for one in (alice, bob, carol)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 7 <= bob.agent.pings <= 12
        in_dialog(alice, dialog, "BYE", bob)
        for callee, user in ((bob, "bob"), (carol, "carol")):
            hang_up_from_both_sides(alice, callee, f"sip:{user}@{DOMAIN}")


def test_a_killed_edge_comes_back_and_loses_no_answered_call(lab, fleet):
    with (
        phone(lab, fleet, "alice", "caller", "edge-b") as alice,
        phone(lab, fleet, "bob", "phone", "edge-a") as bob,
    ):
        assert alice.register() == 200
        assert bob.register() == 200
        for killed in fleet.edges:
            dialog, other = call(alice, bob, f"sip:bob@{DOMAIN}")
            fleet.processes.kill(killed.id)
            fleet.start_edge(killed)
            fleet.wait_ready(killed)
            in_dialog(alice, dialog, "INVITE", bob)
            in_dialog(bob, other, "INVITE", alice)
            in_dialog(bob, other, "BYE", alice)
            call(alice, bob, f"sip:bob@{DOMAIN}")  # no phone has registered meanwhile


def test_a_tcp_phone_behind_nat(lab, fleet):
    with phone(lab, fleet, "alice", "caller", "edge-b") as alice:
        assert alice.register() == 200
        with phone(lab, fleet, "dave", "phone", "edge-a", "TCP") as dave:
            assert dave.register() == 200
            hang_up_from_both_sides(alice, dave, f"sip:dave@{DOMAIN}")
            dave.transact(dave.agent.register_request(0))


def test_real_phones(lab, fleet, tmp_path):
    """baresip behind the NAT at edge A, baresip outside it at edge B: calls both ways, hung up from both sides. No engine
    relays what they say: alice is heard only where bob's NAT keeps the port that the edge has seen by STUN."""
    places = (("alice", "caller", "edge-b", "wan"), ("bob", "phone", "edge-a", "eth0"))
    phones = []
    try:
        for index, (user, place, edge, interface) in enumerate(places):
            proxy = f"{lab.host(edge).address}:{SIP}"
            host = lab.host(place)
            phone = Baresip(
                tmp_path, fleet.accounts[user], DOMAIN, proxy, host, interface, 5080 + 10 * index, 4440 + index,
                tone=TONES[user], stun=True,
            )  # fmt: skip
            phones.append(phone.start())
        alice, bob = phones
        assert alice.registered()
        assert bob.registered()
        for one, other, uri in ((alice, bob, f"sip:bob@{DOMAIN}"), (bob, alice, f"sip:alice@{DOMAIN}")):
            for ends in (one, other):
                one.command("dial", uri)
                other.wait("CALL_INCOMING")
                other.command("accept")
                one.wait("CALL_ESTABLISHED")
                other.wait("CALL_ESTABLISHED")
                if ends is one:
                    hear([(alice, TONES["bob"])], 1.0)
                    (hear_nothing if lab.symmetric else hear)([(bob, TONES["alice"])], 1.0)
                ends.command("hangup")
                (other if ends is one else one).wait("CALL_CLOSED")
    finally:
        for phone in phones:
            phone.stop()
