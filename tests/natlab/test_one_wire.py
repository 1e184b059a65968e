"""The plain driver for one L2 segment: the address itself moves from interface to interface, after lease and skew."""

from __future__ import annotations

import os
import signal
import time

import pytest

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, MESH, METRICS, SIP, DevelopmentEdge
from scripts.processes import wait_for
from tests.natlab.conftest import laboratory
from tests.support.natlab import NatLab
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone, call

pytestmark = pytest.mark.natlab

ADDRESSES = {"edge-a": "203.0.113.51", "edge-b": "203.0.113.52"}


def edge(lab, name):
    own, address = lab.host(name).address, ADDRESSES[name]
    settings = {
        "address": address,
        "listen": [f"udp://{address}:{SIP}", f"tcp://{address}:{SIP}"],
        "mesh": f"{own}:{MESH}",
        "metrics": f"{own}:{METRICS}",
        "takeover": "l2",
        "takeover_interface": "wan",
    }
    return DevelopmentEdge(name, lab.host(name), settings, list(ADDRESSES.values()))


def has(lab, name, address):
    return f" {address}/32 " in lab.run(name, "ip", "addr", "show", "dev", "wan")


def test_an_address_moves_on_the_wire_and_is_dropped_at_the_deadline(tmp_path):
    with laboratory(lambda: NatLab(False)) as lab:
        fleet = DevelopmentFleet(tmp_path, lab.host("control"), [edge(lab, name) for name in ADDRESSES])
        try:
            fleet.start()

            def phone(user, place, name):
                return SocketPhone(fleet.accounts[user], DOMAIN, lab.host(place), (ADDRESSES[name], SIP))

            with phone("alice", "caller", "edge-b") as alice, phone("bob", "phone", "edge-a") as bob:
                assert alice.register() == bob.register() == 200
                call(alice, bob, f"sip:bob@{DOMAIN}")
                # Cut off from the control plane, the holder drops the address by its own clock, before anybody takes it.
                fleet.processes.kill("edge-b")
                os.kill(fleet.processes.pid("control"), signal.SIGSTOP)
                begun = time.monotonic()
                wait_for("edge-a to drop its address", lambda: not has(lab, "edge-a", ADDRESSES["edge-a"]), 20)
                assert time.monotonic() - begun < 11 * slowness()  # others may take it after 12
                os.kill(fleet.processes.pid("control"), signal.SIGCONT)
                fleet.start_edge(fleet.edges[1])
                wait_for("edge-a to have it again", lambda: has(lab, "edge-a", ADDRESSES["edge-a"]), 30)
                for one in fleet.edges:
                    fleet.wait_ready(one)
                # Killed, its address is on the other machine's interface after lease and skew, and its phone is called there.
                fleet.processes.kill("edge-a")
                lab.run("edge-a", "ip", "addr", "del", f"{ADDRESSES['edge-a']}/32", "dev", "wan")  # the machine is off
                begun = time.monotonic()
                wait_for("edge-b to take it", lambda: has(lab, "edge-b", ADDRESSES["edge-a"]), 25)
                took = time.monotonic() - begun
                assert took > 8
                wait_for(
                    "edge-b to serve it",
                    lambda: ADDRESSES["edge-a"] in ((fleet.client.health(fleet.edges[1]) or {}).get("addresses") or {}),
                    5,
                )
                bob.idle(1.0)
                call(alice, bob, f"sip:bob@{DOMAIN}")
        finally:
            fleet.stop()
