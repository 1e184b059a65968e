"""The core: ``handle(event, now) -> actions``. No sockets, no clock, no randomness, no await.

``now`` is monotonic seconds. Whoever runs the core carries its actions out in order, and calls it with ``Tick`` no
later than ``deadline()``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edge.providers.agent import Agent
from edge.proxy.forwarding.ack import Acknowledgement
from edge.proxy.forwarding.messages import drop_private
from edge.proxy.forwarding.record_route import destination_of
from edge.proxy.forwarding.response_context import ResponseContext
from edge.proxy.forwarding.spirals import Spirals
from edge.proxy.location.bindings import HeldBindings
from edge.proxy.location.keepalive import Keepalive
from edge.proxy.registrar.disk_records import Memory
from edge.proxy.registrar.housekeeping import Housekeeping
from edge.proxy.registrar.pinger import Pinger
from edge.proxy.registrar.registrar import Registrar
from edge.proxy.routing.hanging_up import HangingUp
from edge.proxy.routing.kept_routes import KeptRoutes
from edge.proxy.routing.router import Router
from edge.proxy.stack.answers import Answering
from edge.proxy.stack.authentication import Authenticator
from edge.proxy.stack.events import (
    Action,
    BindingsChanged,
    Decided,
    Entrusted,
    Event,
    Fed,
    FleetChanged,
    FlowClosed,
    Found,
    HangUp,
    Ids,
    Leaving,
    ProvidersAssigned,
    Received,
    Relay,
    Remembered,
    Resolved,
    SendFailed,
    Tick,
    Written,
)
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import Destination
from edge.proxy.stack.handover import Handover
from edge.proxy.stack.questions import Asking
from edge.proxy.stack.stack import Hosting
from edge.proxy.stack.validation import Fault, Incoming, check_loop, examine, note_source, top_via
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import Via, parse_cseq
from edge.sip.message import Request, Response, make_response
from edge.sip.parser import parse
from edge.sip.timers import TimerHeap
from edge.sip.transaction import (
    BRANCH_COOKIE,
    ClientTransaction,
    InviteServer,
    NonInviteServer,
    ServerTransaction,
    server_key,
)
from lambdas.contract import Change

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, INFO, SUBSCRIBE, NOTIFY, REFER, UPDATE, PRACK, PUBLISH"
STATIC = 24 * 3600.0
"""Seconds for which grants are good without a word from the control plane."""
_PONGS = 3  # pings that a phone may leave unanswered before it counts as gone
_OUTAGE = 10.0  # seconds without a heartbeat's reply, after which there may be something to reconcile


class Core(Answering, Asking, Hosting):
    """One edge's proxy and registrar front end."""

    def __init__(
        self,
        edge: str,
        boot: str,
        ids: Ids,
        keepalive_interval: float = 15.0,
        digest_algorithms: Sequence[str] = ("MD5",),
        static_seconds: float = STATIC,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        """``edge`` and ``boot`` are tokens (RFC 3261 §25.1) without dots; every branch names them as its owner.
        ``ports`` are those of our addresses for each transport."""
        self.timers = TimerHeap()
        self.clients: dict[tuple[str, ...], ClientTransaction | Acknowledgement] = {}
        self.servers: dict[tuple[str, ...], ServerTransaction] = {}
        self.counters: Counter[str] = Counter()
        self.fleet: Fleet | None = None
        self.fleet_now: Fleet  # the same, for what is only reached once it is known
        self._keepalive = Keepalive(keepalive_interval)
        self.bindings = HeldBindings(self._keepalive)
        self._ids = ids
        self._owner = f"{BRANCH_COOKIE}{edge}.{boot}."
        self.authenticator = Authenticator(ids, digest_algorithms)
        self.registrar = Registrar(self)
        self.router = Router(self)
        self.memory = Memory(self)
        self.handover = Handover()
        self.hanging_up = HangingUp(self)
        self.kept = KeptRoutes()
        self.spirals = Spirals(ids)
        self.static_seconds = static_seconds
        self.recording = True
        """False while calls can't be recorded: no new ones are made then."""
        self._informed_at = float("-inf")
        Asking.__init__(self, ids)
        self._contexts: dict[ServerTransaction, ResponseContext] = {}
        Hosting.__init__(self, ports or {})
        self.agent = Agent(self)
        self._housekeeping = Housekeeping(self, self._keepalive, Pinger(self._owner, ids))

    # Events

    def handle(self, event: Event, now: float) -> list[Action]:
        """What follows from ``event``."""
        match event:
            case Received(flow, data):
                self._received(flow, data, now)
            case Decided(ask, decision):
                self.decided(ask, decision, now)
            case Tick():
                self.timers.fire(now)
            case SendFailed(ref):
                self._send_failed(ref, now)
            case ProvidersAssigned(address, accounts, gone, complete):
                self.agent.assign(address, accounts, gone, complete, now)
            case Resolved(ref, addresses, fault):
                self.resolved(ref, addresses, fault, now)
            case FlowClosed(flow):
                self.bindings.drop_flow(flow)
                self.agent.flow_closed(flow, now)
                for client in [client for client in self.clients.values() if client.flow == flow]:
                    client.fire("error", now)
            case FleetChanged(fleet):
                self._fleet_changed(fleet, now)
            case BindingsChanged(changes):
                self.registrar.read_back(changes, now)
            case Fed(changes, revalidate):
                if revalidate:
                    self.registrar.revalidate()
                self._fed(changes, now)
            case HangUp(calls):
                self.hanging_up.end_all(calls, now)
            case Found(ask, targets):
                self.found(ask, targets, now)
            case Written(ref):
                self.written(ref, now)
            case Entrusted(owner, keys):
                self.handover.entrusted(owner, keys, now)
            case Leaving(address, to):
                self._actions += self.handover.leave(address, to, self.servers)
            case Remembered(records, routes, bindings):
                self.memory.restore(records, bindings, now)
                self.kept.restore(routes)
        return self.take_actions()

    def _fleet_changed(self, fleet: Fleet, now: float) -> None:
        if self.fleet is None:
            self._housekeeping.start(now)
        elif self.fleet.epochs.keys() != fleet.epochs.keys():
            # Whoever holds an address now pings there, and nobody else.
            self.bindings.leave(fleet.epochs.keys() | fleet.arriving)
        self.fleet = self.fleet_now = fleet
        self.agent.keep_only(fleet.epochs)
        if fleet.informed_at > self._informed_at + _OUTAGE:
            self._housekeeping.reconcile(now)
        self._informed_at = fleet.informed_at

    def _fed(self, changes: list[Change], now: float) -> None:
        for change in changes:
            self.registrar.fed(change, now)
            if not change.binding:
                self.kept.forget(change.plan, change.provider, change.aor, change.tenant)

    def informed_lately(self, now: float) -> bool:
        """Whether what the control plane said last is still good without it."""
        return now - self._informed_at < self.static_seconds

    def wall(self, now: float) -> float:
        """Unix time."""
        return now + self.fleet_now.clock

    def take_actions(self) -> list[Action]:
        """The actions so far. ``handle`` gives them, unless it raises."""
        actions, self._actions = self._actions, []
        return actions

    def deadline(self) -> float | None:
        """When ``Tick`` is due; None if nothing waits."""
        return self.timers.deadline()

    def gauges(self) -> dict[str, int]:
        """Sizes worth watching."""
        return {
            "bindings": len(self.bindings),
            "grants": len(self.registrar.grants),
            "kept_flows": len(self._keepalive),
            "client_transactions": len(self.clients),
            "server_transactions": len(self.servers),
            "questions": self.questions,
            "kept_routes": len(self.kept),
            "provider_accounts": len(self.agent),
            "provider_registrations": self.agent.registered(),
        }

    # Messages in

    def _received(self, flow: Flow, data: bytes, now: float) -> None:
        try:
            message = parse(data)
        except ParseError as error:
            self._malformed(flow, error, now)
            return
        if isinstance(message, Response):
            self._response(flow, message, data, now)
        elif isinstance(message, Request):
            self._request(flow, message, data, now)

    def _malformed(self, flow: Flow, error: ParseError, now: float) -> None:
        """Answer what can be answered; drop and count the rest (RFC 3261 §18.3 for responses)."""
        self.counters["malformed"] += 1
        request = error.message
        if isinstance(request, Request) and request.method != "ACK":
            try:
                via, text, rest = top_via(request)
            except ParseError:
                return
            if all(request.get(key) for key in ("from", "to", "call-id", "cseq")):
                note_source(request, via, text, rest, flow)
                reason = "" if error.status != 400 else f"Bad Request: {error}"
                response = make_response(request, error.status, reason, self._ids.token())
                self.transmit(flow, response.to_bytes(), "")

    def _response(self, flow: Flow, response: Response, data: bytes, now: float) -> None:
        value = response.get("via")
        try:
            via = Via.parse((value or "").partition(",")[0])
            method = parse_cseq(response.get("cseq") or "")[1]
        except ParseError:
            self.counters["malformed"] += 1
            return
        branch = via.branch
        if not branch.startswith(self._owner):
            owner = branch[len(BRANCH_COOKIE) :].split(".", 1)[0]
            if branch.startswith(BRANCH_COOKIE) and owner:
                self._actions.append(Relay(owner, flow, data))
            return
        client = self.clients.get((branch, method))
        if isinstance(client, ClientTransaction):
            client.receive(response, now)
        elif self._housekeeping.pinger.owns(branch):
            self.counters["pongs"] += 1
            self.bindings.heard(flow, now + _PONGS * self._keepalive.interval)
        else:
            self.counters["stray_responses"] += 1  # RFC 6026 §8.9: not forwarded

    def _request(self, flow: Flow, request: Request, data: bytes, now: float) -> None:
        method = request.method
        try:
            via, text, rest = top_via(request)
        except ParseError:
            self.counters["malformed"] += 1
            return
        key = server_key(request, via, "INVITE" if method == "ACK" else method)
        server = self.servers.get(key)
        if server is not None and (method != "ACK" or server.refused):
            server.receive(request, now)
            return
        crossing = self.handover.crossing(server_key(request, via, "INVITE") if method == "CANCEL" else key, flow, data)
        if crossing is not None and server is None:
            self._actions.append(crossing)
            return
        if self.fleet is not None and flow.address not in self.fleet.epochs and not self._ours(request, via):
            self.counters["not_held"] += 1  # the address has moved on: whoever holds it will hear it again
            return
        note_source(request, via, text, rest, flow)
        try:
            incoming = examine(flow, request)
            if self.fleet is not None:
                check_loop(incoming, self.fleet.addresses)
        except Fault as fault:
            self.counters["refused"] += 1
            if method != "ACK":
                self.refuse(self._server(request, flow, key, now), request, fault, now)
            return
        if method == "ACK":
            self._ack(incoming, now)
            return
        server = self._server(request, flow, key, now)
        try:
            self._new_request(incoming, server, via, now)
        except Fault as fault:
            if fault.status in (401, 407):
                # Without a transaction (§26.3.2.4): a forged source isn't sent the same challenge again and again.
                self.terminated(server)
                response = make_response(request, fault.status, "", server.to_tag, fault.headers)
                self.transmit(flow, response.to_bytes(), "")
            else:
                self.refuse(server, request, fault, now)
        except Exception:
            self.respond(server, request, 500, now)  # answered all the same; whoever runs the core reports it
            raise

    def _ours(self, request: Request, via: Via) -> bool:
        """Whether it is the CANCEL of a transaction here, though its address isn't here any more."""
        return request.method == "CANCEL" and server_key(request, via, "INVITE") in self.servers

    def _server(self, request: Request, flow: Flow, key: tuple[str, ...], now: float) -> ServerTransaction:
        kind = InviteServer if request.method == "INVITE" else NonInviteServer
        server = self.servers[key] = kind(self, key, flow, self._ids.token(), now)
        if self.handover.leaving:
            self._actions += self.handover.opened(flow.address, key)
        return server

    def _new_request(self, incoming: Incoming, server: ServerTransaction, via: Via, now: float) -> None:
        request = incoming.request
        method = request.method
        if method == "CANCEL":
            self._cancel(request, server, server_key(request, via, "INVITE"), now)
            return
        fleet = self.fleet
        if fleet is None:
            self.unavailable(server, incoming, now)
            return
        destination = destination_of(incoming, fleet)
        if incoming.to_tag and ("proxy-authorization" in incoming.first or "p-asserted-identity" in incoming.first):
            drop_private(request, fleet)
        if incoming.to_tag:
            if destination is None:
                raise Fault(481)
            if method == "REFER" and not isinstance(destination, Destination) and not destination.transfers:
                raise Fault(403, "Forbidden: calls through this provider can't be transferred")
            self.context(incoming, server, "", now).forward_in_dialog(destination, now)
        elif method == "REGISTER":
            self.registrar.register(incoming, server, now)
        elif method == "OPTIONS" and not incoming.uri.user and fleet.canonical(incoming.uri.host):
            self.respond(server, request, 200, now, [("allow", f"Allow: {ALLOW}"), ("accept", "Accept: */*")])
        else:
            self.router.route(incoming, server, now)

    def context(self, incoming: Incoming, server: ServerTransaction, caller: str, now: float) -> ResponseContext:
        context = self._contexts[server] = ResponseContext(self, incoming, server, caller)
        if context.invite:
            self.respond(server, incoming.request, 100, now)
        return context

    def _cancel(self, request: Request, server: ServerTransaction, invite_key: tuple[str, ...], now: float) -> None:
        """RFC 3261 §9.2 and §16.10."""
        invite = self.servers.get(invite_key)
        if invite is None:
            raise Fault(481)
        self.respond(server, request, 200, now)
        context = self._contexts.get(invite)
        if context is not None:
            context.cancel(now, request.get("reason") or "")

    def _ack(self, incoming: Incoming, now: float) -> None:
        """The ACK of a 2xx: no transaction, forwarded by its flow token (§16.6 end, §17)."""
        if self.fleet is None:
            return
        drop_private(incoming.request, self.fleet)
        try:
            destination = destination_of(incoming, self.fleet)
        except Fault:
            destination = None
        if destination is None:
            self.counters["stray_acks"] += 1
            return
        Acknowledgement(self, incoming, destination).send(now)

    # For contexts and transactions

    def new_branch(self, incoming: Incoming) -> str:
        return f"{self._owner}{self._ids.token()}-{incoming.mark}"

    def terminated(self, transaction: ClientTransaction | ServerTransaction) -> None:
        if isinstance(transaction, ServerTransaction):
            self.servers.pop(transaction.key, None)
            self._contexts.pop(transaction, None)
        else:
            self.clients.pop(transaction.key, None)

    def _send_failed(self, ref: str, now: float) -> None:
        self.counters["send_failures"] += 1
        branch, _, method = ref.partition(" ")
        client = self.clients.get((branch, method))
        if client is not None:
            client.fire("error", now)
