"""The mesh's port: what is looked at before QUIC spends anything on it.

Theory of operation. A QUIC handshake costs milliseconds of the thread that SIP runs in, and its first packet may come
from anybody under any name.

- Packets count only from where a peer is. Others are dropped unread, so a stranger costs what receiving costs.
- A stranger may forge a peer's address. So who begins a connection has to show first that he gets what is sent to him
  (Retry, RFC 9000 §8.1.2): one packet in answer to one that is longer, and nothing is kept. There are ``RETRIES`` of
  them in a second; a peer that gets none sends its packet again. A wrong token isn't answered.
- Who is there gets a handshake, if fewer than ``HANDSHAKES`` are under way and the address has fewer than ``LINKS``
  connections; it ends with the proof of who he is, or after ``link.HANDSHAKE`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.buffer import Buffer  # type: ignore[attr-defined] # what its documentation says
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import NetworkAddress, QuicConnection
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from edge.mesh.link import ServerLink

Note = Callable[[str, str, object], None]
"""Counts an event of a kind, and logs its text, in which ``%s`` is whom it is about."""

RETRIES = 200
HANDSHAKES = 64
LINKS = 8

_LONG_HEADER = 0x80
_CID = 5  # where the length of a long header's destination connection id is (RFC 9000 §17.2)


class Gate(QuicServer):
    """``known`` says whether a peer is at an address; ``link`` makes the server's end of a connection."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        known: Callable[[str], bool],
        link: Callable[[QuicConnection], ServerLink],
        note: Note,
    ) -> None:
        super().__init__(configuration=configuration, create_protocol=self._begin, retry=True)
        self._known = known
        self._link = link
        self._note = note
        self._hosts: dict[QuicConnectionProtocol, str] = {}  # where each connection's other end is
        self._beginning = ""
        self._second = 0
        self._retries = 0

    def datagram_received(self, data: bytes | str, addr: NetworkAddress) -> None:
        data, host = cast(bytes, data), addr[0]
        if not self._known(host):
            self._note("mesh_strangers", "dropping packets of %s, where no edge of the fleet list is", host)
        elif not self._begins(data) or self._may_begin(data, addr):
            self._beginning = host
            super().datagram_received(data, addr)
        else:
            self._note("mesh_refused", "dropping packets of %s that want to begin a connection", host)

    def _begins(self, data: bytes) -> bool:
        """Whether a packet belongs to no connection that there is, and may ask for one."""
        if len(data) <= _CID or not data[0] & _LONG_HEADER:
            return False
        start = _CID + 1
        return data[start : start + data[_CID]] not in self._protocols

    def _may_begin(self, data: bytes, addr: NetworkAddress) -> bool:
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=self._configuration.connection_id_length)
        except ValueError:
            return False
        # All edges speak the same version: nobody is told of others.
        if header.packet_type != QuicPacketType.INITIAL or header.version not in self._configuration.supported_versions:
            return False
        if not header.token:
            return self._may_retry()
        return self._token_is_good(header.destination_cid, header.token, addr) and self._has_room(addr[0])

    def _may_retry(self) -> bool:
        second = int(self._loop.time())
        if second != self._second:
            self._second, self._retries = second, 0
        self._retries += 1
        return self._retries <= RETRIES

    def _token_is_good(self, cid: bytes, token: bytes, addr: NetworkAddress) -> bool:
        assert self._retry is not None
        try:
            self._retry.validate_token(address=addr, destination_cid=cid, token=token, now=self._loop.time())
        except ValueError:
            return False
        return True

    def _has_room(self, host: str) -> bool:
        under_way = sum(not cast(ServerLink, link).up for link in self._hosts)
        return under_way < HANDSHAKES and list(self._hosts.values()).count(host) < LINKS

    def _begin(self, quic: QuicConnection, stream_handler: Any = None) -> ServerLink:
        link = self._link(quic)
        self._hosts[link] = self._beginning
        return link

    def _connection_terminated(self, protocol: QuicConnectionProtocol) -> None:
        super()._connection_terminated(protocol)
        self._hosts.pop(protocol, None)
