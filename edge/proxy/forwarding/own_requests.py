"""Requests of our own in dialogs of others: they take the way that every request of that side takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.proxy.stack.validation import MAX_FORWARDS
from edge.sip.message import Header, Request, Response


def make_own(
    method: str,
    uri: str,
    dialog: tuple[str, str, str],
    cseq: int,
    headers: Sequence[Header] = (),
    body: bytes = b"",
) -> Request:
    """``dialog`` is its Call-ID, and the values of From and To. Without a Via: whoever forwards it adds that."""
    call_id, sender, receiver = dialog
    return Request(
        method,
        uri,
        [
            ("max-forwards", f"Max-Forwards: {MAX_FORWARDS}"),
            ("from", f"From: {sender}"),
            ("to", f"To: {receiver}"),
            ("call-id", f"Call-ID: {call_id}"),
            ("cseq", f"CSeq: {cseq} {method}"),
            *headers,
            ("content-length", f"Content-Length: {len(body)}"),
        ],
        body,
    )


class Responses:
    """Where the responses to a request of ours go: ``then`` gets each but a 100."""

    def __init__(self, then: Callable[[Response, float], None], to_tag: str = "") -> None:
        """``to_tag`` is for those that are made here, outside a dialog."""
        self.once = False
        self.ended = False
        self.to_tag = to_tag
        self._then = then

    def respond(self, response: Response, now: float) -> None:
        if response.status > 100:
            self._then(response, now)
