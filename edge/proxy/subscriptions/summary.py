"""What requests say of messages that wait (RFC 3842)."""

from __future__ import annotations

from edge.sip.incoming import Incoming

EVENT = "message-summary"
CONTENT_TYPE = "application/simple-message-summary"
_LONGEST = 1000  # octets
_FIRST = "messages-waiting:"
NO_MESSAGES = "Messages-Waiting: no\r\n"
"""Of an account that nobody has said anything of."""


def is_about_messages(incoming: Incoming) -> bool:
    value = incoming.value("event")
    return value is not None and value.partition(";")[0].strip().lower() == EVENT


def summary_of(incoming: Incoming) -> str:
    """The message summary that a NOTIFY brings; "" if it brings none, or one that isn't kept."""
    request = incoming.request
    if request.method != "NOTIFY" or not is_about_messages(incoming) or "content-encoding" in incoming.first:
        return ""
    content = (incoming.value("content-type") or "").partition(";")[0].strip().lower()
    if content != CONTENT_TYPE or len(request.body) > _LONGEST:
        return ""
    try:
        text = request.body.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if text.lower().startswith(_FIRST) else ""
