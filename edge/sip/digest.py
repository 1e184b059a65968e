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

MAX_USES = 256
"""Uses of one nonce, so that nobody fills the memory with one."""
MAX_NONCES = 100_000
"""Nonces in each of two generations: some 18 MB each."""

_FRACTIONS = 65536  # of a second: where edges of before have a random number, which says as much as a second's end
_MAC = 12  # octets of keyed BLAKE2s (RFC 7693 §2.9): twice as fast as an HMAC


def make_nonce(key_id: int, key: bytes, source: str, now: float, salt: bytes) -> str:
    """A nonce for the client at IP address ``source``. ``key`` has 32 octets, ``now`` is wall-clock
    time; of ``salt``, random octets, the last two are used."""
    head = struct.pack("!BIH2s", key_id, int(now), int(now % 1 * _FRACTIONS), salt[-2:])
    return (head + _seal(key, head, source)).hex()


def nonce_age(nonce: str, keys: dict[int, bytes], source: str, now: float) -> float | None:
    """Seconds since ``nonce`` was made for ``source``; None if no edge with one of ``keys`` made it, or not as it is
    spelled: its hexadecimal has one form only."""
    try:
        raw = bytes.fromhex(nonce)
        key_id, made, fraction = struct.unpack_from("!BIH", raw)
    except (ValueError, struct.error):
        return None
    key = keys.get(key_id)
    if key is None or not hmac.compare_digest(raw[9:], _seal(key, raw[:9], source)) or raw.hex() != nonce:
        return None
    made_at = float(made) + float(fraction) / _FRACTIONS
    return max(0.0, now - made_at)


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

    Counts may arrive out of order (§3.4 only says that they increase at the sender), so each nonce has a bit for each
    of its counts, for as long as it lives: in two generations of NONCE_LIFE, or of MAX_NONCES if those come sooner.
    Nonces that were made before the older generation began may have been forgotten, and aren't accepted any more.
    """

    def __init__(self) -> None:
        self._young: dict[int, int] = {}  # by hash: 64 bits that nobody chooses, in a third of the memory
        self._old: dict[int, int] = {}
        self._turn = 0.0
        self._began = (float("-inf"), float("-inf"))  # of the older generation, of the younger one

    def is_spent(self, nonce: str, count: int) -> bool:
        """Whether this use is known not to be the first."""
        name = hash(nonce)
        return bool((self._young.get(name, 0) | self._old.get(name, 0)) & _bit(count))

    def spend(self, nonce: str, count: int, age: float, now: float) -> bool:
        """Note the use of a nonce that was made ``age`` seconds ago; False if it isn't the first, or it has been used
        too often, or nobody can tell any more. ``count`` is 0 where the client sent no qop."""
        if now >= self._turn or len(self._young) >= MAX_NONCES:
            self._next_generation(now)
        if now - age < self._began[0]:
            return False
        name = hash(nonce)
        used = self._young.get(name)
        if used is None:
            used = self._old.pop(name, 0)
        bit = _bit(count)
        self._young[name] = used | bit
        return not used & bit

    def _next_generation(self, now: float) -> None:
        if now >= self._turn + NONCE_LIFE:
            self._young = {}  # after more than one whole life nothing of it can still be valid
            self._began = (self._began[1], float("-inf"))
        self._old, self._young = self._young, {}
        self._began = (self._began[1], now)
        self._turn = now + NONCE_LIFE


def _bit(count: int) -> int:
    return 1 << count % MAX_USES  # some phones don't begin at 1 again with a new nonce
