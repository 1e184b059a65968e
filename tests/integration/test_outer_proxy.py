"""Phones behind a proxy of their own, with Path (RFC 3327): Kamailio, on to the edge by UDP, TCP and TLS."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from scripts.fleet_parts import DOMAIN, SIP, Host
from tests.support.certificates import self_signed
from tests.support.kamailio import OuterProxy
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration


def test_phones_behind_a_proxy_register_call_and_are_called(fleet, tmp_path):
    here, there = fleet.edges
    prefix, _, last = here.address.rpartition(".")
    place = Host(f"{prefix}.{int(last) + 60}")
    pattern = f"^{prefix}\\.({last}|{there.address.rpartition('.')[2]})$"
    outer = OuterProxy(tmp_path, place, here.address, pattern, self_signed("outer.test"))
    try:
        for number, (transport, port) in enumerate(outer.ports.items()):
            inside = Host(f"{prefix}.{int(last) + 70 + number}")
            with ExitStack() as stack:
                bob = stack.enter_context(SocketPhone(fleet.accounts["bob"], DOMAIN, inside, (place.address, port)))
                alice = stack.enter_context(
                    SocketPhone(fleet.accounts["alice"], DOMAIN, there.host, (there.address, SIP))
                )
                answer = bob.transact(bob.agent.register_request())
                assert answer.status == 200
                assert any(place.address in value for value in answer.values("path"))
                assert alice.register() == 200
                found = fleet.client.api("GET", f"/v1/accounts/bob@{DOMAIN}/bindings")
                assert [(one["transport"], one["source"].rpartition(":")[0]) for one in found] == [
                    (transport, place.address)
                ]
                mine, theirs = call(alice, bob, f"sip:bob@{DOMAIN}")
                in_dialog(bob, theirs, "INVITE", alice)
                in_dialog(alice, mine, "BYE", bob)
                mine, theirs = call(bob, alice, f"sip:alice@{DOMAIN}")
                in_dialog(alice, theirs, "INVITE", bob)
                in_dialog(bob, mine, "BYE", alice)
                assert bob.register(0) == alice.register(0) == 200
    finally:
        outer.stop()
