"""The responses that an edge makes itself, as a UAS (RFC 3261 §8.2.6)."""

from __future__ import annotations

import zlib
from collections import Counter
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol

from edge.proxy.stack.abilities import needed
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr
from edge.sip.incoming import Fault
from edge.sip.message import Header, Request, Response, make_response
from lambdas.contract import Reject

RETRY_AFTER = 5  # seconds
_SPREAD = 4  # times as many


def retry_after(seconds: int) -> Header:
    """§20.33."""
    return ("retry-after", f"Retry-After: {seconds}")


def date(wall: float) -> Header:
    """§20.17, of Unix time ``wall``."""
    return _date(int(wall))


@lru_cache(1)
def _date(second: int) -> Header:
    return ("date", f"Date: {formatdate(second, usegmt=True)}")


def spread_retry_after(request: Request, seconds: int = RETRY_AFTER) -> Header:
    """From ``seconds`` to four times as many, the same for whoever sent ``request`` each time: phones obey to the
    second, and all of an edge would come at one instant."""
    try:
        sender = NameAddr.parse(request.get("from") or "").uri
    except ParseError:
        sender = ""
    spread = zlib.crc32(sender.encode("utf-8", "surrogateescape")) % ((_SPREAD - 1) * seconds + 1)
    return retry_after(seconds + spread)


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
    body: bytes = b"",
) -> None:
    upstream.respond(make_response(request, status, reason, upstream.to_tag, headers or (), body), now)


def refuse(upstream: Upstream, request: Request, fault: Fault, now: float) -> None:
    """As ``fault`` says."""
    respond(upstream, request, fault.status, now, list(fault.headers), fault.reason)


def reject(upstream: Upstream, request: Request, decision: Reject, now: float) -> None:
    """As the control plane has decided."""
    headers = needed(decision.status)
    if decision.min_expires is not None:
        headers.append(("min-expires", f"Min-Expires: {decision.min_expires}"))
    if decision.retry_after is not None:
        headers.append(spread_retry_after(request, decision.retry_after))
    if decision.contact:
        headers.append(("contact", f"Contact: <{decision.contact}>"))
    respond(upstream, request, decision.status, now, headers, decision.reason)


def unavailable(upstream: Upstream, request: Request, counters: Counter[str], now: float) -> None:
    """No decision could be had."""
    counters["unavailable"] += 1
    respond(upstream, request, 503, now, [spread_retry_after(request)])
