"""SIP and SIPS URIs (RFC 3261 §19.1)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

from edge.sip.errors import ParseError
from edge.sip.numbers import number_of

DEFAULT_PORT, DEFAULT_TLS_PORT = 5060, 5061  # §19.1.2
_HIGHEST_PORT = 65_535
_CACHE = 4096  # URIs come again: a domain's with every request, a phone's several times in each
_CACHED_LENGTH = 128  # characters; longer ones are strangers' and would fill the memory
_LONGEST_HOST = 270  # a name of 255, brackets, port, white space
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_SCHEME = _LETTERS | frozenset("0123456789+-.")
_USER = "-_.!~*'()&=+$,;"  # beside letters and digits, in a user part (§25.1)
_METHOD = frozenset(("method",))
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")  # with "_", which real networks use


class Uri(NamedTuple):
    """``params`` and ``headers`` are unparsed (``;a=b``, ``x=y``). Of ``tel`` ``user`` is all that follows (RFC 3966),
    of other schemes only ``scheme`` is set.

    ``user`` is unescaped, without a password: whoever relays a URI may escape what others don't (§19.1.4).
    ``host`` is lower case, an IPv6 address in brackets; ``port`` is 0 where none is written.
    """

    scheme: str
    user: str = ""
    host: str = ""
    port: int = 0
    params: str = ""
    headers: str = ""

    @staticmethod
    def parse(text: str) -> Uri:
        """Raises ParseError."""
        return _remembered(text) if len(text) <= _CACHED_LENGTH else Uri._parse(text)

    @staticmethod
    def _parse(text: str) -> Uri:
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if scheme == "tel":
            return Uri(scheme, rest)
        if scheme not in ("sip", "sips"):
            if not colon or scheme[:1] not in _LETTERS or not _SCHEME.issuperset(scheme):
                raise ParseError(f"not a URI: {text[:60]!r}")
            return Uri(scheme)
        if not colon:
            raise ParseError(f"not a URI: {text[:60]!r}")
        user = ""
        at = rest.find("@")
        if at >= 0:
            user, rest = rest[:at].partition(":")[0], rest[at + 1 :]
            if not user:
                raise ParseError(f"an empty user in {text[:60]!r}")
            if "%" in user:
                user = unquote(user)
        rest, _, headers = rest.partition("?")
        hostport, semicolon, params = rest.partition(";")
        host, port = parse_hostport(hostport)
        return Uri(scheme, user, host, port, semicolon + params, headers)

    @property
    def address_of_record(self) -> str:
        """``user@host``: the canonical form that AORs are compared and stored in (§10.3)."""
        return self.at(self.host)

    def at(self, host: str) -> str:
        """The address-of-record that this user has at ``host``."""
        return f"{self.user}@{host}"

    def param(self, name: str) -> str | None:
        """A URI parameter's value ("" for a flag); None if absent."""
        if not self.params:
            return None
        for part in self.params.split(";"):
            key, _, value = part.partition("=")
            if key.lower() == name:
                return value
        return None


def escaped(user: str) -> str:
    """A user part as it may be written into a URI, whatever is in it."""
    return quote(user, safe=_USER, errors="surrogateescape")


def request_uri(text: str) -> str:
    """A Contact's URI ``text`` as a Request-URI: without what a Request-URI doesn't have (§19.1.1 table 1), a method
    and header fields."""
    if "?" not in text and (";" not in text or "method" not in text.lower()):
        return text
    start = text.find("@") + 1  # a user part may have both
    rest, _, _ = text[start:].partition("?")
    return text[:start] + _without(rest, _METHOD)


def without_params(text: str, names: frozenset[str]) -> str:
    """The URI ``text`` without its parameters of these ``names``, which are lower case."""
    start = text.find("@") + 1  # a user part may have the like
    rest, question, headers = text[start:].partition("?")
    return text[:start] + _without(rest, names) + question + headers


def _without(rest: str, names: frozenset[str]) -> str:
    return ";".join(part for part in rest.split(";") if part.partition("=")[0].strip().lower() not in names)


@lru_cache(_CACHE)
def _remembered(text: str) -> Uri:
    return Uri._parse(text)


def host_in_uri(host: str) -> str:
    """A host name or IP address as URIs and Vias have it: IPv6 in brackets (§25.1)."""
    return f"[{host}]" if ":" in host else host


@lru_cache(_CACHE)
def as_written(host: str) -> str:
    """A URI's IPv6 ``host`` as everybody ought to write it (RFC 5952): there are many ways to. "" for what is none."""
    try:
        return f"[{IPv6Address(host[1:-1])}]"
    except AddressValueError:
        return ""


def parse_hostport(text: str) -> tuple[str, int]:
    """``host[:port]`` to (lower-case host, port or 0). Raises ParseError."""
    if len(text) > _LONGEST_HOST:
        raise ParseError(f"bad host {text[:60]!r}")
    return _hostport(text)


@lru_cache(_CACHE)
def _hostport(text: str) -> tuple[str, int]:
    text = text.strip().lower()
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
        valid = bool(bracket) and frozenset("0123456789abcdef:.").issuperset(host[1:-1]) and ":" in host
        if rest and not rest.startswith(":"):
            valid = False
        port = rest[1:]
    else:
        host, colon, port = text.partition(":")
        if host.endswith("."):  # §25.1 hostname: a name may be written to its end
            host = host[:-1]
        valid = bool(host) and _HOST.issuperset(host)
        rest = colon + port
    if not valid:
        raise ParseError(f"bad host {text[:60]!r}")
    if not rest:
        return host, 0
    number = number_of(port, _HIGHEST_PORT)
    if not number:
        raise ParseError(f"bad port in {text[:60]!r}")
    return host, number
