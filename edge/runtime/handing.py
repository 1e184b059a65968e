"""What comes in at a process of an edge and is for another one: handed over before anybody reads it."""

from __future__ import annotations

from collections.abc import Callable

from edge.proxy.stack.stack import Stack
from edge.runtime.inbound import Inbound
from edge.sip.flow import Flow

_RESPONSE = b"SIP/2.0 "  # in small letters, too (RFC 3261 §7.1)


class Handing:
    """The sockets' StreamUser where the edge is several processes. ``hand`` gets the process, and says whether it is
    there."""

    def __init__(self, inbound: Inbound, stack: Stack, hand: Callable[[int, Flow, bytes], bool]) -> None:
        self._inbound = inbound
        self._stack = stack
        self._hand = hand
        self.closed = inbound.closed
        self.kept = inbound.kept
        self.may_answer = inbound.may_answer
        self.proven = inbound.proven

    def message(self, flow: Flow, data: bytes) -> None:
        to = self._process(flow, data)
        if to == self._stack.partition.process:
            self._inbound.message(flow, data)
        elif not self._hand(to, flow, data):
            self._stack.counters["not_handed_over"] += 1  # it is sent again, as over UDP it may have to be

    def _process(self, flow: Flow, data: bytes) -> int:
        """Providers' requests are the first one's, which knows their accounts."""
        stack = self._stack
        tenants = stack.provider_addresses.tenants
        if tenants and flow.host in tenants and data[:8].upper() != _RESPONSE and not stack.bindings.first_on(flow):
            return 0
        return stack.partition.of(flow)
