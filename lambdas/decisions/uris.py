"""The little of URIs that the control plane reads: it has no SIP parser."""

from __future__ import annotations

import contextlib
import ipaddress
import re

SIP_URI = (
    r"sip:([A-Za-z0-9\-_.!~*'()%&=+$,]{1,64}@)?([A-Za-z0-9][A-Za-z0-9.\-]{0,100}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(:[0-9]{1,5})?(;[A-Za-z0-9\-_.!~*'()%&=+$,;]{1,60})?"
)
"""A pattern for the SIP URIs that are taken: they go into messages as they are, so nothing that could end a header
field or its brackets, and no headers behind a question mark."""
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
_USER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()%&=+$,")


def is_user(text: str) -> bool:
    """Whether ``text`` may stand as the user part of a URI."""
    return bool(text) and len(text) <= 64 and _USER.issuperset(text)


def sip_uri(text: str) -> tuple[str, str, int, str]:
    """``sip:user@host:port;transport=tcp`` taken apart: (user, host as it is compared, port or 0, transport in lower
    case, "" where none is said)."""
    user, _, rest = text.removeprefix("sip:").rpartition("@")
    place, *params = rest.split(";")
    host, port = hostport(place)
    transport = next(
        (param[len("transport=") :].lower() for param in params if param.lower().startswith("transport=")), ""
    )
    return user, host_name(host), port, transport


def host_name(text: str) -> str:
    """A host as it is compared: in lower case, without the dot that names may end with; an address of IPv6 in its one
    spelling (RFC 5952), in brackets."""
    if text.startswith("["):
        with contextlib.suppress(ValueError):
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
    return text.lower().removesuffix(".")


def is_aor(text: str) -> bool:
    """Whether it is like alice@example.com."""
    user, _, host = text.partition("@")
    return is_user(user) and len(host) <= 253 and bool(host) and set(host) <= _HOST


def is_destination(text: str) -> bool:
    """Whether a call may be sent on to it: an account, a number or a SIP address."""
    return bool(re.fullmatch(SIP_URI, text)) or is_aor(text) or is_user(text)


def hostport(text: str) -> tuple[str, int]:
    """``host[:port]`` taken apart, an address of IPv6 in brackets; port 0 where none is written. Raises ValueError."""
    bracketed, bracket, rest = text.partition("]")
    host, colon, port = rest.partition(":") if bracket else text.partition(":")
    host = bracketed + bracket + host if bracket else host
    if not host or (colon and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"{text!r} is not like sip.example.net or sip.example.net:5060")
    return host, int(port or 0)
