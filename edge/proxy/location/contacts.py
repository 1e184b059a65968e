"""Contacts as others write them: a phone's own URI, as its peers have seen it in a dialog."""

from __future__ import annotations

from urllib.parse import unquote

from edge.sip.errors import ParseError
from edge.sip.uri import DEFAULT_PORT, Uri

_DECIDING = ("transport", "user", "ttl", "method", "maddr", "gr")
"""Parameters that have to be in both URIs or in none (RFC 3261 §19.1.4, RFC 5627 §4.5)."""


def place_of(contact: str) -> str:
    """What URIs that may mean the same have in common, at the least; "" if it can't be read."""
    try:
        uri = Uri.parse(contact)
    except ParseError:
        return ""
    return f"{uri.address_of_record}:{uri.port or DEFAULT_PORT}"


def compatible(one: str, other: str) -> bool:
    """Whether two URIs of one place say nothing that contradicts the other: phones don't always write themselves in
    the same way to their peers and to their registrar."""
    mine, theirs = _params(one), _params(other)
    return all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


def equivalent(one: str, other: str) -> bool:
    """Whether two URIs of one place are the same (§19.1.4): of parameters that aren't in both only some count, and a
    port that isn't written is none."""
    mine, theirs = _params(one), _params(other)
    if Uri.parse(one).port != Uri.parse(other).port or not compatible(one, other):
        return False
    return not any((name in mine) != (name in theirs) for name in _DECIDING)


def _params(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in Uri.parse(text).params.split(";") if part)
    return {unquote(name).lower(): unquote(value).lower() for name, _, value in pairs}
