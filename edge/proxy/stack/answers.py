"""The answers that an edge makes itself."""

from __future__ import annotations

from collections import Counter

from edge.proxy.stack.authentication import Authenticator
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.validation import Fault, Incoming
from edge.sip.message import Header, Request, make_response
from edge.sip.transaction import ServerTransaction
from lambdas.contract import Reject

RETRY_AFTER = 5  # seconds


class Answering:
    """What the core has of them."""

    counters: Counter[str]
    authenticator: Authenticator
    fleet_now: Fleet

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

    def refuse(self, server: ServerTransaction, request: Request, fault: Fault, now: float) -> None:
        self.respond(server, request, fault.status, now, list(fault.headers), fault.reason)

    def reject(self, server: ServerTransaction, incoming: Incoming, decision: Reject, now: float) -> None:
        headers: list[Header] = []
        if decision.min_expires is not None:
            headers.append(("min-expires", f"Min-Expires: {decision.min_expires}"))
        if decision.retry_after is not None:
            headers.append(("retry-after", f"Retry-After: {decision.retry_after}"))
        if decision.contact:
            headers.append(("contact", f"Contact: <{decision.contact}>"))
        self.respond(server, incoming.request, decision.status, now, headers, decision.reason)

    def challenge(self, server: ServerTransaction, incoming: Incoming, realm: str, now: float) -> None:
        """Ask for credentials again."""
        fault = self.authenticator.fault(incoming, realm, self.fleet_now, now)
        self.refuse(server, incoming.request, fault, now)

    def unavailable(self, server: ServerTransaction, incoming: Incoming, now: float) -> None:
        """No decision could be had."""
        self.counters["unavailable"] += 1
        retry: list[Header] = [("retry-after", f"Retry-After: {RETRY_AFTER}")]
        self.respond(server, incoming.request, 503, now, retry)
