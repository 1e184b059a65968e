"""Flow tokens: the user part of our Record-Route URIs (RFC 5626 §5.1 and §5.2, RFC 5658).

A token is base64url of ``key id (1 octet) | AES-SIV(transport, remote address, connection, binding id, call)`` with the
Call-ID, the URI's own host and port, and the dialog's tags as associated data: it can't be read, changed, or used in
another dialog or at another edge address. AES-SIV (RFC 5297) is deterministic, so the same call gets the same token
from every edge.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from edge.sip import base64url
from edge.sip.flow import Flow

MAX_TOKEN = 80  # characters
_BINDING = 8  # octets
_NO_BINDING = bytes(_BINDING)
_CALL = struct.Struct("!6sIB")


class BadToken(ValueError):
    """The token isn't one of ours, is for another call or place, or its key is no longer known."""


class CallReference(NamedTuple):
    """Which call a token is of, for the record of its end: whose it is ("" if nobody's, as for a subscription), when it
    was started (Unix time), whether the token's flow is the caller's, and whether it is no call at all, but a dialog
    that another request than an INVITE has made; ``salt`` is the edge's own name for it in ways across a border, which
    have room for one; ``withheld``: the called one isn't to see who calls; ``relayed``: its media go by the engine of
    the caller's edge address; ``nth`` tells it from others with the same names (15 at most)."""

    tenant: str = ""
    started: int = 0
    to_caller: bool = False
    subscription: bool = False
    salt: str = ""
    withheld: bool = False
    relayed: bool = False
    nth: int = 0


@dataclass(frozen=True, slots=True)
class Destination:
    """What a token says: a flow, the binding it belonged to ("" if it had none), and the call."""

    flow: Flow
    binding: str
    call: CallReference


class TokenKeys:
    """The fleet's token keys: seals with one, opens with any."""

    def __init__(self, keys: dict[int, bytes], current: int) -> None:
        """``keys`` maps key ids (0 to 255) to keys of 64 octets."""
        self._ciphers = {key_id: AESSIV(key) for key_id, key in keys.items()}
        self._current = current

    def seal_data(self, plain: bytes, associated: bytes, like: bytes = b"") -> bytes:
        """Key id and ciphertext: the same for the same text. By the key that ``like`` was sealed by, if that is still
        known; else by the present one."""
        key = like[0] if like and like[0] in self._ciphers else self._current
        return bytes((key,)) + self._ciphers[key].encrypt(plain, [associated])

    def open_data(self, sealed: bytes, associated: bytes) -> bytes:
        """Raises BadToken."""
        try:
            return self._ciphers[sealed[0]].decrypt(sealed[1:], [associated])
        except (KeyError, IndexError, ValueError, InvalidTag) as error:
            raise BadToken("not sealed by the fleet for this") from error

    def seal(self, flow: Flow, binding: str, call_id: str, call: CallReference, tags: Sequence[str] = ()) -> str:
        """``tags`` are those of the dialog that are known when it is made: the caller's, and for the caller's own copy
        the called one's, too. Without any it is of use to everybody who knows the Call-ID, as edges of before made
        them."""
        plain = flow.pack_remote() + (base64url.decode(binding) if binding else _NO_BINDING) + _pack(call)
        sealed = self.seal_data(plain, _associated(call_id, flow.address, flow.port, tags))
        return base64url.encode(sealed)

    def open(
        self, token: str, call_id: str, address: str, port: int, from_tag: str = "", to_tag: str = ""
    ) -> Destination:
        """The destination of a token found in a URI with ``address`` and ``port``, in a request with these tags;
        BadToken if it isn't valid there."""
        try:
            if len(token) > MAX_TOKEN:
                raise BadToken("longer than any token of ours")
            plain = self._open(base64url.decode(token), call_id, address, port, from_tag, to_tag)
            flow, rest = Flow.unpack_remote(plain, address, port)
        except (ValueError, IndexError) as error:
            raise BadToken("not a flow token for this call and address") from error
        held = rest[:_BINDING]
        binding = "" if held == _NO_BINDING else base64url.encode(held)
        return Destination(flow, binding, _unpack(rest[_BINDING:]))

    def _open(self, sealed: bytes, call_id: str, address: str, port: int, from_tag: str, to_tag: str) -> bytes:
        """Who sends is the caller, whose copy knows both tags; or the called side, whose copy knows the caller's; or
        has a copy of before there were tags in them."""
        for tags in ((from_tag, to_tag), (to_tag,)):
            try:
                return self.open_data(sealed, _associated(call_id, address, port, tags))
            except BadToken:
                continue
        return self.open_data(sealed, _associated(call_id, address, port, ()))


def _pack(call: CallReference) -> bytes:
    """A tenant's id is "t" and 12 hexadecimal digits; of another kind no calls are recorded."""
    try:
        tenant = bytes.fromhex(call.tenant[1:])
    except ValueError:
        tenant = b""
    flags = call.to_caller | call.subscription << 1 | call.withheld << 2 | call.relayed << 3 | call.nth << 4
    return _CALL.pack(tenant, call.started, flags)


def _unpack(data: bytes) -> CallReference:
    """Tokens of before calls were recorded end earlier."""
    if len(data) != _CALL.size:
        return CallReference()
    tenant, started, flags = _CALL.unpack(data)
    return CallReference(
        f"t{tenant.hex()}" if any(tenant) else "",
        started,
        bool(flags & 1),
        bool(flags & 2),
        withheld=bool(flags & 4),
        relayed=bool(flags & 8),
        nth=flags >> 4,
    )


def _associated(call_id: str, address: str, port: int, tags: Sequence[str]) -> bytes:
    return "\0".join((f"{address}:{port} {call_id}", *tags)).encode("utf-8", "surrogateescape")
