"""Requests that may be sent again: what came of them is kept for a day.

An answer may hold a password, so it is sealed with a key made of what only the sender has: the API key, and the
Idempotency-Key it chose.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import time
import zlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lambdas.repositories.directory import Directory, Missing, Stale, Taken
from lambdas.repositories.items import item_key
from lambdas.repositories.models import IdempotencyItem

KEEP = 86_400  # seconds
_UNDER_WAY = 60  # seconds after which a request that has no answer was lost
LONGEST = 600_000
"""Octets of an answer that is kept: more than an import of the most accounts has."""
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    media: str


class IdempotencyConflict(Exception):
    """The same key came with another request, or its request is still under way; the text says which."""


class Idempotency:
    """``secret`` is what the sender has: API key and Idempotency-Key."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def begin(self, secret: bytes, request: bytes) -> Answer | None:
        """The answer of before; None if this is the first time, and it is to be done. Raises IdempotencyConflict."""
        name, body, now = _name(secret), hashlib.sha256(request).hexdigest(), int(time.time())
        pk, sk = item_key(IdempotencyItem, name)
        item = IdempotencyItem(pk, sk, body=body, at=now, ttl=now + KEEP)
        for _ in range(2):
            try:
                self._directory.create(item)
                return None
            except Taken:
                known = self._directory.get(IdempotencyItem, name)
            if known is None or int(known.at) < now - (KEEP if known.status else _UNDER_WAY):
                if known is not None:  # old, and not cleaned up yet
                    known.guarded = True  # a retry that has just claimed it keeps it
                    with contextlib.suppress(Stale):
                        self._directory.delete(known)
                continue
            if known.body != body:
                raise IdempotencyConflict(
                    "This Idempotency-Key was used for another request; choose a new one for each."
                )
            if known.status:
                sealed = base64.b64decode(known.answer)
                opened = _cipher(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
                return Answer(int(known.status), zlib.decompress(opened), known.media)
            break
        raise IdempotencyConflict("The request with this Idempotency-Key is still under way; try again in a moment.")

    def end(self, secret: bytes, answer: Answer | None) -> None:
        """Keep ``answer``; None: nothing came of it, and it may be tried again."""
        item = IdempotencyItem(*item_key(IdempotencyItem, _name(secret)))
        with contextlib.suppress(Missing):
            if answer is None:
                self._directory.delete(item)
                return
            nonce = os.urandom(_NONCE)
            body = zlib.compress(answer.body)  # an item has 400 KB at most
            sealed = base64.b64encode(nonce + _cipher(secret).encrypt(nonce, body, None)).decode()
            self._directory.update(item, status=answer.status, answer=sealed, media=answer.media)


def _name(secret: bytes) -> str:
    return hashlib.sha256(b"name " + secret).hexdigest()


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"sipwizard idempotency").derive(secret))
