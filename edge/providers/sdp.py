"""What a provider reads of a phone's session description (RFC 8866): where its packets come from, not its home."""

from __future__ import annotations

from ipaddress import IPv4Address

_LINES = (b"c=IN IP4 ", b"o=")


def published(body: bytes, content_type: str, public: str) -> bytes:
    """``body`` with its private addresses (RFC 1918) in ``c=`` and ``o=`` replaced by ``public``. Ports stay: the
    provider sends media to where it comes from."""
    if not body or not content_type.lower().startswith("application/sdp"):
        return body
    lines = body.split(b"\r\n")
    for index, line in enumerate(lines):
        if line.startswith(_LINES):
            head, _, address = line.rpartition(b" ")
            if _private(address):
                lines[index] = head + b" " + public.encode()
    return b"\r\n".join(lines)


def _private(text: bytes) -> bool:
    try:
        address = IPv4Address(text.decode("ascii"))
    except ValueError:
        return False
    return address.is_private and not address.is_unspecified
