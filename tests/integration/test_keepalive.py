"""A NAT that refreshes on packets from inside only: it stays open because the phone answers the keep-alives."""

from __future__ import annotations

import pytest

from scripts.fleet_parts import DOMAIN, SIP, Host
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.socket_phone import SocketPhone, call, in_dialog
from tests.support.user_nat import UserSpaceNat

pytestmark = pytest.mark.integration


def test_a_nat_that_refreshes_on_outbound_packets_only(tmp_path):
    base = fresh_base()
    fleet = loopback_fleet(tmp_path, base, 2)
    for edge in fleet.edges:
        edge.settings["keepalive_interval"] = 5
    first, second = fleet.edges
    try:
        fleet.start()
        edge_address = (first.host.address, SIP)
        with (
            UserSpaceNat(base[:-1] + "9", edge_address, 7.0) as nat,
            SocketPhone(fleet.accounts["bob"], DOMAIN, Host(base[:-1] + "10"), nat.inside) as bob,
            SocketPhone(fleet.accounts["alice"], DOMAIN, Host(base[:-1] + "11"), (second.host.address, SIP)) as alice,
        ):
            assert alice.register() == bob.register() == 200
            bob.idle(20)
            assert bob.agent.pings >= 3
            assert nat.dropped == 0
            dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
            in_dialog(alice, dialog, "BYE", bob)
            bob.idle(12, answer=False)
            assert nat.dropped > 0, "this NAT is honest: without answers it closes"
    finally:
        fleet.stop()
