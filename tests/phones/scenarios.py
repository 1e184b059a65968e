"""What every phone has to come through. Its class says what it can't do, and how long it takes."""

from __future__ import annotations

import time

import pytest

from edge.proxy.registrar.expiries import SILENCE
from scripts.fleet_parts import DOMAIN
from scripts.processes import wait_for
from tests.phones.conftest import PLACES
from tests.phones.peer import Peer, direction
from tests.support.agent import Dialog
from tests.support.pace import slowness
from tests.support.phones.baresip import Baresip
from tests.support.phones.phone import Phone

FLAPS = 10
DOWN = 1.5  # seconds without a link


def uri_of(phone: Phone | Baresip | Peer) -> str:
    return f"sip:{phone.agent.username if isinstance(phone, Peer) else phone.account.username}@{DOMAIN}"


def calls(phone: Phone, peer: Peer) -> Dialog:
    """The phone calls, and is answered; the peer's dialog."""
    peer.agent.received.clear()
    phone.call(uri_of(peer))
    invite = peer.comes("INVITE")
    peer.reply(invite, 180)
    phone.wait("ringing")
    ok = peer.accept(invite)
    peer.comes("ACK")
    phone.wait("connected")
    peer.agent.received.clear()
    return peer.agent.callee_dialog(invite, ok)


def is_called(phone: Phone, peer: Peer) -> Dialog:
    """The peer calls, and is answered; its dialog."""
    peer.agent.received.clear()
    invite = peer.dial(uri_of(phone))
    phone.wait("rings")
    peer.wait(lambda: 180 in peer.agent.statuses("INVITE"))
    phone.answer()
    dialog = peer.established(invite)
    phone.wait("connected")
    peer.agent.received.clear()
    return dialog


def hangs_up(phone: Phone, peer: Peer) -> None:
    phone.hang_up()
    peer.reply(peer.comes("BYE"), 200)
    phone.wait("ended")


def is_hung_up(phone: Phone, peer: Peer, dialog: Dialog) -> None:
    assert peer.ask(dialog, "BYE").status == 200
    phone.wait("ended")


def rings(phone: Phone, peer: Peer, seconds: float) -> float:
    """Call until it rings, and have it decline; how long that took. A refused call is tried again a second later."""
    begun = time.monotonic()
    while True:
        peer.agent.received.clear()
        invite = peer.dial(uri_of(phone))
        peer.wait(
            lambda: {180, *_finals(peer, invite)} & set(peer.agent.statuses("INVITE", invite.get("call-id") or ""))
        )
        if 180 in peer.agent.statuses("INVITE", invite.get("call-id") or ""):
            break
        refusal = peer.agent.final(invite)
        assert refusal is not None
        peer.acknowledge_refusal(invite, refusal)
        assert time.monotonic() - begun < seconds, f"{refusal.start_line} after {seconds} s"
        peer.idle(0.5)
    took = time.monotonic() - begun
    phone.wait("rings")
    phone.decline()
    refusal = peer.wait(lambda: peer.agent.final(invite))
    assert refusal.status in (486, 603), refusal.start_line
    peer.acknowledge_refusal(invite, refusal)
    phone.wait("ended")
    assert took < seconds * slowness(), f"rang after {took:.1f} s"
    return took


def _finals(peer: Peer, invite) -> set[int]:
    final = peer.agent.final(invite)
    return {final.status} if final is not None else set()


class Calls:
    """``attended``: it can transfer so."""

    attended = True

    def test_it_is_registered_where_it_is_seen(self, phone, fleet, lab):
        found = fleet.client.api("GET", f"/v1/accounts/{phone.account.aor}/bindings")
        assert [binding["source"].rpartition(":")[0].strip("[]") for binding in found] == [self.seen_at(lab)]

    def seen_at(self, lab):
        return lab.host("nat").address

    def test_calls_out(self, phone, alice):
        calls(phone, alice)
        hangs_up(phone, alice)
        dialog = calls(phone, alice)
        is_hung_up(phone, alice, dialog)

    def test_calls_in(self, phone, alice):
        is_called(phone, alice)
        hangs_up(phone, alice)
        dialog = is_called(phone, alice)
        is_hung_up(phone, alice, dialog)

    def test_hold_from_both_sides(self, phone, alice):
        dialog = is_called(phone, alice)
        phone.hold()
        hold = alice.comes("INVITE")
        assert direction(hold.body) in ("sendonly", "inactive")
        alice.accept(hold)
        alice.comes("ACK")
        phone.resume()
        resume = alice.comes("INVITE", 1)
        assert direction(resume.body) == "sendrecv"
        alice.accept(resume)
        alice.comes("ACK", 1)
        held = alice.ask(dialog, "INVITE", alice.sdp("sendonly"))
        assert (held.status, direction(held.body) in ("recvonly", "inactive")) == (200, True)
        assert alice.ask(dialog, "INVITE", alice.sdp()).status == 200
        is_hung_up(phone, alice, dialog)

    def test_calls_are_given_up_and_declined(self, phone, alice):
        alice.agent.received.clear()
        phone.call(uri_of(alice))
        invite = alice.comes("INVITE")
        alice.reply(invite, 180)
        phone.wait("ringing")
        phone.hang_up()
        alice.reply(alice.comes("CANCEL"), 200)
        alice.reply(invite, 487)
        phone.wait("ended")
        given_up = alice.dial(uri_of(phone))
        phone.wait("rings")
        alice.give_up(given_up)
        phone.wait("ended")
        rings(phone, alice, 5)

    def test_blind_transfer(self, phone, alice, carol):
        dialog = is_called(phone, alice)
        carol.agent.received.clear()
        phone.transfer(uri_of(carol))
        refer = alice.comes("REFER")
        invite = alice.follow(refer, dialog)
        came = carol.comes("INVITE")
        carol.accept(came)
        alice.established(invite)
        assert alice.tell(dialog, "SIP/2.0 200 OK", "terminated;reason=noresource").status in (200, 481)
        self.the_call_ends(phone, alice, dialog)

    def test_attended_transfer(self, phone, alice, carol):
        if not self.attended:
            pytest.skip("it can't")
        dialog = is_called(phone, alice)
        carol.agent.received.clear()
        phone.hold()
        alice.accept(alice.comes("INVITE"))
        alice.comes("ACK")
        phone.wait("held")
        phone.consult(uri_of(carol))
        asked = carol.comes("INVITE")
        carol.reply(asked, 180)
        phone.wait("ringing")
        ok = carol.accept(asked)
        carol.comes("ACK")
        phone.wait("connected")
        consultation = carol.agent.callee_dialog(asked, ok)
        phone.join()
        refer = alice.comes("REFER")
        invite = alice.follow(refer, dialog)
        came = carol.comes("INVITE", 1)
        replaced = (came.get("replaces") or "").split(";")[0]
        assert replaced == consultation.call_id
        carol.accept(came)
        alice.established(invite)
        assert alice.tell(dialog, "SIP/2.0 200 OK", "terminated;reason=noresource").status in (200, 481)
        if not carol.agent.requests("BYE"):
            carol.ask(consultation, "BYE")
        self.the_call_ends(phone, alice, dialog)

    def the_call_ends(self, phone, alice, dialog):
        """Whoever has transferred somebody hangs up, or leaves it to the other."""
        alice.idle(1.0)
        if alice.agent.requests("BYE"):
            alice.reply(alice.comes("BYE"), 200)
            phone.wait("ended")
        else:
            is_hung_up(phone, alice, dialog)


class Scenarios(Calls):
    """``restart`` and ``link`` are the seconds within which a phone rings by each transport after its edge's restart,
    and after its link is back."""

    kind: type[Phone]
    restart: dict[str, float]
    link: dict[str, float]
    outlives = ("udp", "tcp")
    """Over which transports a call goes on after its flow is dead."""

    def test_its_edge_starts_anew(self, phones, fleet, alice):
        """kill -9 in a call: the call goes on, and the next one rings."""
        took = {}
        under_way = {transport: is_called(phones[transport], alice) for transport in self.outlives}
        edge = fleet.edges[0]
        fleet.processes.kill(edge.id)
        fleet.start_edge(edge)
        fleet.wait_ready(edge)
        begun = time.monotonic()
        for transport, phone in phones.items():
            dialog = under_way.get(transport)
            while dialog is not None and (answer := alice.ask(dialog, "INVITE", alice.sdp())).status != 200:
                assert time.monotonic() - begun < self.restart[transport] * slowness(), answer.start_line
                alice.idle(1.0)
            if dialog is not None:
                is_hung_up(phone, alice, dialog)
            rings(phone, alice, self.restart[transport])
            took[transport] = round(time.monotonic() - begun, 1)
        print(f"{self.kind.__name__} rings after its edge's restart: {took}")

    def test_a_link_that_goes_down_and_up(self, phones, lab, alice):
        took = {transport: [] for transport in phones}
        for _ in range(FLAPS):
            for _, place in PLACES.values():
                lab.run(place, "ip", "link", "set", "eth0", "down")
            alice.idle(DOWN)
            for _, place in PLACES.values():
                lab.link_up(place)
            for transport, phone in phones.items():
                took[transport].append(rings(phone, alice, self.link[transport]))
        print(f"{self.kind.__name__} rings after {DOWN} s without a link: {took}")

    def test_they_refresh_what_they_were_granted(self, phones, fleet, alice):
        """The edge answers that by itself, and they ring afterwards."""
        wait_for("a refresh", lambda: fleet.client.events(fleet.edges[0]).get("refreshes", 0) > 0, SILENCE)
        for transport, phone in phones.items():
            rings(phone, alice, self.link[transport])
