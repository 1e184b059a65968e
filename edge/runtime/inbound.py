"""What the sockets bring, on its way to the core: traced, refused from banned networks, kept waiting while its address
is on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from edge.proxy.stack.events import Event, FlowClosed, Received
from edge.runtime.bans import Bans
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.sip.flow import Flow


class Inbound:
    """The sockets' Receiver."""

    def __init__(
        self, post: Callable[[Event], None], counters: Counter[str], bans: Bans, trace: Trace, waiting: Waiting
    ) -> None:
        self._post = post
        self._counters = counters
        self._bans = bans
        self._trace = trace
        self._waiting = waiting

    def message(self, flow: Flow, data: bytes) -> None:
        if self._bans and flow.host in self._bans:
            self._counters["banned"] += 1
            return
        if self._trace.wanted:
            self._trace.message("in", flow, data)
        self.deliver(flow, data)

    def deliver(self, flow: Flow, data: bytes) -> None:
        """To the core, unless it has to wait."""
        if not self._waiting.keep(flow, data):
            self._post(Received(flow, data))

    def closed(self, flow: Flow) -> None:
        self._post(FlowClosed(flow))

    def unreadable(self, flow: Flow) -> None:
        self._counters["malformed"] += 1
