"""The core: ``handle(event, now) -> actions``. No sockets, no clock, no randomness, no await.

``now`` is monotonic seconds. Whoever runs the core carries its actions out in order, and calls it with ``Tick`` no
later than ``deadline()``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edge.proxy.acknowledgement import Acknowledgement
from edge.proxy.authentication import Authenticator
from edge.proxy.bindings import HeldBindings
from edge.proxy.events import (
    Action,
    Ask,
    BindingsChanged,
    Decided,
    Event,
    FleetChanged,
    FlowClosed,
    Ids,
    Received,
    Relay,
    Send,
    SendFailed,
    Tick,
)
from edge.proxy.fleet import Fleet
from edge.proxy.forwarding import drop_private
from edge.proxy.housekeeping import Housekeeping
from edge.proxy.keepalive import Keepalive
from edge.proxy.pinger import Pinger
from edge.proxy.record_route import take_routes
from edge.proxy.registrar import register
from edge.proxy.response_context import ResponseContext
from edge.proxy.validation import Fault, Incoming, check_loop, check_text, examine, note_source, top_via
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import Via, parse_cseq
from edge.sip.message import Header, Request, Response, make_response
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
from lambdas.contract import Decision, Question, Reject, RouteQuestion

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, INFO, SUBSCRIBE, NOTIFY, REFER, UPDATE, PRACK, PUBLISH"
MAX_QUESTIONS = 2000
"""Questions under way at once; past that requests are answered 503 at once instead of all being answered late."""
RETRY_AFTER = 5  # seconds

Continuation = Callable[[Decision | None, float], None]
MakeQuestion = Callable[[str, str, int], Question]


class Core:
    """One edge's proxy and registrar front end."""

    def __init__(
        self,
        edge: str,
        boot: str,
        ids: Ids,
        keepalive_interval: float = 15.0,
        digest_algorithms: Sequence[str] = ("MD5",),
    ) -> None:
        """``edge`` and ``boot`` are tokens (RFC 3261 §25.1) without dots; every branch names them as its owner."""
        self.timers = TimerHeap()
        self.clients: dict[tuple[str, ...], ClientTransaction | Acknowledgement] = {}
        self.servers: dict[tuple[str, ...], ServerTransaction] = {}
        self.counters: Counter[str] = Counter()
        self.fleet: Fleet | None = None
        self._keepalive = Keepalive(keepalive_interval)
        self.bindings = HeldBindings(self._keepalive)
        self._ids = ids
        self._owner = f"{BRANCH_COOKIE}{edge}.{boot}."
        self._authenticator = Authenticator(ids, digest_algorithms)
        self._contexts: dict[ServerTransaction, ResponseContext] = {}
        self._questions: dict[str, Continuation] = {}
        self._actions: list[Action] = []
        self._housekeeping = Housekeeping(self, self._keepalive, Pinger(self._owner, ids))

    @property
    def fleet_now(self) -> Fleet:
        """The fleet, once known: nothing is forwarded before."""
        assert self.fleet is not None
        return self.fleet

    # Events

    def handle(self, event: Event, now: float) -> list[Action]:
        """What follows from ``event``."""
        match event:
            case Received(flow, data):
                self._received(flow, data, now)
            case Decided(ask, decision):
                continuation = self._questions.pop(ask, None)
                if continuation is not None:
                    continuation(decision, now)
            case Tick():
                self.timers.fire(now)
            case SendFailed(ref):
                self._send_failed(ref, now)
            case FlowClosed(flow):
                self.bindings.drop_flow(flow)
                for client in [client for client in self.clients.values() if client.flow == flow]:
                    client.fire("error", now)
            case FleetChanged(fleet):
                if self.fleet is None:
                    self._housekeeping.start(now)
                elif self.fleet.epochs.keys() != fleet.epochs.keys():
                    self.bindings.sweep(now, fleet.epochs)  # whoever holds an address now pings there, and nobody else
                self.fleet = fleet
            case BindingsChanged(changes):
                self.bindings.apply(changes, now)
        return self.take_actions()

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
            "kept_flows": len(self._keepalive),
            "client_transactions": len(self.clients),
            "server_transactions": len(self.servers),
            "questions": len(self._questions),
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
            self._request(flow, message, now)

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
        else:
            self.counters["stray_responses"] += 1  # RFC 6026 §8.9: not forwarded

    def _request(self, flow: Flow, request: Request, now: float) -> None:
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
        note_source(request, via, text, rest, flow)
        try:
            incoming = examine(flow, request)
            if self.fleet is not None:
                check_loop(incoming, self.fleet.addresses)
        except Fault as fault:
            self.counters["refused"] += 1
            if method != "ACK":
                self._refuse(self._server(request, flow, key, now), request, fault, now)
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
                self._refuse(server, request, fault, now)
        except Exception:
            self.respond(server, request, 500, now)  # answered all the same; whoever runs the core reports it
            raise

    def _server(self, request: Request, flow: Flow, key: tuple[str, ...], now: float) -> ServerTransaction:
        kind = InviteServer if request.method == "INVITE" else NonInviteServer
        server = self.servers[key] = kind(self, key, flow, self._ids.token(), now)
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
        destination = take_routes(incoming, fleet) if "route" in incoming.first else None
        if incoming.to_tag and ("proxy-authorization" in incoming.first or "p-asserted-identity" in incoming.first):
            drop_private(request, fleet)
        if incoming.to_tag:
            if destination is None:
                raise Fault(481)
            context = self._context(incoming, server, "", now)
            context.forward_in_dialog(destination.flow, destination.binding, now)
        elif method == "REGISTER":
            register(self, self._authenticator, incoming, server, now)
        elif method == "OPTIONS" and not incoming.uri.user and fleet.canonical(incoming.uri.host):
            self.respond(server, request, 200, now, [("allow", f"Allow: {ALLOW}"), ("accept", "Accept: */*")])
        else:
            self._route(incoming, server, fleet, now)

    def _route(self, incoming: Incoming, server: ServerTransaction, fleet: Fleet, now: float) -> None:
        """A request that no dialog routes: who calls whom is for the control plane to decide."""
        caller = incoming.from_uri()
        realm = fleet.canonical(caller.host)
        if realm is None:
            # Answered here, so that strangers can't spend money on decisions.
            raise Fault(403, "Forbidden: only accounts of this service may call")
        if not incoming.uri.user:
            raise Fault(404)
        check_text(incoming.request, caller, incoming.uri)
        credentials = self._authenticator.credentials(incoming, realm, fleet, now)
        drop_private(incoming.request, fleet)
        host = fleet.canonical(incoming.uri.host) or incoming.uri.host
        aor = caller.at(realm)
        token = self._ids.token()
        question = RouteQuestion(
            request=token,
            address=incoming.flow.address,
            epoch=fleet.epoch(incoming.flow.address),
            method=incoming.request.method,
            caller=aor,
            called=incoming.uri.at(host),
            credentials=credentials,
            call_id=incoming.call_id,
            flow=incoming.flow,
        )
        context = self._context(incoming, server, aor, now)
        self.put_question(token, question, context.on_decision, now)

    def _context(self, incoming: Incoming, server: ServerTransaction, caller: str, now: float) -> ResponseContext:
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
            context.cancel(now)

    def _ack(self, incoming: Incoming, now: float) -> None:
        """The ACK of a 2xx: no transaction, forwarded by its flow token (§16.6 end, §17)."""
        if self.fleet is None:
            return
        drop_private(incoming.request, self.fleet)
        try:
            destination = take_routes(incoming, self.fleet)
        except Fault:
            destination = None
        if destination is None:
            self.counters["stray_acks"] += 1
            return
        Acknowledgement(self, incoming, destination).send(now)

    # For contexts and transactions

    def new_token(self) -> str:
        return self._ids.token()

    def new_branch(self, incoming: Incoming) -> str:
        return f"{self._owner}{self._ids.token()}-{incoming.mark}"

    def transmit(self, flow: Flow, data: bytes, ref: str) -> None:
        self._actions.append(Send(flow, data, ref))

    def terminated(self, transaction: ClientTransaction | ServerTransaction) -> None:
        if isinstance(transaction, ServerTransaction):
            self.servers.pop(transaction.key, None)
            self._contexts.pop(transaction, None)
        else:
            self.clients.pop(transaction.key, None)

    def ask(self, make: MakeQuestion, flow: Flow, continuation: Continuation, now: float) -> None:
        """Put the question that ``make(ask, address, epoch)`` gives."""
        token = self._ids.token()
        self.put_question(token, make(token, flow.address, self.fleet_now.epoch(flow.address)), continuation, now)

    def put_question(self, ask: str, question: Question, continuation: Continuation, now: float) -> None:
        if len(self._questions) >= MAX_QUESTIONS:
            self.counters["overload"] += 1
            continuation(None, now)
            return
        self._questions[ask] = continuation
        self._actions.append(Ask(ask, question))

    def respond(
        self,
        server: ServerTransaction,
        request: Request,
        status: int,
        now: float,
        headers: list[Header] | None = None,
        reason: str = "",
    ) -> None:
        server.respond(make_response(request, status, reason, server.to_tag, headers or ()), now)

    def _refuse(self, server: ServerTransaction, request: Request, fault: Fault, now: float) -> None:
        self.respond(server, request, fault.status, now, list(fault.headers), fault.reason)

    def reject(self, server: ServerTransaction, incoming: Incoming, decision: Reject, now: float) -> None:
        headers: list[Header] = []
        if decision.min_expires is not None:
            headers.append(("min-expires", f"Min-Expires: {decision.min_expires}"))
        if decision.retry_after is not None:
            headers.append(("retry-after", f"Retry-After: {decision.retry_after}"))
        self.respond(server, incoming.request, decision.status, now, headers, decision.reason)

    def challenge(self, server: ServerTransaction, incoming: Incoming, realm: str, now: float) -> None:
        """Ask for credentials again."""
        fault = self._authenticator.fault(incoming, realm, self.fleet_now, now)
        self._refuse(server, incoming.request, fault, now)

    def unavailable(self, server: ServerTransaction, incoming: Incoming, now: float) -> None:
        """No decision could be had."""
        self.counters["unavailable"] += 1
        retry: list[Header] = [("retry-after", f"Retry-After: {RETRY_AFTER}")]
        self.respond(server, incoming.request, 503, now, retry)

    def _send_failed(self, ref: str, now: float) -> None:
        self.counters["send_failures"] += 1
        branch, _, method = ref.partition(" ")
        client = self.clients.get((branch, method))
        if client is not None:
            client.fire("error", now)
