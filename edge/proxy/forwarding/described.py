"""The one session description in a message's body, and the message with another one in its place."""

from __future__ import annotations

from edge.sip.message import Header, Request, Response
from edge.sip.session_bodies import UnreadableBody, changed

_PLAIN = "application/sdp"


def description_of(message: Request | Response) -> bytes | None:
    """b"" if it has none; None if it may have one that can't be told."""
    body = message.body
    if not body:
        return b""
    kind, coding = message.get("content-type") or "", message.get("content-encoding") or ""
    if kind == _PLAIN and not coding:
        return body
    found: list[bytes] = []

    def note(description: bytes) -> bytes:
        found.append(description)
        return description

    try:
        changed(body, kind, coding, note)
    except UnreadableBody:
        return None
    whole = [description for description in found if description.startswith(b"v=")]
    return whole[0] if len(whole) == 1 else None if whole else b""


def with_description(message: Request | Response, one: bytes, other: bytes) -> tuple[list[Header], bytes]:
    """Its header fields and body, with ``other`` in the place of ``one``, which is in it."""
    kind, coding = message.get("content-type") or "", message.get("content-encoding") or ""
    try:
        body, decoded = changed(message.body, kind, coding, lambda found: other if found == one else found)
    except UnreadableBody as error:  # it has been read before
        raise AssertionError from error
    left_out = ("content-length", "content-encoding") if decoded else ("content-length",)
    headers = [header for header in message.headers if header[0] not in left_out]
    headers.append(("content-length", f"Content-Length: {len(body)}"))
    return headers, body
