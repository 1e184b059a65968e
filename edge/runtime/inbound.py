"""What the sockets bring, on its way to the core: traced, refused from banned networks, kept waiting while its address
is on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from edge.proxy.location.bindings import HeldBindings
from edge.proxy.stack.events import CoreEvent, FlowClosed, Received
from edge.runtime.bans import Bans
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.sip.flow import Flow


class Inbound:
    """The sockets' StreamUser."""

    def __init__(
        self,
        post: Callable[[CoreEvent], None],
        counters: Counter[str],
        bans: Bans,
        trace: Trace,
        waiting: Waiting,
        bindings: HeldBindings,
    ) -> None:
        self._post = post
        self._counters = counters
        self._bans = bans
        self._trace = trace
        self._waiting = waiting
        self._bindings = bindings

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

    def proven(self, flow: Flow) -> bool:
        """A phone that is registered there has shown who it is."""
        return bool(self._bindings.contact(flow))
