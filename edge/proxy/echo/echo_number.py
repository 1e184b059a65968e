"""The echo number: a user agent server (RFC 3261 §8.2) at every edge address, whose callers hear themselves.

Theory of operation. A decision names it as a target, and the edge calls it as it calls a phone, on a flow from the
caller's edge address to itself; so its calls are relayed, recorded, limited and ended as all others are. Nothing of
ours touches their media: the answer makes the relay send back what it gets (``mirror``).

All that is remembered is what a user agent has to send by itself: a 2xx until its ACK comes (§13.3.1.4), and the BYE of
a call that has lasted too long. Whatever a caller asks for in the dialog can be answered without it. So such a call
outlives its edge's process as others do, though nobody then ends it but the caller, or a relay that hears nothing.
"""

from __future__ import annotations

import zlib
from functools import partial

from edge.proxy.echo.echo_call import EchoCall
from edge.proxy.echo.mirror import mirrored
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.stack.abilities import not_allowed
from edge.proxy.stack.answers import respond
from edge.proxy.stack.echo_place import ECHO
from edge.proxy.stack.stack import Stack
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header
from edge.sip.session_bodies import descriptions
from edge.sip.transaction import ServerTransaction

_METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "INFO")


class EchoNumber:
    """Its calls at this edge, by Call-ID and our tag."""

    def __init__(self, stack: Stack, forwarder: Forwarder) -> None:
        self._stack = stack
        self._forwarder = forwarder
        self._calls: dict[tuple[str, str], EchoCall] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._calls)

    def request(self, incoming: Incoming, now: float) -> None:
        """Answer a request, any but an ACK. Raises Fault."""
        stack, method = self._stack, incoming.request.method
        if method not in _METHODS:
            raise not_allowed(_METHODS)
        if not incoming.to_tag and (method != "INVITE" or not stack.transactions.owns(incoming.key[0])):
            raise Fault(481)  # decisions lead here, and nobody else's way
        body = self._answer_to(incoming)
        server = stack.serve(incoming, now)
        if method == "INVITE":
            self._answered(incoming, server, body, now)
            return
        respond(server, incoming.request, 200, now, self._headers(incoming, body), body=body)
        call = self._calls.get((incoming.call_id, incoming.to_tag))
        if method == "BYE" and call is not None:
            call.over()

    def acknowledged(self, incoming: Incoming) -> None:
        """Its ACK has come."""
        call = self._calls.get((incoming.call_id, incoming.to_tag))
        if call is not None:
            call.acknowledged()

    def _answered(self, incoming: Incoming, server: ServerTransaction, body: bytes, now: float) -> None:
        key = incoming.call_id, incoming.to_tag or server.to_tag
        call = self._calls.get(key)
        if call is None:
            tag, forget = server.to_tag, partial(self._forget, key)
            call = self._calls[key] = EchoCall(self._stack, self._forwarder, incoming, tag, forget, now)
        call.answer(incoming, server, self._headers(incoming, body), body, now)

    def _forget(self, key: tuple[str, str]) -> None:
        self._calls.pop(key, None)

    def _answer_to(self, incoming: Incoming) -> bytes:
        """The description that answers the one in a request; b"" where there is none. Raises Fault."""
        request = incoming.request
        if request.method not in ("INVITE", "UPDATE"):
            return b""
        if not self._stack.fleet.relays:
            raise Fault(501, "Not Implemented: no media are relayed here, and so none sent back")
        kind, coding = incoming.value("content-type") or "", incoming.value("content-encoding") or ""
        found = descriptions(request.body, kind, coding)
        if not found and request.method == "UPDATE":
            return b""
        session = zlib.crc32(incoming.call_id.encode("utf-8", "surrogateescape"))
        answer = mirrored(found[0], session, incoming.cseq) if found else None
        if answer is None:
            raise Fault(488, "Not Acceptable Here: the echo needs an offer of audio")
        return answer

    def _headers(self, incoming: Incoming, body: bytes) -> list[Header]:
        request = incoming.request
        headers: list[Header] = []
        if request.method in ("INVITE", "UPDATE"):
            headers += [header for header in request.headers if header[0] == "record-route"]
            uri = self._stack.fleet.uri(incoming.flow, ECHO, incoming.secure)
            headers.append(("contact", f"Contact: <{uri}>"))
        headers.append(("allow", f"Allow: {', '.join(_METHODS)}"))
        if body:
            headers.append(("content-type", "Content-Type: application/sdp"))
        return headers
