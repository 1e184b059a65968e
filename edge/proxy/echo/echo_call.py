"""One call of the echo number: what is sent in it without being asked."""

from __future__ import annotations

from collections.abc import Callable

from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.own_requests import Responses, make_own
from edge.proxy.forwarding.record_route import route_of
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import examine
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header, Response, make_response
from edge.sip.timers import T1, T2
from edge.sip.transaction import ServerTransaction
from edge.sip.uri import request_uri

LONGEST = 300.0
"""Seconds that it lasts: nobody needs longer to hear whether he is heard."""
_REASONS = {
    "limit": f'SIP;cause=200;text="The echo ends after {LONGEST / 60:.0f} minutes"',
    "give up": 'SIP;cause=200;text="The answer was never acknowledged"',
}


class EchoCall:
    """``timers`` is read by the TimerHeap. The To tag of our answers is ``tag``."""

    def __init__(
        self, stack: Stack, forwarder: Forwarder, invite: Incoming, tag: str, forget: Callable[[], None], now: float
    ) -> None:
        """``forget`` is called once it needs nothing more. An ``invite`` in a dialog is one of before this process: it
        says too little for a BYE."""
        self.timers: dict[str, int] = {}
        self._stack = stack
        self._forwarder = forwarder
        self._forget = forget
        request = invite.request
        self._flow = invite.flow
        self._target = request.get("contact") or ""
        self._routes = request.values("record-route")
        self._whole = not invite.to_tag
        self._dialog = (invite.call_id, f"{request.get('to')};tag={tag}", request.get("from") or "")
        self._server: ServerTransaction | None = None
        self._unheard: Response | None = None
        self._interval = T1
        if self._whole:
            stack.timers.start(self, "limit", now + LONGEST)

    def answer(
        self, invite: Incoming, server: ServerTransaction, headers: list[Header], body: bytes, now: float
    ) -> None:
        """200, again and again until its ACK comes (§13.3.1.4): the way beyond this edge may lose it."""
        self._target = invite.request.get("contact") or self._target
        self._server = server
        self._unheard = make_response(invite.request, 200, "", server.to_tag, headers, body)
        self._interval = T1
        self._stack.timers.start(self, "give up", now + 64 * T1)
        self._resend(now)

    def acknowledged(self) -> None:
        self._unheard = None
        self.timers.pop("resend", None)
        self.timers.pop("give up", None)
        if not self.timers:
            self._forget()

    def over(self) -> None:
        """It has ended."""
        self.timers.clear()
        self._forget()

    def _resend(self, now: float) -> None:
        if self._server is not None and self._unheard is not None:
            self._server.respond(self._unheard, now)
            self._stack.timers.start(self, "resend", now + self._interval)
            self._interval = min(2 * self._interval, T2)

    def on_timer(self, name: str, now: float) -> None:
        if name == "resend":
            self._resend(now)
        else:
            self.over()
            if self._whole:
                self._hang_up(_REASONS[name], now)

    def _hang_up(self, reason: str, now: float) -> None:
        """By the way that a phone's BYE takes."""
        stack = self._stack
        headers: list[Header] = [("route", f"Route: {route}") for route in self._routes]
        headers.append(("reason", f"Reason: {reason}"))
        try:
            uri = request_uri(NameAddr.parse(self._target).uri)
            request = make_own("BYE", uri, self._dialog, 1, headers)
            incoming = examine(self._flow, request, (stack.ids.token(),))
            route = route_of(incoming, stack.fleet, stack.own)
        except (Fault, ParseError):
            stack.counters["calls_unreachable"] += 1
            return
        if route is not None:
            self._forwarder.own(incoming, Responses(_nothing), route.target, now, reports=True)


def _nothing(response: Response, now: float) -> None:
    """Whatever it says, the call is over."""
