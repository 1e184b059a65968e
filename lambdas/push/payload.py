"""What a push tells the phone: as little as it needs, since others carry it."""

from __future__ import annotations

from lambdas.repositories.pushes import PushOrder

CALL_WAITS = 20
"""Seconds that a call waits: a push that comes later is of no use."""
_REFRESH_WAITS = 110


def told(order: PushOrder) -> dict[str, str]:
    """``event`` is "call", "message" or "refresh"; with the request's ``call-id``, by which the program knows what it
    was woken for, and where its tenant wants that, who calls."""
    data = {"event": order.why}
    if order.call_id:
        data["call-id"] = order.call_id[:256]
    if order.caller:
        data["from-uri"] = f"sip:{order.caller}"
    return data


def lifetime(order: PushOrder) -> int:
    """For how many seconds it is worth delivering."""
    return _REFRESH_WAITS if order.why == "refresh" else CALL_WAITS
