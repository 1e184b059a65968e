"""What this service can do, as responses have to say it (RFC 3261 §11.2, §20.5, §21.4.6; RFC 6665 §8.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from edge.sip.incoming import Fault
from edge.sip.message import Header

IN_DIALOGS = ("INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY", "SUBSCRIBE", "OPTIONS")
_METHODS = (*IN_DIALOGS, "REGISTER", "MESSAGE")
_OF_THE_EDGE = ("OPTIONS", "REGISTER")
_OF_CALLS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS")
_KNOWN = frozenset((*_METHODS, "PUBLISH"))
_STATE = frozenset(("SUBSCRIBE", "PUBLISH"))
_EVENTS: Header = ("allow-events", "Allow-Events: refer, message-summary")  # the first passes, after a REFER

EXTENSIONS = frozenset(("path", "outbound", "gruu"))
"""Option tags that a Require to us may name."""


def _allow(methods: Sequence[str]) -> Header:
    return ("allow", f"Allow: {', '.join(methods)}")


ABILITIES: list[Header] = [
    _allow(_METHODS),
    ("accept", "Accept: */*"),
    ("accept-encoding", "Accept-Encoding: identity"),
    ("accept-language", "Accept-Language: en"),
    ("supported", f"Supported: {', '.join(sorted(EXTENSIONS))}"),
]
"""Of the answer to OPTIONS."""


def not_allowed(methods: Sequence[str], reason: str = "") -> Fault:
    """405; ``methods`` are those that whoever was asked for takes."""
    return Fault(405, reason, (_allow(methods),))


def unsupported(method: str) -> Fault:
    """What a request for the edge itself is answered, if there is no such thing here (§8.2.1)."""
    return not_allowed(_OF_THE_EDGE) if method in _KNOWN else Fault(501)


def check_events(method: str) -> None:
    """But for message summaries nobody's state is kept here, so there is nothing to subscribe to or to publish for
    (RFC 6665 §4.2.1.1, RFC 3903 §6); and the phones that it is about can't answer for all the others. Raises Fault
    489."""
    if method in _STATE:
        raise Fault(489, "", (_EVENTS,))


def needed(status: int) -> list[Header]:
    """What a response that somebody else has decided must have."""
    match status:
        case 405:
            return [_allow(_OF_CALLS)]
        case 489:
            return [_EVENTS]
        case _:
            return []
