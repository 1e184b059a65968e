"""What both sides compute, and must compute alike."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import unquote

from lambdas.contract.question import Credentials

HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_SEPARATORS = str.maketrans("", "", "+-.() ")
_LABEL = "sipwizard edge request 1"


def answers(credentials: Credentials, method: str, ha1: str) -> bool:
    """Whether ``credentials`` answer their nonce for somebody whose HA1 of their algorithm is ``ha1`` (lower-case
    hexadecimal; RFC 7616 §3.4.1). The algorithm must be one of HASHES."""
    hasher = HASHES[credentials.algorithm]
    ha2 = hasher(f"{method}:{credentials.uri}".encode("utf-8", "surrogateescape")).hexdigest()
    if credentials.qop:
        middle = f"{credentials.nonce}:{credentials.nc}:{credentials.cnonce}:{credentials.qop}"
    else:
        middle = credentials.nonce
    expected = hasher(f"{ha1}:{middle}:{ha2}".encode("utf-8", "surrogateescape")).hexdigest()
    return hmac.compare_digest(expected.encode(), credentials.response.encode("utf-8", "surrogateescape"))


def called_number(user: str) -> str:
    """What the user part of a Request-URI is looked up by, where it is to say whose call it is: unescaped, without
    parameters (RFC 3966), plus and separators."""
    return unquote(user).partition(";")[0].translate(_SEPARATORS)


def may_be_sip(port: int) -> bool:
    """Whether a call may go to ``port`` of somebody else's server: none of those that other services have by right."""
    return port >= 1024 or port == 443


def way_sealed_for(kind: str, scope: str) -> bytes:
    """The associated data of a user part that leads across the border of a call. One ``kind`` ("r.", "c.", "d.") is of
    no use as another, nor one in another ``scope``: the Call-ID, and of "r." a blank and the provider's tag."""
    return f"{kind} {scope}".encode("utf-8", "surrogateescape")


def binding_id(aor: str, key: str) -> str:
    """Names the binding (AOR, key) in 11 characters, whatever the edge."""
    digest = hashlib.sha256(f"{aor}\0{key}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:8]).rstrip(b"=").decode()


def short_name(text: str) -> str:
    """What stands for an instance (RFC 5626 §4.1, in lower case) or a Call-ID where it needn't be read: 11 characters,
    8 octets in base64url."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return base64.urlsafe_b64encode(digest[:8]).rstrip(b"=").decode()


def consent_text(address: str, epoch: int, to: str, boot: str) -> bytes:
    """What a holder signs to hand ``address`` over to edge ``to``, in this life (``boot``) of it."""
    return "\n".join(("sipwizard handover 1", address, str(epoch), to, boot)).encode()


def signed_text(method: str, path: str, edge: str, stamp: str, body: bytes) -> bytes:
    """What an edge signs with its Ed25519 key: ``stamp`` is Unix time in seconds."""
    return "\n".join((_LABEL, method, path, edge, stamp, hashlib.sha256(body).hexdigest())).encode()
