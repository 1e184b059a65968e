"""What keeps this edge's disk from telling what it holds: AES-256-GCM with a key made from the edge's own."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_TAG = 16


class Sealing:
    """``key`` has 32 octets. ``place`` says what a value is and where it stands; it opens nowhere else. Nonces are
    random, which is good for 2^32 values (NIST SP 800-38D §8.3)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, place: str) -> bytes:
        """Nonce, ciphertext and tag: 28 octets more than the value."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes | None:
        """None for what this key hasn't sealed, or not for this place, or what has been damaged."""
        if len(sealed) < _NONCE + _TAG:
            return None
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], place.encode())
        except InvalidTag:
            return None
