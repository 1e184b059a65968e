"""Digest access authentication as a server asks for it (RFC 3261 §22, RFC 7616, RFC 8760).

The nonce is stateless: any edge that has the fleet's key can tell when it was made and for which source address.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from hashlib import blake2s

NONCE_LIFE = 300  # seconds
ALGORITHMS = ("MD5", "SHA-256")  # what accounts have hashes for

MAX_USES = 256  # of one nonce, so that nobody fills the memory with one

_MAC = 12  # octets of keyed BLAKE2s (RFC 7693 §2.9): twice as fast as an HMAC


def make_nonce(key_id: int, key: bytes, source: str, now: float, salt: bytes) -> str:
    """A nonce for the client at IP address ``source``. ``key`` has 32 octets, ``now`` is wall-clock
    time, ``salt`` 4 random octets."""
    head = struct.pack("!BI4s", key_id, int(now), salt)
    return (head + _seal(key, head, source)).hex()


def nonce_age(nonce: str, keys: dict[int, bytes], source: str, now: float) -> float | None:
    """Seconds since ``nonce`` was made for ``source``; None if no edge with one of ``keys`` made it."""
    try:
        raw = bytes.fromhex(nonce)
        key_id, made, _ = struct.unpack_from("!BI4s", raw)
    except (ValueError, struct.error):
        return None
    key = keys.get(key_id)
    if key is None or not hmac.compare_digest(raw[9:], _seal(key, raw[:9], source)):
        return None
    return max(0.0, now - float(made))


def _seal(key: bytes, head: bytes, source: str) -> bytes:
    return blake2s(head + source.encode(), digest_size=_MAC, key=key).digest()


def challenge(realm: str, nonce: str, stale: bool, algorithms: Sequence[str]) -> list[str]:
    """The values of one WWW-Authenticate or Proxy-Authenticate header field for each of ``algorithms``."""
    extra = ", stale=true" if stale else ""
    return [
        f'Digest realm="{realm}", nonce="{nonce}", qop="auth", algorithm={algorithm}{extra}' for algorithm in algorithms
    ]


class SpentNonces:
    """Which (nonce, nonce count) pairs this edge has seen, so that none is accepted twice (RFC 7616 §5.5).

    Counts may arrive out of order (§3.4 only says that they increase at the sender), so a set is kept for each
    nonce, for as long as the nonce lives: two generations, each NONCE_LIFE long.
    """

    def __init__(self) -> None:
        self._young: dict[str, set[int]] = {}
        self._old: dict[str, set[int]] = {}
        self._turn = 0.0

    def spend(self, nonce: str, count: int, now: float) -> bool:
        """Note the use; False if it isn't the first, or the nonce has been used too often.

        ``count`` is 0 where the client sent no qop.
        """
        if now >= self._turn:
            # After more than one whole life nothing of the young generation can still be valid.
            self._old = self._young if now < self._turn + NONCE_LIFE else {}
            self._young = {}
            self._turn = now + NONCE_LIFE
        counts = self._young.get(nonce)
        if counts is None:
            counts = self._young[nonce] = self._old.pop(nonce, set())
        if count in counts or len(counts) >= MAX_USES:
            return False
        counts.add(count)
        return True
