"""base64url without padding (RFC 4648 §5): how octets stand in the user part of a URI."""

from __future__ import annotations

import base64


def encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises ValueError for text that isn't base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
