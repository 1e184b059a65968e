"""What this service can do, as responses have to say it (RFC 3261 §11.2, §20.5, §21.4.6; RFC 6665 §8.3.2)."""

from __future__ import annotations

from edge.sip.incoming import Fault
from edge.sip.message import Header

_IN_DIALOGS = ("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY", "SUBSCRIBE", "OPTIONS")
_METHODS = (*_IN_DIALOGS, "REGISTER", "MESSAGE")
_KNOWN = frozenset((*_METHODS, "PUBLISH"))
EXTENSIONS = frozenset(("path", "outbound"))
"""Option tags that a Require to us may name."""


def allow(*methods: str) -> Header:
    """The methods that an address takes."""
    return ("allow", f"Allow: {', '.join(methods)}")


ABILITIES: list[Header] = [
    allow(*_METHODS),
    ("accept", "Accept: */*"),
    ("accept-encoding", "Accept-Encoding: identity"),
    ("accept-language", "Accept-Language: en"),
    ("supported", f"Supported: {', '.join(sorted(EXTENSIONS))}"),
]
"""Of the answer to OPTIONS."""

OF_CALLS = allow("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
OF_PROVIDERS = allow("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "MESSAGE", "NOTIFY")
_OF_THE_EDGE = allow("OPTIONS", "REGISTER")
_EVENTS: Header = ("allow-events", "Allow-Events: refer")  # what passes, in the dialog of its REFER (RFC 3515 §2.4.4)
_STATE = frozenset(("SUBSCRIBE", "PUBLISH"))


def unsupported(method: str) -> Fault:
    """What a request for the edge itself is answered, if there is no such thing here (§8.2.1)."""
    return Fault(405, "", (_OF_THE_EDGE,)) if method in _KNOWN else Fault(501)


def check_events(method: str) -> None:
    """Nobody's state is kept here, so there is nothing to subscribe to or to publish for (RFC 6665 §4.2.1.1, RFC 3903
    §6); and the phones that it is about can't answer for all the others. Raises Fault 489."""
    if method in _STATE:
        raise Fault(489, "", (_EVENTS,))


def needed(status: int) -> list[Header]:
    """What a response that somebody else has decided must have."""
    match status:
        case 405:
            return [OF_CALLS]
        case 489:
            return [_EVENTS]
        case _:
            return []
