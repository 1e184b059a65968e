"""Max-Breadth (RFC 5393 §5): how many branches a request may have at once, here and wherever they fork further."""

from __future__ import annotations

from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Request

MOST_BREADTH = 60
"""Where a request names none, or more (§5.3.3 recommends as much)."""


def breadth_of(incoming: Incoming) -> int:
    """What ``incoming`` may use: 1 to MOST_BREADTH. Raises Fault: 440 if that is nothing, 400 if it can't be read."""
    text = incoming.value("max-breadth")
    if text is None:
        return MOST_BREADTH
    if not (text.isascii() and text.isdecimal()):
        raise Fault(400, "Bad Request: bad Max-Breadth")
    digits = text.lstrip("0")
    if not digits:
        raise Fault(440)
    return min(int(digits), MOST_BREADTH) if len(digits) < 4 else MOST_BREADTH


def set_breadth(request: Request, breadth: int) -> None:
    """Let ``request`` have just this Max-Breadth."""
    request.headers = [header for header in request.headers if header[0] != "max-breadth"]
    request.headers.insert(1, ("max-breadth", f"Max-Breadth: {breadth}"))  # below our Via
