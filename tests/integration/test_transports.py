"""Phones by TLS and WebSocket, against edges on sockets."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from scripts.fleet_parts import DOMAIN
from tests.integration.conftest import SIPS, WS, WSS
from tests.support.certificates import trusting
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration

PORTS = {"UDP": 5060, "TCP": 5060, "TLS": SIPS, "WS": WS, "WSS": WSS}


def phone(fleet, certificate, user, transport, edge):
    host = fleet.edges[edge].host
    tls = (trusting(certificate), f"edge-{'ab'[edge]}.{DOMAIN}") if transport in ("TLS", "WSS") else None
    proxy = (host.address, PORTS[transport])
    return SocketPhone(fleet.accounts[user], DOMAIN, host, proxy, transport, tls=tls)


@pytest.mark.parametrize(("one", "other"), [("TLS", "WSS"), ("WS", "TLS"), ("WSS", "UDP"), ("TCP", "WS")])
def test_a_call_between_any_two_transports(fleet, certificate, one, other):
    """Within an edge and over the mesh; what the edge says of itself leads back to each side's own connection."""
    with ExitStack() as stack:
        alice = stack.enter_context(phone(fleet, certificate, "alice", one, 0))
        bob = stack.enter_context(phone(fleet, certificate, "bob", other, 1))
        assert alice.register() == bob.register() == 200
        caller, callee = call(alice, bob, f"sip:bob@{DOMAIN}")
        in_dialog(bob, callee, "INVITE", alice)
        in_dialog(alice, caller, "BYE", bob)
        for dialog, transport, edge in ((caller, one, 0), (callee, other, 1)):
            first = dialog.routes[0]
            wanted = {"UDP": "", "WSS": ";transport=ws"}.get(transport, f";transport={transport.lower()}")
            assert first.endswith(f"@{fleet.edges[edge].host.address}:{PORTS[transport]}{wanted};lr>"), first
        assert alice.register(0) == bob.register(0) == 200


def test_browsers_have_no_address(fleet, certificate):
    """``.invalid`` in Via and Contact (RFC 7118 §5): what counts is the connection."""
    with phone(fleet, certificate, "alice", "WSS", 0) as alice:
        answer = alice.transact(alice.agent.register_request())
        assert answer.status == 200
        assert any(".invalid" in contact for contact in answer.values("contact"))
        local = alice.socket.getsockname()
        assert f"received={local[0]}" in answer.get("via")
        alice.send(b"\r\n\r\n")
        came: list[bytes] = []
        while b"\r\n" not in came:
            came += alice._framer.feed(alice.socket.recv(65536))
        assert alice.register(0) == 200


def test_a_tls_session_is_taken_up_at_the_other_edge(fleet, certificate):
    """As after a takeover: the phone goes on with the same name, at another machine."""
    context = trusting(certificate)
    session = None
    for edge in fleet.edges:
        made = socket.create_connection((edge.host.address, SIPS), timeout=5)
        with context.wrap_socket(made, server_hostname=f"edge-a.{DOMAIN}", session=session) as connection:
            assert connection.session_reused is (session is not None)
            connection.sendall(b"\r\n\r\n")
            assert connection.recv(9) == b"\r\n"  # tickets come before
            session = connection.session
