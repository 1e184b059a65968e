"""The responses that an edge makes itself, as a UAS (RFC 3261 §8.2.6)."""

from __future__ import annotations

from collections import Counter
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol

from edge.proxy.stack.abilities import needed
from edge.sip.incoming import Fault
from edge.sip.message import Header, Request, Response, make_response
from lambdas.contract import Reject

RETRY_AFTER = 5  # seconds


def retry_after(seconds: int) -> Header:
    """§20.33."""
    return ("retry-after", f"Retry-After: {seconds}")


def date(wall: float) -> Header:
    """§20.17, of Unix time ``wall``."""
    return _date(int(wall))


@lru_cache(1)
def _date(second: int) -> Header:
    return ("date", f"Date: {formatdate(second, usegmt=True)}")


class Upstream(Protocol):
    """Where a request came from, and its responses go: a server transaction, mostly. ``once`` and ``ended``: as it has
    them."""

    once: bool
    to_tag: str

    @property
    def ended(self) -> bool: ...

    def respond(self, response: Response, now: float) -> None: ...


def respond(
    upstream: Upstream,
    request: Request,
    status: int,
    now: float,
    headers: list[Header] | None = None,
    reason: str = "",
) -> None:
    upstream.respond(make_response(request, status, reason, upstream.to_tag, headers or ()), now)


def refuse(upstream: Upstream, request: Request, fault: Fault, now: float) -> None:
    """As ``fault`` says."""
    respond(upstream, request, fault.status, now, list(fault.headers), fault.reason)


def reject(upstream: Upstream, request: Request, decision: Reject, now: float) -> None:
    """As the control plane has decided."""
    headers = needed(decision.status)
    if decision.min_expires is not None:
        headers.append(("min-expires", f"Min-Expires: {decision.min_expires}"))
    if decision.retry_after is not None:
        headers.append(retry_after(decision.retry_after))
    if decision.contact:
        headers.append(("contact", f"Contact: <{decision.contact}>"))
    respond(upstream, request, decision.status, now, headers, decision.reason)


def unavailable(upstream: Upstream, request: Request, counters: Counter[str], now: float) -> None:
    """No decision could be had."""
    counters["unavailable"] += 1
    respond(upstream, request, 503, now, [retry_after(RETRY_AFTER)])
