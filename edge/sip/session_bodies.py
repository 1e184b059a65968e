"""Session descriptions in the bodies of messages, wherever they stand: as the body itself, or as a part of a multipart
body (RFC 5621 §3), which may have a transfer encoding (RFC 2045 §6) and a content coding (RFC 3261 §20.12).

What changes a description must see every one. A body that may hold one, and can't be read, is an ``UnreadableBody``;
one that holds none is nobody's business, however it looks.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable

from edge.sip.errors import ParseError
from edge.sip.headers import parse_params

Change = Callable[[bytes], bytes]
"""Gets a session description (RFC 8866), or a fragment of one (RFC 8840), and gives what is to stand there."""

MOST_PARTS, DEEPEST = 20, 4
"""Of a multipart body: parts on each level, and levels."""
_LONGEST = 65_535  # octets of a body when its coding is taken off
_DESCRIPTIONS = frozenset(("application/sdp", "application/trickle-ice-sdpfrag"))
_CODED = frozenset(("gzip", "x-gzip", "deflate"))
_SIGNS = (b"c=IN IP", b"a=candidate:")
_PLAIN = frozenset(("", "7bit", "8bit", "binary"))


class UnreadableBody(ValueError):
    """It may hold a session description."""


def changed(body: bytes, content_type: str, coding: str, change: Change) -> tuple[bytes, bool]:
    """``body`` with each session description in it changed, and whether its ``coding`` (Content-Encoding) has been
    taken off for that. Raises UnreadableBody."""
    kind = _kind(content_type) if content_type or not body.startswith(b"v=0") else "application/sdp"
    if not body or not (kind in _DESCRIPTIONS or kind.startswith(("multipart/", "message/"))):
        return body, False
    codings = [name for name in (word.strip().lower() for word in coding.split(",")) if name not in ("", "identity")]
    plain = _decoded(body, codings) if codings else body
    found = _changed(plain, kind, content_type, change, 0)
    return (body, False) if found == plain else (found, bool(codings))


def descriptions(body: bytes, content_type: str, coding: str = "") -> list[bytes]:
    """Those in ``body``, in order; none if it can't be read."""
    found: list[bytes] = []

    def note(description: bytes) -> bytes:
        found.append(description)
        return description

    try:
        changed(body, content_type, coding, note)
    except UnreadableBody:
        return []
    return found


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _decoded(body: bytes, codings: list[str]) -> bytes:
    if len(codings) > 1 or codings[0] not in _CODED:
        raise UnreadableBody(f"a coding that isn't known: {', '.join(codings)[:60]}")
    inflating = zlib.decompressobj(47)  # either header, gzip's or zlib's
    try:
        found = inflating.decompress(body, _LONGEST)
    except zlib.error as error:
        raise UnreadableBody("not what its coding says") from error
    if inflating.unconsumed_tail or not inflating.eof:
        raise UnreadableBody("longer than a message may be, or cut off")
    return found


def _changed(body: bytes, kind: str, content_type: str, change: Change, depth: int) -> bytes:
    if kind in _DESCRIPTIONS:
        return change(body)
    if kind.startswith("multipart/"):
        return _multipart(body, content_type, change, depth)
    if kind.startswith("message/"):
        _check_free(body, f"within {kind}")
    return body


def _check_free(body: bytes, where: str) -> None:
    if any(sign in body for sign in _SIGNS):
        raise UnreadableBody(f"a session description {where}")


def _multipart(body: bytes, content_type: str, change: Change, depth: int) -> bytes:
    """RFC 2046 §5.1. What stands between and around the parts stays as it is."""
    try:
        boundary = parse_params(content_type.partition(";")[2]).get("boundary", "").rstrip()
    except ParseError:
        boundary = ""
    if not boundary or depth >= DEEPEST:
        _check_free(body, "in a multipart body that can't be read")
        return body
    delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
    out: list[bytes] = []
    part: list[bytes] | None = None  # the lines of the present one; None before the first, and after the last
    rest: list[bytes] = []
    count, closed = 0, False
    for line in body.split(b"\n"):
        text = line.rstrip(b" \t\r")
        if closed or text not in (delimiter, delimiter + b"--"):
            (rest if part is None else part).append(line)
            continue
        count += 1
        if count > MOST_PARTS + 1:
            raise UnreadableBody("a multipart body of too many parts")
        _check_free(b"\n".join(rest), "before the parts")
        out += rest if part is None else _part(part, change, depth)
        out.append(line)
        closed = text != delimiter
        rest, part = [], None if closed else []
    _check_free(b"\n".join(rest), "after the parts")
    # One that isn't closed ends with the body: whoever is lenient reads it all the same.
    return b"\n".join([*out, *(rest if part is None else _part(part, change, depth))])


def _part(lines: list[bytes], change: Change, depth: int) -> list[bytes]:
    """A part's lines, its header fields first."""
    end = next((number for number, line in enumerate(lines) if not line.strip()), len(lines))
    fields = _fields(lines[:end])
    head, content = lines[:end], b"\n".join(lines[end + 1 :])
    body = content.removesuffix(b"\r")  # that line break is the delimiter's
    ending = content[len(body) :]
    content_type = fields.get("content-type", "text/plain")
    kind = _kind(content_type)
    if not (kind in _DESCRIPTIONS or kind.startswith(("multipart/", "message/"))):
        return lines
    if fields.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnreadableBody("a part with a coding")
    encoding = fields.get("content-transfer-encoding", "").strip().lower()
    plain = _untransferred(body, encoding)
    found = _changed(plain, kind, content_type, change, depth + 1)
    if found == plain:
        return lines
    # Its length, which some say, is another one now.
    kept = [line for line in head if line.partition(b":")[0].strip().lower() != b"content-length"]
    separator = lines[end : end + 1]
    return [*kept, *separator, *(_transferred(found, encoding) + ending).split(b"\n")]


def _fields(lines: list[bytes]) -> dict[str, str]:
    """Names in lower case; the first of two wins."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r")
        if text[:1] in (" ", "\t") and name:
            fields[name] += " " + text.strip()
            continue
        name, _, value = text.partition(":")
        name = name.strip().lower()
        if name in fields:
            name = ""
        else:
            fields[name] = value.strip()
    return fields


def _untransferred(body: bytes, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            return binascii.a2b_base64(body.translate(None, b" \t\r\n"), strict_mode=True)
    except binascii.Error as error:
        raise UnreadableBody("a part that isn't base64") from error
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding not in _PLAIN:
        raise UnreadableBody(f"a transfer encoding that isn't known: {encoding[:60]}")
    return body


def _transferred(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        return b"\r\n".join(
            binascii.b2a_base64(body[start : start + 57], newline=False) for start in range(0, len(body), 57)
        )
    if encoding == "quoted-printable":
        return binascii.b2a_qp(body, istext=False)
    return body
