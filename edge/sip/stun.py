"""Keep-alives by STUN on the port of SIP over UDP (RFC 5626 §3.5.2 and §4.4.2, RFC 8489): a Binding request is answered
with where it came from, and nothing is kept."""

from __future__ import annotations

import struct
from ipaddress import ip_address

_REQUEST, _SUCCESS, _ERROR = 0x0001, 0x0101, 0x0111
_COOKIE = 0x2112A442
_HEAD = 20  # octets
_MAPPED, _ERROR_CODE, _UNKNOWN, _XOR_MAPPED = 0x0001, 0x0009, 0x000A, 0x0020
_OPTIONAL = 0x8000  # attributes from here on may be passed over
_IGNORED = frozenset((0x0006, 0x0008, 0x0014, 0x0015))  # credentials, which nobody here asks for
_MOST_UNKNOWN = 8


def answer(data: bytes, host: str, port: int) -> bytes | None:
    """The response to a Binding request that came from ``host``, ``port``; None to anything else."""
    if len(data) < _HEAD or len(data) % 4:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if kind != _REQUEST or length != len(data) - _HEAD:
        return None
    unknown = _unknown(data)
    if unknown is None:
        return None
    if unknown:  # §6.3.1
        kinds = struct.pack(f"!{len(unknown)}H", *unknown)
        body = struct.pack("!HHHBB", _ERROR_CODE, 4, 0, 4, 20) + _attribute(_UNKNOWN, kinds)
        return _message(_ERROR, data, body)
    packed = ip_address(host).packed
    family = 2 if len(packed) == 16 else 1
    if cookie != _COOKIE:  # RFC 3489 has none
        return _message(_SUCCESS, data, _attribute(_MAPPED, struct.pack("!BBH", 0, family, port) + packed))
    masked = int.from_bytes(packed) ^ int.from_bytes(data[4 : 4 + len(packed)])
    place = struct.pack("!BBH", 0, family, port ^ _COOKIE >> 16) + masked.to_bytes(len(packed))
    return _message(_SUCCESS, data, _attribute(_XOR_MAPPED, place))


def _unknown(data: bytes) -> list[int] | None:
    """The attributes that have to be understood, and aren't; None if they can't be told apart."""
    unknown: list[int] = []
    at = _HEAD
    while at < len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        at += 4 + length + -length % 4
        if kind < _OPTIONAL and kind not in _IGNORED and len(unknown) < _MOST_UNKNOWN:
            unknown.append(kind)
    return unknown if at == len(data) else None


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _message(kind: int, request: bytes, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + request[4:_HEAD] + body
