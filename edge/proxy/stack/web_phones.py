"""Phones in web pages, whose scripts take an error to a REGISTER for the last word.

JsSIP and SIP.js never try again once a registration has been refused, 503 and Retry-After or not: the page would stay
without a phone until somebody loads it anew. What JsSIP, and most scripts over SIP.js, do is to register when their
WebSocket is made again after it has ended. So what is only temporary isn't said: the WebSocket ends instead, after the
seconds that Retry-After would have told, since they come back two seconds later without any spread of their own.
"""

from __future__ import annotations

from edge.sip.flow import Flow
from edge.sip.parser import parse

_WEB = ("ws", "wss")
_TEMPORARY = (b"SIP/2.0 500", b"SIP/2.0 503", b"SIP/2.0 504")
_DEFAULT = 5  # seconds


def seconds_to_end(flow: Flow, data: bytes) -> int:
    """After how many seconds the WebSocket is to end instead of ``data``'s being sent on it; 0: it is sent."""
    if flow.transport not in _WEB or not data.startswith(_TEMPORARY):
        return 0
    response = parse(data)
    if not (response.get("cseq") or "").endswith("REGISTER"):
        return 0
    return max(1, int(response.get("retry-after") or _DEFAULT))
