"""What the sockets bring, on its way to the core: traced, refused from banned networks, kept waiting while its address
is on its way."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.proxy.stack.events import CoreEvent, FlowClosed, Received
from edge.proxy.stack.stack import Stack
from edge.runtime.bans import Bans
from edge.runtime.crowding import Crowding
from edge.runtime.shedding import Shedding
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.sip.flow import Flow

_RESPONSE = b"SIP/2.0 "  # in small letters, too (RFC 3261 §7.1)


class Inbound:
    """The sockets' StreamUser."""

    def __init__(
        self,
        post: Callable[[CoreEvent], None],
        stack: Stack,
        bans: Bans,
        trace: Trace,
        waiting: Waiting,
        kept: Callable[[Flow], bool],
        crowding: Crowding,
    ) -> None:
        """``kept``: whether somebody is registered by a connection."""
        self._crowding = crowding
        self._post = post
        self.kept = kept
        self._stack = stack
        self._shedding = Shedding(stack)
        self._bans = bans
        self._trace = trace
        self._waiting = waiting

    def message(self, flow: Flow, data: bytes) -> None:
        if self._bans and flow.host in self._bans:
            self._from_banned(flow, data)
        else:
            self._shedding.message(flow, data, self._take)

    def _from_banned(self, flow: Flow, data: bytes) -> None:
        """Responses to what we have sent, what phones that were here before need to stay and to go on talking, and
        providers' calls: a ban is for what is new, and for strangers."""
        stack = self._stack
        known = stack.bindings.first_on(flow) or flow.host in stack.provider_addresses.tenants
        if data[:8].upper() == _RESPONSE or known:
            self._trace_in(flow, data)
            self._post(Received(flow, data, banned=True))
        else:
            stack.counters["banned"] += 1
            self._shedding.drop(time.monotonic())

    def _take(self, flow: Flow, data: bytes) -> None:
        self._trace_in(flow, data)
        self.deliver(flow, data)

    def _trace_in(self, flow: Flow, data: bytes) -> None:
        if self._trace.wanted:
            self._trace.message("in", flow, data)

    def deliver(self, flow: Flow, data: bytes) -> None:
        """To the core, unless it has to wait."""
        if not self._waiting.keep(flow, data):
            crowded = self._crowding.refuses(data) and not self._shedding.besieged()
            self._post(Received(flow, data, crowded=crowded))

    def closed(self, flow: Flow, why: str = "") -> None:
        self._post(FlowClosed(flow, why))

    def proven(self, flow: Flow) -> bool:
        """Whether somebody there has shown who he is."""
        return self._stack.stateless.proven(flow, time.monotonic())

    def may_answer(self, flow: Flow) -> bool:
        """Strangers get few answers to keep-alives and requests together; banned networks none."""
        stack, now = self._stack, time.monotonic()
        if self._bans and flow.host in self._bans and not stack.bindings.first_on(flow):
            stack.counters["banned"] += 1
            return False
        if stack.stateless.proven(flow, now) or stack.sources.may_answer(flow.host, now):
            return True
        stack.counters["slowed"] += 1
        return False
