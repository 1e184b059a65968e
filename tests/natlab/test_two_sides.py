"""Edge addresses with an IPv6 side on one L2 segment: phones of IPv6, behind a NAT of IPv4 and behind a NAT64 call each
other over two edges, and a takeover brings both sides along."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.sip.headers import NameAddr
from edge.sip.uri import Uri
from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, MESH, METRICS, SIP, DevelopmentEdge, Host
from scripts.processes import in_namespace, wait_for
from tests.natlab.conftest import laboratory
from tests.support.natlab import Nat64, NatLab, ipv6_of
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.natlab

SIDES = {"edge-a": ("203.0.113.51", "2001:db8::51"), "edge-b": ("203.0.113.52", "2001:db8::52")}
A, A6 = SIDES["edge-a"]
B, _ = SIDES["edge-b"]
_ETH_IPV6 = 0x86DD


def edge(lab: NatLab, name: str) -> DevelopmentEdge:
    own, (address, address6) = lab.host(name).address, SIDES[name]
    settings = {
        "address": address,
        "address6": address6,
        "listen": [f"{kind}://{host}:{SIP}" for host in (address, f"[{address6}]") for kind in ("udp", "tcp")],
        "mesh": f"{own}:{MESH}",
        "metrics": f"{own}:{METRICS}",
        "takeover": "l2",
        "takeover_interface": "wan",
    }
    return DevelopmentEdge(name, lab.host(name), settings, [A, B])


@pytest.fixture
def lab() -> Iterator[NatLab]:
    with laboratory(NatLab) as made:
        made.add_ipv6()
        yield made


@pytest.fixture
def fleet(lab: NatLab, tmp_path: Path) -> Iterator[DevelopmentFleet]:
    made = DevelopmentFleet(tmp_path / "fleet", lab.host("control"), [edge(lab, name) for name in SIDES])
    try:
        made.start()
        yield made
    finally:
        made.stop()


def has(lab: NatLab, name: str, side: str) -> bool:
    return f" {side}/" in lab.run(name, "ip", "addr", "show", "dev", "wan")


def routes(message) -> list[str]:
    return [Uri.parse(NameAddr.parse(value).uri).host for value in message.values("record-route")]


def test_phones_of_each_kind_call_each_other_and_go_on_after_a_takeover(lab, fleet, tmp_path):
    def phone(user: str, host: Host, proxy: str, transport: str = "UDP") -> SocketPhone:
        return SocketPhone(fleet.accounts[user], DOMAIN, host, (proxy, SIP), transport)

    outside = Host(ipv6_of(lab.host("caller")), lab.ns("caller"))
    with contextlib.ExitStack() as stack:
        nat64 = stack.enter_context(Nat64(lab, tmp_path))
        alice = stack.enter_context(phone("alice", outside, A6))
        bob = stack.enter_context(phone("bob", lab.host("phone"), B, "TCP"))
        carol = stack.enter_context(phone("carol", outside, A6, "TCP"))
        dave = stack.enter_context(phone("dave", nat64.phone, nat64.mapped(B)))
        for one in (alice, bob, carol, dave):
            assert one.register() == 200
        everybody = {alice: f"[{A6}]", bob: B, carol: f"[{A6}]", dave: B}
        for one, other in ((alice, bob), (bob, carol), (carol, dave), (dave, alice)):
            dialog, back = call(one, other, f"sip:{other.agent.username}@{DOMAIN}")
            invite = other.agent.requests("INVITE")[0]
            assert sorted(routes(invite)) == sorted((everybody[one], everybody[other]))
            in_dialog(other, back, "INVITE", one)
            in_dialog(one, dialog, "BYE", other)
        # The machine of edge-a dies in a call.
        dialog, back = call(alice, bob, f"sip:bob@{DOMAIN}")
        fleet.processes.kill("edge-a")
        for side in (f"{A}/32", f"{A6}/128"):
            lab.run("edge-a", "ip", "addr", "del", side, "dev", "wan")
        wait_for("edge-b to take both sides", lambda: has(lab, "edge-b", A) and has(lab, "edge-b", A6), 30)
        wait_for(
            "edge-b to serve them",
            lambda: A in ((fleet.client.health(fleet.edges[1]) or {}).get("addresses") or {}),
            10,
        )
        alice.agent.received.clear()
        in_dialog(bob, back, "BYE", alice)
        alice.idle(1.5)
        assert len({bye.get("via") for bye in alice.agent.requests("BYE")}) == 1
        call(bob, alice, f"sip:alice@{DOMAIN}")  # by the flow that it had registered by


def test_neighbours_are_told_where_an_ipv6_side_has_gone(lab):
    """RFC 4861 §7.2.6: an unsolicited advertisement that overrides what they knew, from where no router has passed."""

    def listen() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_IPV6))
        made.bind(("wan", 0))
        made.settimeout(10)
        return made

    add = "import asyncio; from edge.control.drivers import {0} as do; asyncio.run(do({1!r}, 'wan'))"
    with in_namespace(lab.ns("caller"), listen) as wire:
        lab.run("edge-a", sys.executable, "-c", add.format("add_to_interface", A6))
        while True:
            frame = wire.recv(200)
            if frame[20] == socket.IPPROTO_ICMPV6 and frame[54] == 136:
                break
    mac = bytes.fromhex(lab.run("edge-a", "cat", "/sys/class/net/wan/address").replace(":", ""))
    side = socket.inet_pton(socket.AF_INET6, A6)
    assert (frame[21], frame[22:38]) == (255, side)
    assert frame[38:54] == socket.inet_pton(socket.AF_INET6, "ff02::1")
    assert frame[58:86] == b"\x20\0\0\0" + side + b"\x02\x01" + mac
    found = lab.run("edge-a", "ip", "-6", "addr", "show", "dev", "wan")
    assert "deprecated" in found.partition(A6)[2].splitlines()[0]  # nothing else goes out from it
    lab.run("edge-a", sys.executable, "-c", add.format("remove_from_interface", A6))
    assert not has(lab, "edge-a", A6)
