"""A flow (RFC 5626 §3.1): where a message came from, and therefore where an answer passes the NAT."""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from edge.sip.uri import host_in_uri

_TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
_PARAMETERS = {
    "udp": "",
    "tcp": ";transport=tcp",
    "tls": ";transport=tls",
    "ws": ";transport=ws",
    "wss": ";transport=ws",
}
_IPV6, _NAMED, _KIND = 0x80, 0x40, 0x3F


ServerAddress = tuple[str, str, int]
"""Where a server is: (transport, IP address, port), as RFC 3263 finds it."""


class Flow(NamedTuple):
    """``(edge address, its port, transport, remote address, remote port, connection, server)``.

    ``address`` is the edge address, in or outside this process: an IPv4 address also where ``host`` is an IPv6 one and
    the phone sees the edge address's IPv6 side (Places); ``connection`` tells connections of stream transports apart
    (32 random bits, 0 for UDP, and for those that we make ourselves). ``server`` is who has to be at the other end of a
    TLS connection of ours (``sip/server_names``): to two of them two are made.
    """

    address: str
    port: int
    transport: str
    host: str
    remote_port: int
    connection: int = 0
    server: str = ""

    @property
    def wire(self) -> tuple[str, int, str, str, int, int]:
        """As the contract with the control plane has it: of phones' flows that is all."""
        return self[:6]

    @property
    def reliable(self) -> bool:
        return self.transport != "udp"

    @property
    def secure(self) -> bool:
        """Whether it is encrypted up to the next hop, so that a sips: request may go on it."""
        return self.transport in ("tls", "wss")

    @property
    def framed(self) -> bool:
        """Whether Content-Length says where its messages end (§18.3); WebSocket has frames of its own (RFC 7118 §5)."""
        return self.transport in ("tcp", "tls")

    @property
    def internal(self) -> bool:
        """Whether it leads from an edge address back to itself: nothing leaves the machine that holds it."""
        return self.host == self.address and self.remote_port == self.port

    @property
    def around(self) -> Flow:
        """From its edge address back to itself: ``internal``, whatever it is itself."""
        return Flow(self.address, self.port, "udp", self.address, self.port)

    @property
    def remote(self) -> str:
        """Its other end, as ``host:port``."""
        return f"{host_in_uri(self.host)}:{self.remote_port}"

    @property
    def uri_transport(self) -> str:
        """The transport parameter of a URI that leads to the edge's side, "" where it is the default (§19.1.2). It is
        ``ws`` for both kinds of WebSocket (RFC 7118 §5.2)."""
        return _PARAMETERS[self.transport]

    def pack_remote(self) -> bytes:
        """Transport, remote address, connection and server: what a flow token has to carry (11 octets for IPv4 without
        a server)."""
        kind = _TRANSPORTS.index(self.transport)
        if self.server:
            named = self.server.encode()
            rest = struct.pack("!H", len(named)) + named
            kind |= _NAMED
        else:
            rest = b""
        if ":" in self.host:
            return struct.pack("!B16sHI", kind | _IPV6, IPv6Address(self.host).packed, *self[4:6]) + rest
        return struct.pack("!B4sHI", kind, bytes(map(int, self.host.split("."))), *self[4:6]) + rest

    @classmethod
    def unpack_remote(cls, data: bytes, address: str, port: int) -> tuple[Flow, bytes]:
        """The flow at edge address ``address``:``port`` that ``pack_remote`` wrote, and what follows it."""
        if data[0] & _IPV6:
            kind, packed, remote_port, connection = struct.unpack_from("!B16sHI", data)
            host, size = str(IPv6Address(packed)), 23
        else:
            kind, packed, remote_port, connection = struct.unpack_from("!B4sHI", data)
            host, size = ".".join(map(str, packed)), 11
        server = ""
        if kind & _NAMED:
            (length,) = struct.unpack_from("!H", data, size)
            end = size + 2 + length
            if len(data) < end:
                raise ValueError("cut short")
            server, size = data[size + 2 : end].decode(), end
        return cls(address, port, _TRANSPORTS[kind & _KIND], host, remote_port, connection, server), data[size:]


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, or the first 56 bits of an IPv6 address, which is what one customer
    of a network has (RFC 6177)."""
    return _customer(host) if ":" in host else host


@lru_cache(maxsize=4096)
def _customer(host: str) -> str:
    return IPv6Address(int(IPv6Address(host)) >> 72 << 72).compressed
