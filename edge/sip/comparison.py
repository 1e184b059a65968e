"""Whether two URIs are the same (RFC 3261 §19.1.4), as one text for each: what has the same text is equal."""

from __future__ import annotations

from edge.sip.uri import Uri

_RESERVED = frozenset(b";/?:@&=+$,")  # §25.1: an escaped one isn't the same as one that stands for itself
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_PLAIN = frozenset(range(0x21, 0x7F)) - {ord("%")}


def comparable(text: str) -> str:
    """A SIP or SIPS URI with all that tells it from others, in one spelling: scheme, user and password, host, port,
    transport, the other parameters and the headers by name. Raises ParseError.

    §19.1.4 leaves out of the comparison a parameter that only one of two URIs has, unless it is user, ttl, method,
    maddr or transport. That can't be said of one URI by itself, nor is it transitive: here every parameter counts."""
    uri = Uri.parse(text)
    rest = text.partition(":")[2]
    user = _spelled(rest[: rest.find("@")]) if uri.user else ""
    transport, others = "", []
    for name, equals, value in (part.partition("=") for part in uri.params.split(";") if part):
        name = _spelled(name.strip()).lower()
        value = _spelled(value.strip()).lower()
        if name == "transport" and not transport:
            transport = value
        else:
            others.append(f";{name}{equals}{value}")
    found = f"{uri.scheme}:{user}@{uri.host}:{uri.port or ''};{transport}{''.join(sorted(others))}"
    return f"{found}?{_headers(uri.headers)}" if uri.headers else found


def _headers(text: str) -> str:
    """Their order says nothing, their values may."""
    pairs = (part.partition("=") for part in text.split("&") if part)
    return "&".join(sorted(f"{_spelled(name).lower()}={_spelled(value)}" for name, _, value in pairs))


def _spelled(text: str) -> str:
    """Escaped is what can't be read, or is reserved and was escaped; nothing else."""
    if "%" not in text:
        return text if text.isascii() and text.isprintable() else _escaped(text)
    head, *tail = text.split("%")
    spelled = [_escaped(head)]
    for part in tail:
        octet = int(part[:2], 16) if len(part) > 1 and _HEXADECIMAL.issuperset(part[:2]) else 0
        if octet in _PLAIN and octet not in _RESERVED:
            spelled.append(chr(octet))
        else:
            spelled.append(f"%{_escaped(part[:2]).upper()}")
        spelled.append(_escaped(part[2:]))
    return "".join(spelled)


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(one) if one in _PLAIN else f"%{one:02X}" for one in octets)
