"""The ACK of a 2xx on its way (RFC 3261 §16.6 end): it has no transaction and no answer, but its flow may be dead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge.providers.leg import Heard, provider_uri, request_in, request_out
from edge.providers.leg_token import ToPhone, ToProvider
from edge.proxy.forwarding.messages import forward_request
from edge.proxy.stack.flow_token import Destination
from edge.proxy.stack.validation import Incoming
from edge.sip.flow import Flow
from edge.sip.message import Request
from lambdas.contract import Decision, Route

if TYPE_CHECKING:
    from edge.proxy.core import Core

_WAIT = 5.0  # seconds in which a failure may be reported


class Acknowledgement:
    """Sent on the flow of its token, or once more on the binding's present flow if that is dead."""

    def __init__(self, core: Core, incoming: Incoming, destination: Destination | ToProvider | ToPhone) -> None:
        self._core = core
        self._incoming = incoming
        self._destination = destination
        self._binding = "" if isinstance(destination, ToProvider) else destination.binding
        self.flow = core.bindings.present_flow(self._binding) or destination.flow
        self.key: tuple[str, ...] = ()
        self.timers: dict[str, int] = {}

    def send(self, now: float) -> None:
        core, incoming = self._core, self._incoming
        branch = core.new_branch(incoming)
        data = self._request(branch).to_bytes()
        self.key = (branch, "ACK")
        core.clients[self.key] = self
        core.timers.start(self, "forget", now + _WAIT)
        core.transmit(self.flow, data, " ".join(self.key))

    def _request(self, branch: str) -> Request:
        incoming, destination = self._incoming, self._destination
        request = incoming.request
        if isinstance(destination, Destination):
            return forward_request(request, request.uri, self.flow, branch, incoming.max_forwards, [])
        keys = self._core.fleet_now.tokens
        heard = Heard(request, incoming.call_id, incoming.cseq, incoming.max_forwards, incoming.to_tag)
        if isinstance(destination, ToPhone):
            way = ToProvider(destination.provider, incoming.flow, 0, "", 0, False)
            return request_in(heard, way, replace(destination, flow=self.flow), destination.contact, branch, keys)
        uri = destination.contact or provider_uri(incoming.uri.user, incoming.call_id, keys)
        routes = [("route", f"Route: {route}") for route in destination.routes]
        phone = ToPhone(destination.provider, incoming.flow, "", "", "", 0, False, destination.translated)
        return request_out(heard, destination, phone, uri, branch, 0, routes, keys)

    def fire(self, event: str, now: float) -> None:
        """The flow is dead."""
        self.on_timer(event, now)
        if self._binding:
            binding, self._binding = self._binding, ""
            self._core.locate(binding, self._incoming.flow, self._located, now)

    def _located(self, decision: Decision | None, now: float) -> None:
        if isinstance(decision, Route) and decision.targets:
            self.flow = Flow(*decision.targets[0].flow)
            self.send(now)

    def on_timer(self, name: str, now: float) -> None:
        self.timers.clear()
        self._core.clients.pop(self.key, None)
