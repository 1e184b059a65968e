"""One phone's subscription to its account's message summary: what is sent in its dialog (RFC 6665 §4.2.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.proxy.forwarding.own_requests import make_own
from edge.proxy.stack.stack import Stack
from edge.proxy.subscriptions.summary import CONTENT_TYPE
from edge.sip.message import Header, Response, header_of
from edge.sip.strict_routing import obey
from edge.sip.transaction import ClientTransaction, NonInviteClient
from edge.sip.uri import request_uri

_FIRST_CSEQ = 1_767_225_600
"""Unix time that CSeqs count from: one that goes on after its edge was started anew has a higher number than before."""
OWN_CONTACT = "message-summary"
"""The user that SUBSCRIBEs in the dialog go to, at whoever holds the edge address."""


class SummarySubscription:
    """NOTIFYs go out one after another, since a phone takes those that overtake each other for wrong (RFC 3261
    §12.2.2); of several summaries that come meanwhile the last one does. ``aor`` is whose it is, ``binding`` the phone
    that is told, wherever that is by then; ``heard`` is the CSeq of its last SUBSCRIBE, and until ``fresh_until`` the
    summary needn't be asked for. ``timers`` is read by the TimerHeap."""

    def __init__(
        self,
        stack: Stack,
        aor: str,
        binding: str,
        dialog: tuple[str, str, str],
        over: Callable[[SummarySubscription], None],
        now: float,
    ) -> None:
        """``dialog`` is its Call-ID, and From and To as they stand in NOTIFYs; ``over`` hears once of its end."""
        self.aor = aor
        self.binding = binding
        self.dialog = dialog
        self.heard = 0
        self.summary: str | None = None
        self.fresh_until = now
        self.timers: dict[str, int] = {}
        self._stack = stack
        self._over = over
        self._live = True
        self._reason = ""
        self._until = now
        self._target = ""
        self._event = ""
        self._routes: Sequence[str] = ()
        self._cseq = int(stack.wall(now)) - _FIRST_CSEQ
        self._sending = False
        self._waits = False

    def renew(self, target: str, event: str, routes: Sequence[str], seconds: int, now: float) -> None:
        """A SUBSCRIBE with this Contact, Event and route set has come: it lasts for ``seconds`` more."""
        self._target, self._event, self._routes = target, event, routes
        self._until = now + seconds
        self._stack.timers.start(self, "expire", self._until)

    def take_over(self, other: SummarySubscription) -> None:
        """It goes on in the dialog of ``other``, which ends without a word."""
        self._cseq = max(self._cseq, other._cseq)
        other.drop()

    def show(self, summary: str | None, now: float) -> None:
        """Tell it; None: nobody can say just now."""
        self.summary = summary
        if self._sending:
            self._waits = True
        else:
            self._send(now)

    def end(self, reason: str, now: float) -> None:
        """With a last NOTIFY, which says why."""
        self._reason = reason
        self.drop()
        self.show(self.summary, now)

    def on_timer(self, name: str, now: float) -> None:
        self.end("timeout", now)

    def drop(self) -> None:
        """Without a word."""
        self.timers.clear()
        self._waits = False
        if self._live:
            self._live = False
            self._over(self)

    def _send(self, now: float) -> None:
        stack = self._stack
        held = stack.bindings.get(self.binding)
        if held is None:
            self.drop()  # its phone is registered here no longer
            return
        self._sending, self._waits = True, False
        self._cseq += 1
        branch = stack.transactions.branch()
        body = (self.summary or "").encode()
        request = make_own("NOTIFY", request_uri(self._target), self.dialog, self._cseq, self._headers(body, now), body)
        request.headers.insert(0, header_of(stack.fleet.via(held.flow, branch)))
        contact = f"Contact: <{stack.fleet.uri(held.flow, OWN_CONTACT)}>"
        request.headers.insert(1, ("contact", contact))
        obey(request)
        stack.counters["message_summaries"] += 1
        stack.transactions.begin(NonInviteClient(stack, self, request, branch, held.flow), now)

    def _headers(self, body: bytes, now: float) -> list[Header]:
        left = max(0, round(self._until - now))
        state = f"terminated;reason={self._reason}" if self._reason else f"active;expires={left}"
        headers: list[Header] = [("route", f"Route: {route}") for route in self._routes]
        headers += [("event", f"Event: {self._event}"), ("subscription-state", f"Subscription-State: {state}")]
        if body:
            headers.append(("content-type", f"Content-Type: {CONTENT_TYPE}"))
        return headers

    # What its phone says to that

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status < 200:
            return
        self._sending = False
        if response.status >= 300:  # it knows of no such subscription, or can't take it
            self.drop()
        elif self._waits:
            self._send(now)

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        self.drop()

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        self.drop()

    def on_end(self, transaction: ClientTransaction) -> None: ...
