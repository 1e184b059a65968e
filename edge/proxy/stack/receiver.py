"""What comes in, up to the request that nobody has seen yet: read, matched to transactions (RFC 3261 §17.1.3 and
§17.2.3), handed across to its owner, checked (§16.3). Responses, retransmissions and CANCELs end here."""

from __future__ import annotations

from edge.proxy.stack.answered_calls import leg_name
from edge.proxy.stack.events import Relay
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import check_loop, examine, note_source, reached_by, top_via
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import Via, parse_cseq, tag_of
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import MalformedMessage, Request, Response, make_response
from edge.sip.parser import MAX_STRANGERS_HEAD, parse
from edge.sip.transaction import BRANCH_COOKIE, server_key
from edge.sip.transaction.layer import TransactionKey

_PONGS = 3  # pings that a phone may leave unanswered before it counts as gone


class Receiver:
    """Stands on the stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def receive(self, flow: Flow, data: bytes, now: float) -> Incoming | None:
        """A new request; None if the message was another, or has been dealt with."""
        try:
            message = parse(data, flow.framed)
        except MalformedMessage as error:
            self._malformed(flow, error, len(data), now)
            return None
        if isinstance(message, Request):
            return self._request(flow, message, data, now)
        assert isinstance(message, Response)
        self._response(flow, message, data, now)
        return None

    def _malformed(self, flow: Flow, error: MalformedMessage, octets: int, now: float) -> None:
        """Answer a request of which the top Via can be read; drop and count the rest (§18.3 for responses)."""
        stack = self._stack
        stack.counters["malformed"] += 1
        request = error.message
        if not isinstance(request, Request) or request.method == "ACK":
            return
        try:
            via, text, rest = top_via(request)
        except ParseError:
            return
        note_source(request, via, text, rest, flow)
        reason = "" if error.status != 400 else f"Bad Request: {error}"
        stack.stateless.answer(request, reached_by(flow, via), octets, error.status, now, (), reason)

    # Responses

    def _response(self, flow: Flow, response: Response, data: bytes, now: float) -> None:
        stack = self._stack
        try:
            via = Via.parse((response.get("via") or "").partition(",")[0])
            method = parse_cseq(response.get("cseq") or "")[1]
        except ParseError:
            stack.counters["malformed"] += 1
            return
        branch = via.branch
        if not stack.transactions.owns(branch):
            owner = branch[len(BRANCH_COOKIE) :].split(".", 1)[0]
            if branch.startswith(BRANCH_COOKIE) and owner:
                if method == "INVITE" and 200 <= response.status < 300 and stack.bindings.first_on(flow):
                    tags = (tag_of(response.get(key) or "") for key in ("from", "to"))
                    stack.answered_calls.note_passing(leg_name(response.get("call-id") or "", *tags), flow)
                stack.actions.append(Relay(owner, flow, data))
            return
        client = stack.transactions.client(branch, method)
        if client is not None:
            if flow == client.flow:  # others may have heard of the branch
                stack.sources.prove(flow.host, now)
            client.receive(response, now)
        elif stack.pinger.owns(branch):
            stack.counters["pongs"] += 1
            stack.bindings.heard(flow, now + _PONGS * stack.keepalive.interval, now)
        else:
            stack.counters["stray_responses"] += 1  # RFC 6026 §8.9: not forwarded

    # Requests

    def _request(self, flow: Flow, request: Request, data: bytes, now: float) -> Incoming | None:
        stack = self._stack
        try:
            via, text, rest = top_via(request)
        except ParseError:
            stack.counters["malformed"] += 1
            return None
        key = server_key(request, via, "INVITE" if request.method == "ACK" else request.method)
        invite = server_key(request, via, "INVITE") if request.method == "CANCEL" else key
        if self._matched(request, key, now) or self._elsewhere(request, key, invite, flow, data):
            return None
        stack.bindings.back(flow)
        note_source(request, via, text, rest, flow)
        octets, source, flow = len(data), flow, reached_by(flow, via)
        try:
            if octets - len(request.body) > MAX_STRANGERS_HEAD and not stack.stateless.proven(source, now):
                raise Fault(513)
            incoming = examine(flow, request, key, octets, source)
            check_loop(incoming, stack.fleet)
        except Fault as fault:
            stack.counters["refused"] += 1
            if request.method != "ACK":
                stack.stateless.refuse(request, flow, octets, fault, now)
            return None
        if request.method == "CANCEL":
            self._cancel(incoming, invite, now)
            return None
        return incoming

    def _matched(self, request: Request, key: TransactionKey, now: float) -> bool:
        """§17.2.3: a retransmission, or the ACK of a refusal."""
        server = self._stack.transactions.servers.get(key)
        if server is None or (request.method == "ACK" and not server.refused):
            return False
        server.receive(request, now)
        return True

    def _elsewhere(
        self, request: Request, key: TransactionKey, invite: TransactionKey, flow: Flow, data: bytes
    ) -> bool:
        """Whether it is for another edge: the owner of its transaction, or whoever holds the address by now."""
        stack = self._stack
        servers = stack.transactions.servers
        crossing = stack.handover.crossing(invite, flow, data)
        if crossing is not None and key not in servers:
            stack.actions.append(crossing)
            return True
        if flow.address in stack.fleet.epochs or not stack.fleet.known:
            return False
        if request.method == "CANCEL" and invite in servers:
            return False  # of a transaction that is here, though its address isn't any more
        stack.counters["not_held"] += 1  # whoever holds the address will hear it again
        return True

    def _cancel(self, incoming: Incoming, invite: TransactionKey, now: float) -> None:
        """§9.2 and §16.10."""
        stack = self._stack
        request = incoming.request
        cancelled = stack.transactions.servers.get(invite)
        if cancelled is None or incoming.flow.host != cancelled.flow.host:
            stack.stateless.refuse(request, incoming.flow, incoming.octets, Fault(481), now)
            return
        response = make_response(request, 200, "", cancelled.to_tag)
        stack.transmit(incoming.flow, response.to_bytes(), "")
        target = stack.transactions.cancel_target(cancelled)
        if target is not None:
            target.cancel(now, request.get("reason") or "")
