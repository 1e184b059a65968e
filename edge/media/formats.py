"""The formats (payload types) that an answer names, where they aren't those that were offered.

An answer may have other numbers than the offer (RFC 3264 §6.1), as gateways have for telephone events. rtpengine
10.5.3.5 takes such formats out of it, and where none is left it sends what it can't match as another source (SSRC).
Nothing is transcoded, so it need not know: it is told those that were offered, and lets packets of any number pass.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import eq, le

_OF_FORMATS = (b"a=rtpmap:", b"a=fmtp:", b"a=rtcp-fb:")


def told(answer: bytes, offer: bytes) -> bytes:
    """``answer`` as the engine is to see it. All bodies here have lines that end with CRLF."""
    return _replaced(answer, offer, le)


def restored(described: bytes, answer: bytes) -> bytes:
    """``described``, which the engine has made of an answer, with the formats that ``answer`` has."""
    return _replaced(described, answer, eq)


def _replaced(body: bytes, by: bytes, fits: Callable[[set[bytes], set[bytes]], bool]) -> bytes:
    """``body`` with the formats of ``by``, in each of its lines of media whose own don't fit."""
    session, *media = body.split(b"\r\nm=")
    others = by.split(b"\r\nm=")[1:]
    if len(media) != len(others):
        return body
    return b"\r\nm=".join([session, *(_medium(*pair, fits) for pair in zip(media, others, strict=True))])


def _medium(medium: bytes, by: bytes, fits: Callable[[set[bytes], set[bytes]], bool]) -> bytes:
    first, *lines = medium.split(b"\r\n")
    words, named = first.split(), by.partition(b"\r\n")[0].split()[3:]
    if fits(set(words[3:]), set(named)):
        return medium
    formats = [line for line in by.split(b"\r\n") if line.startswith(_OF_FORMATS)]
    rest = [line for line in lines if not line.startswith(_OF_FORMATS)]
    # Attributes come last (RFC 8866 §5); after the last line there is an empty one.
    at = next((number for number, line in enumerate(rest) if line[:2] in (b"a=", b"")), len(rest))
    return b"\r\n".join([b" ".join([*words[:3], *named]), *rest[:at], *formats, *rest[at:]])
