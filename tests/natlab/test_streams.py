"""TCP phones and the addresses that they are connected to: moved on purpose, or because a machine is gone."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from edge.sip.framing import PING
from edge.sip.transaction.client import make_ack
from scripts.fleet_parts import DOMAIN, SIP
from scripts.processes import wait_for
from tests.natlab.conftest import laboratory
from tests.support.cloudlab import CloudLab
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.natlab

DRAINED = 6.0  # seconds from the end of its connection to a call that rings
PING_EVERY = 10.0  # seconds between a phone's double CRLFs (RFC 5626 §4.4.1)
DEAD = 30.0  # seconds from a machine's death to a call that rings


@pytest.fixture(scope="module")
def cloud():
    with laboratory(lambda: CloudLab(False)) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(cloud, tmp_path_factory):
    made = cloud.fleet(tmp_path_factory.mktemp("streams") / "fleet")
    try:
        made.start()
        yield made
    finally:
        made.stop()


class StayingPhone:
    """A TCP phone at edge-a that makes its connection anew, and registers, whenever that has ended. It pings if asked,
    and takes an answer that doesn't come within 5 s for an end."""

    def __init__(self, cloud, fleet, user, pings=False):
        self._make = lambda: SocketPhone(
            fleet.accounts[user], DOMAIN, cloud.host("phone"), (cloud.address("edge-a"), SIP), "TCP"
        )
        self.ended_at = self.back_at = 0.0
        self._pings = pings
        self.phone = self._make()
        assert self.phone.register() == 200
        self._next_ping = time.monotonic() + PING_EVERY

    def read(self, seconds):
        try:
            self.phone.read(seconds)
            if self._pings and time.monotonic() > self._next_ping:
                self._next_ping += PING_EVERY
                self.phone.socket.sendall(PING)
        except OSError:
            self.ended_at = time.monotonic()
            self.phone.socket.close()
            self._come_back()
            self.back_at = time.monotonic()

    def _come_back(self):
        while True:
            try:
                self.phone = self._make()
                assert self.phone.register() == 200
                return
            except OSError:
                time.sleep(0.2)


def calls_until_it_rings(caller, phone, since, seconds):
    """Call, again once a call is refused, until ``phone`` rings after ``since()``; (when, what was refused before)."""
    refused = []
    end = time.monotonic() + seconds
    while True:
        assert time.monotonic() < end, f"no ring within {seconds} s; refused: {refused}"
        invite = caller.invite(f"sip:{phone.phone.agent.username}@{DOMAIN}")
        while caller.agent.final(invite) is None and time.monotonic() < end:
            phone.read(0.02)
            caller.read(0.02)
            for incoming in phone.phone.agent.requests("INVITE"):
                phone.phone.send(phone.phone.agent.response(incoming, 486).to_bytes())
            phone.phone.agent.received = [
                one for one in phone.phone.agent.received if one.start_line.startswith("SIP/2.0")
            ]
        answer = caller.agent.final(invite)
        assert answer is not None
        caller.send(make_ack(invite, answer).to_bytes())
        if answer.status == 486 and since():
            return time.monotonic(), refused
        if answer.status != 486:
            refused.append((round(time.monotonic(), 2), answer.status, answer.reason))
        time.sleep(0.05)


def test_a_drain_ends_the_connections_before_the_address_moves(cloud, fleet):
    account = fleet.accounts["alice"]
    with SocketPhone(account, DOMAIN, cloud.host("caller"), (cloud.address("edge-b"), SIP)) as alice:
        assert alice.register() == 200
        dave = StayingPhone(cloud, fleet, "dave")
        drained = []
        thread = threading.Thread(target=lambda: drained.append(fleet.drain(fleet.edges[0])))
        thread.start()
        rang, refused = calls_until_it_rings(alice, dave, lambda: dave.back_at, 60)
        thread.join()
        took = rang - dave.ended_at
        print(f"a TCP phone rang {took:.2f} s after its connection had ended, refused before: {refused}")
        assert dave.ended_at
        assert not refused
        assert took < DRAINED * slowness()
        home = fleet.edges[0]
        fleet.start_edge(home)
        dave.back_at = 0.0
        wait_for(
            "edge-a to hold its address again",
            lambda: (
                dave.read(0.1),
                cloud.address("edge-a") in ((fleet.client.health(home) or {}).get("addresses") or {}),
            )[1],
            60,
        )
        rang, refused = calls_until_it_rings(alice, dave, lambda: dave.back_at, 60)
        took = rang - dave.ended_at
        print(f"and {took:.2f} s after its address went home, refused before: {refused}")
        assert took < DRAINED * slowness()
        assert not refused
        dave.phone.socket.close()


def test_a_machine_that_dies_without_a_word_is_found_out_by_pings(cloud, fleet):
    account = fleet.accounts["alice"]
    with SocketPhone(account, DOMAIN, cloud.host("caller"), (cloud.address("edge-b"), SIP)) as alice:
        assert alice.register() == 200
        dave = StayingPhone(cloud, fleet, "dave", pings=True)
        subprocess.run(["ip", "-n", cloud.ns("edge-a"), "link", "set", "eth0", "down"], check=True)
        died = time.monotonic()
        rang, refused = calls_until_it_rings(alice, dave, lambda: dave.back_at, 90)
        print(f"found out after {dave.ended_at - died:.2f} s, rang after {rang - died:.2f} s; refused: {refused}")
        assert rang - died < DEAD * slowness()
        dave.phone.socket.close()
