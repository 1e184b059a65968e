"""What a provider reads of a phone's session description (RFC 8866): where its packets come from, not its home."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from edge.sip.session_bodies import changed

_ADDRESSED = (b"c=IN IP", b"o=", b"a=rtcp:")
_FAMILIES = (b"IP4", b"IP6")


def published(
    body: bytes,
    content_type: str,
    public: str,
    coding: str = "",
    outside: Callable[[str], bool] = bool,
) -> tuple[bytes, bool]:
    """``body`` with addresses in its session descriptions that aren't public replaced by ``public`` in ``c=``, ``o=``
    and ``a=rtcp``, and without ICE candidates that have one (RFC 8839); whether its ``coding`` has been taken off for
    that. Addresses that aren't ``outside`` are our own, and stay. So do ports: the provider sends media to where it
    comes from. Raises UnreadableBody."""
    return changed(body, content_type, coding, partial(_published, public=public.encode(), outside=outside))


def _published(description: bytes, public: bytes, outside: Callable[[str], bool]) -> bytes:
    lines: list[bytes] = []
    for line in description.split(b"\n"):
        text = line.rstrip(b"\r")
        if text.startswith(_ADDRESSED):
            head, _, last = text.rpartition(b" ")
            address, slash, rest = last.partition(b"/")
            if _private(address, outside):
                if head.endswith(_FAMILIES):
                    head = head[:-1] + (b"6" if b":" in public else b"4")
                line = head + b" " + public + slash + rest + line[len(text) :]
        elif text.startswith(b"a=candidate:") and any(_private(word, outside) for word in text.split()):
            continue
        lines.append(line)
    return b"\n".join(lines)


def _private(text: bytes, outside: Callable[[str], bool]) -> bool:
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        return False
    return not (address.is_global or address.is_unspecified) and outside(str(address))
