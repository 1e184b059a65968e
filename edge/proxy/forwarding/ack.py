"""The ACK of a 2xx on its way (RFC 3261 §16.6 end): it has no transaction and no answer, but its flow may be dead."""

from __future__ import annotations

from dataclasses import replace

from edge.providers.agent import Agent
from edge.providers.leg import invite_at_phone, provider_uri, request_in, request_out
from edge.providers.leg_token import LegToPhone, LegToProvider
from edge.proxy.forwarding.breadth import breadth_of, set_breadth
from edge.proxy.forwarding.record_route import DialogTarget
from edge.proxy.forwarding.redialling import redialled
from edge.proxy.forwarding.withholding import phone_request, withholds
from edge.proxy.stack.flow_token import Destination
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from edge.sip.incoming import Incoming
from edge.sip.message import Request
from edge.sip.strict_routing import obey
from lambdas.contract import Decision, Route

_WAIT = 5.0  # seconds in which a failure may be reported


class Ack:
    """Sent on the flow of its token, or once more on the binding's present flow if that is dead. Making it raises Fault
    where it may not be sent on at all. ``timers`` is read by the TimerHeap."""

    def __init__(self, stack: Stack, agent: Agent, incoming: Incoming, destination: DialogTarget) -> None:
        self._stack = stack
        self._agent = agent
        self._incoming = incoming
        self._destination = destination
        self._binding = "" if isinstance(destination, LegToProvider) else destination.binding
        self._breadth = breadth_of(incoming)
        self.flow = stack.bindings.present_flow(self._binding) or destination.flow
        self.key: tuple[str, ...] = ()
        self._sent: Request
        self.timers: dict[str, int] = {}

    def send(self, now: float) -> None:
        stack = self._stack
        if self._incoming.secure and not (self.flow.secure or self.flow.internal):
            stack.counters["stray_acks"] += 1  # it doesn't leave TLS
            return
        branch = stack.transactions.branch(self._incoming.mark)
        request = self._request(branch)
        set_breadth(request, self._breadth)
        obey(request)
        data = request.to_bytes()
        self._sent = request
        self.key = (branch, "ACK")
        stack.transactions.watch(self)
        stack.timers.start(self, "forget", now + _WAIT)
        stack.transmit(self.flow, data, " ".join(self.key))

    def _request(self, branch: str) -> Request:
        incoming, destination = self._incoming, self._destination
        fleet = self._stack.fleet
        if isinstance(destination, Destination):
            withheld = withholds(incoming, destination.call)
            return phone_request(incoming, incoming.request.uri, self.flow, branch, [], fleet, withheld)[0]
        if isinstance(destination, LegToPhone):
            way = LegToProvider(destination.provider, incoming.flow, 0, "", 0, False)
            phone = replace(destination, flow=self.flow)
            cseq = invite_at_phone(incoming.cseq, phone, self._stack.renumbered.find(incoming, incoming.cseq))
            return request_in(incoming, way, phone, phone.contact, branch, fleet.tokens, fleet.places, cseq)
        uri = destination.contact or provider_uri(incoming.uri.user, incoming.call_id, fleet.tokens)
        routes = [("route", f"Route: {route}") for route in destination.routes]
        phone = LegToPhone(destination.provider, incoming.flow, "", "", "", 0, False, destination.translated)
        return request_out(incoming, destination, phone, uri, branch, 0, routes, fleet.tokens, fleet.places)

    def fail(self, now: float, why: str = "") -> None:
        """The flow is dead."""
        self._forget()
        if isinstance(self._destination, LegToProvider):
            flow = redialled(self.flow, self._sent, self._agent.server(self._destination.provider))
            if flow is not None:
                self.flow, self._destination = flow, replace(self._destination, flow=flow)
                self.send(now)
        elif self._binding:
            binding, self._binding = self._binding, ""
            address = self._incoming.flow.address
            epoch = self._stack.fleet.epoch(address)
            self._stack.questions.locate(binding, address, epoch, self._located, now)

    def _located(self, decision: Decision | None, now: float) -> None:
        if isinstance(decision, Route) and decision.targets:
            self.flow = Flow(*decision.targets[0].flow)
            self.send(now)

    def on_timer(self, name: str, now: float) -> None:
        self._forget()

    def _forget(self) -> None:
        self.timers.clear()
        self._stack.transactions.forget(self)
