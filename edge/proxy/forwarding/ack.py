"""The ACK of a 2xx on its way (RFC 3261 §16.6 end): it has no transaction and no answer, but its flow may be dead."""

from __future__ import annotations

from dataclasses import replace

from edge.providers.agent import Agent
from edge.providers.leg import invite_at_phone, provider_uri, request_in, request_out
from edge.providers.leg_token import LegToPhone, LegToProvider
from edge.proxy.forwarding.breadth import breadth_of, set_breadth
from edge.proxy.forwarding.browsers import without_tel
from edge.proxy.forwarding.gruu_contacts import find_contact, is_gruu, with_registered_contact
from edge.proxy.forwarding.other_flows import OtherFlows
from edge.proxy.forwarding.record_route import DialogTarget, call_of
from edge.proxy.forwarding.redialling import redialled
from edge.proxy.forwarding.withholding import phone_request, withholds
from edge.proxy.stack.flow_token import Destination
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from edge.sip.incoming import Incoming
from edge.sip.message import Request
from edge.sip.strict_routing import obey
from lambdas.contract import Target

_WAIT = 5.0  # seconds in which a failure may be reported


class Ack:
    """Sent on the flow of its token, or once more on another one of its phone if that is dead. Making it raises Fault
    where it may not be sent on at all. ``timers`` is read by the TimerHeap."""

    def __init__(self, stack: Stack, agent: Agent, incoming: Incoming, destination: DialogTarget) -> None:
        self._stack = stack
        self._agent = agent
        self._incoming = incoming
        self._destination = destination
        binding = self._binding = "" if isinstance(destination, LegToProvider) else destination.binding
        self._other_flows = (
            OtherFlows(stack, binding, call_of(destination).tenant, incoming.flow.address) if binding else None
        )
        self._breadth = breadth_of(incoming)
        self.flow = stack.bindings.present_flow(binding) or destination.flow
        self.key: tuple[str, ...] = ()
        self._sent: Request
        self.timers: dict[str, int] = {}

    def send_described(self, request: Request, now: float) -> None:
        """``request`` in the place of the one that came."""
        self._incoming = replace(self._incoming, request=request)
        self.send(now)

    def send(self, now: float) -> None:
        uri = self._incoming.request.uri
        destination = self._destination
        if isinstance(destination, Destination) and is_gruu(uri, self._stack.fleet):
            find_contact(self._stack, uri, destination.binding, destination.call.tenant, self._reach, now)
        else:
            self._send_to(uri, now)

    def _reach(self, contact: str, now: float) -> None:
        self._send_to(contact or self._incoming.request.uri, now)

    def _send_to(self, uri: str, now: float) -> None:
        """``uri`` is the phone's own Contact, where its peer has got that, or its GRUU."""
        stack = self._stack
        if self._incoming.secure and not (self.flow.secure or self.flow.internal):
            stack.counters["stray_acks"] += 1  # it doesn't leave TLS
            return
        branch = stack.transactions.branch(self._incoming.mark)
        request = self._request(uri, branch)
        without_tel(request, self.flow, stack, self._binding)
        set_breadth(request, self._breadth)
        obey(request)
        data = request.to_bytes()
        self._sent = request
        self.key = (branch, "ACK")
        stack.transactions.watch(self)
        stack.timers.start(self, "forget", now + _WAIT)
        stack.transmit(self.flow, data, " ".join(self.key))

    def _request(self, contact: str, branch: str) -> Request:
        incoming, destination = self._incoming, self._destination
        fleet = self._stack.fleet
        if isinstance(destination, Destination):
            withheld = withholds(incoming, destination.call)
            if withheld:
                incoming = with_registered_contact(self._stack, incoming)
            return phone_request(incoming, contact, self.flow, branch, [], fleet, withheld)[0]
        if isinstance(destination, LegToPhone):
            way = LegToProvider(destination.provider, incoming.flow, 0, "", 0, False)
            phone = replace(destination, flow=self.flow)
            cseq = invite_at_phone(incoming.cseq, phone, self._stack.renumbered.find(incoming, incoming.cseq))
            return request_in(incoming, way, phone, phone.contact, branch, fleet.tokens, fleet.places, cseq)
        incoming = with_registered_contact(self._stack, incoming)
        uri = destination.contact or provider_uri(incoming.uri.user, incoming.call_id, fleet.tokens)
        routes = [("route", f"Route: {route}") for route in destination.routes]
        phone = LegToPhone(destination.provider, incoming.flow, "", "", "", 0, False, destination.translated)
        return request_out(incoming, destination, phone, uri, branch, 0, routes, fleet.tokens, fleet.places)

    def fail(self, now: float, why: str = "") -> None:
        """The flow is dead."""
        self._forget()
        if self._other_flows is not None:
            self._other_flows.find(self.flow, self._found, now)
        elif isinstance(self._destination, LegToProvider):
            flow = redialled(self.flow, self._sent, self._agent.server(self._destination.provider))
            if flow is not None:
                self.flow, self._destination = flow, replace(self._destination, flow=flow)
                self.send(now)

    def _found(self, target: Target | None, now: float) -> None:
        if target is not None:
            self.flow = Flow(*target.flow)
            self.send(now)

    def on_timer(self, name: str, now: float) -> None:
        self._forget()

    def _forget(self) -> None:
        self.timers.clear()
        self._stack.transactions.forget(self)
