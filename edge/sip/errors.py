"""What the SIP layer raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.sip.message import Message


class ParseError(ValueError):
    """A message, URI or header value that doesn't follow RFC 3261 §25.

    ``message`` holds what could be read of a whole message, so that a bad request can still be answered;
    ``status`` is the response that fits (400 unless the fault has a code of its own).
    """

    def __init__(self, text: str, message: Message | None = None, status: int = 400) -> None:
        super().__init__(text)
        self.message = message
        self.status = status
