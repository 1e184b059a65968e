"""Browsers' services: RFC 8030, with VAPID (RFC 8292), and what is told encrypted for the page (RFC 8291).

A Contact's ``pn-prid`` is the subscription's endpoint (RFC 8599 §12). Its keys have no place there: a page writes them
into ``pn-param``, which the RFC leaves unused, p256dh and auth with a dot between them; without these a push says
nothing, as the RFC has it, and wakes all the same.
The encryption is written here, by the primitives of ``cryptography``: pywebpush can't be had as wheels, as all else is.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lambdas.lookups.outside import Outside
from lambdas.push.outcome import SENT, Fate, Outcome, busy
from lambdas.push.payload import lifetime, told
from lambdas.repositories.push_services import PushCredentials
from lambdas.repositories.pushes import PushOrder

_RECORD = 4096
_DAY = 86_400
_TOPICS = {"call": "sip-call", "message": "sip-message", "refresh": "sip-refresh"}


class WebPush:
    """``outside`` goes to public addresses only: whoever registers a phone names the server."""

    def __init__(self, outside: Outside, clock: Callable[[], float] = time.time) -> None:
        self._outside = outside
        self._clock = clock

    def send(self, order: PushOrder, credentials: PushCredentials) -> Outcome:
        """Raises OutsideError where nobody answers, or may be asked, and jwt.PyJWTError or ValueError for a key that
        can't sign."""
        place = _place(order.prid)
        if place is None:
            return Outcome(Fate.GONE, "its Contact names no push service")
        host, origin, usual = place
        address = self._outside.address(host)
        if not (usual or self._outside.inside(address)):
            return Outcome(Fate.GONE, "its push service isn't at https and port 443: others are other services'")
        claims = {"aud": origin, "exp": int(self._clock()) + _DAY // 2, "sub": credentials.subject}
        token = jwt.encode(claims, credentials.secret, algorithm="ES256")
        headers = {
            "authorization": f"vapid t={token}, k={credentials.vapid}",
            "ttl": str(lifetime(order)),
            "urgency": "high",
            "topic": _TOPICS.get(order.why, "sip"),
        }
        body = None
        if order.param:
            try:
                body = encrypted(json.dumps(told(order)).encode(), *_keys(order.param))
            except ValueError:
                return Outcome(Fate.GONE, "its Contact has no keys like p256dh.auth")
            headers |= {"content-encoding": "aes128gcm", "content-type": "application/octet-stream"}
        status, _ = self._outside.request("POST", order.prid, host, address, headers, body or b"")
        if status in (404, 410):
            return Outcome(Fate.GONE, str(status))
        if status == 429 or status >= 500:
            return busy(status, None)
        return SENT if 200 <= status < 300 else Outcome(Fate.REFUSED, str(status))


def _place(url: str) -> tuple[str, str, bool] | None:
    """Host and origin of an endpoint, and whether it is where all of them are; None for what isn't one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    return parts.hostname, f"{parts.scheme}://{parts.netloc}", parts.scheme == "https" and port in (None, 443)


def _keys(param: str) -> tuple[bytes, bytes]:
    """The page's public key and its secret. Raises ValueError."""
    public, _, secret = param.partition(".")
    return _decoded(public), _decoded(secret)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def encrypted(
    text: bytes,
    public: bytes,
    secret: bytes,
    own: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """``text`` for the page with these keys (RFC 8291 §3.4, RFC 8188 §2); ``own`` key and ``salt`` are new ones, but
    for tests. Raises ValueError for keys that are none."""
    if len(secret) != 16:
        raise ValueError("the page's secret has 16 octets")
    own = own or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(16)
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    mine = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = own.exchange(ec.ECDH(), theirs)
    keyed = _derived(shared, secret, b"WebPush: info\0" + public + mine, 32)
    key = _derived(keyed, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(keyed, salt, b"Content-Encoding: nonce\0", 12)
    sealed = AESGCM(key).encrypt(nonce, text + b"\2", None)
    return salt + _RECORD.to_bytes(4, "big") + bytes([len(mine)]) + mine + sealed


def _derived(material: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=salt, info=info).derive(material)
