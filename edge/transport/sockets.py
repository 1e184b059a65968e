"""The sockets of one edge: whole messages in, bytes out by flow."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from edge.sip.flow import Flow
from edge.sip.framing import StreamFramer

log = logging.getLogger(__name__)

_BUFFER = 4 * 1024 * 1024  # octets of socket buffer: bursts of registrations come faster than they are read
_MAX_UNSENT = 1024 * 1024  # octets waiting for a stream's other end, past which it counts as dead
_IDLE = 900.0  # seconds without a byte after which a stream is closed
_MAX_STREAMS = 20_000


class Receiver(Protocol):
    """Who gets what comes in."""

    def message(self, flow: Flow, data: bytes) -> None: ...

    def closed(self, flow: Flow) -> None: ...

    def unreadable(self, flow: Flow) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A socket to open: ``address`` is the edge address as phones see it, ``host`` where to bind."""

    transport: str
    host: str
    port: int
    address: str


class ListenError(Exception):
    """A socket can't be opened; the text says which and why."""


class Sockets:
    """All sockets of the edge addresses held here."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._udp: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._streams: dict[Flow, asyncio.Transport] = {}
        self._servers: list[asyncio.Server] = []

    async def open(self, places: Sequence[Place]) -> None:
        """Bind everything. Raises ListenError."""
        for place in places:
            try:
                await (self._open_udp(place) if place.transport == "udp" else self._open_tcp(place))
            except OSError as error:
                where = f"{place.transport}://{place.host}:{place.port}"
                raise ListenError(f"listen: {where} can't be opened: {error.strerror or error}") from error

    async def _open_udp(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            sock.setblocking(False)
            sock.bind((place.host, place.port))
        except OSError:
            sock.close()
            raise
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(place, self._receiver), sock=sock)
        self._udp[place.address, place.port] = transport

    async def _open_tcp(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Stream(place, self._receiver, self._streams), place.host, place.port, backlog=1024
        )
        self._servers.append(server)

    def send(self, flow: Flow, data: bytes) -> bool:
        """Send on a flow of ours; False if there is no such flow (any more)."""
        if flow.transport == "udp":
            udp = self._udp.get((flow.address, flow.port))
            if udp is None or udp.is_closing():
                return False
            udp.sendto(data, (flow.host, flow.remote_port))
            return True
        stream = self._streams.get(flow)
        if stream is None or stream.is_closing():
            return False
        stream.write(data)
        if stream.get_write_buffer_size() > _MAX_UNSENT:
            log.warning("%s doesn't read what it is sent; closing", flow)
            stream.abort()
        return True

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for stream in list(self._streams.values()):
            stream.abort()
        for udp in self._udp.values():
            udp.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, place: Place, receiver: Receiver) -> None:
        self._place = place
        self._message = receiver.message

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) > 4:  # shorter ones are phones' keep-alives: CRLFs and NULs
            place = self._place
            self._message(Flow(place.address, place.port, "udp", addr[0], addr[1]), data)


class _Stream(asyncio.Protocol):
    def __init__(self, place: Place, receiver: Receiver, streams: dict[Flow, asyncio.Transport]) -> None:
        self._place = place
        self._receiver = receiver
        self._streams = streams
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._flow: Flow | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._heard = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass
        peer = transport.get_extra_info("peername")
        if peer is None or len(self._streams) >= _MAX_STREAMS:
            transport.abort()
            return
        self._transport = transport
        place = self._place
        connection = secrets.randbits(32)
        self._flow = Flow(place.address, place.port, place.transport, peer[0], peer[1], connection)
        self._streams[self._flow] = transport
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        self._watch(loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for each stream, moved on lazily instead of with every packet."""
        left = self._heard + _IDLE - loop.time()
        if left <= 0 and self._transport is not None:
            self._transport.abort()
        else:
            self._idle = loop.call_later(left, self._watch, loop)

    def data_received(self, data: bytes) -> None:
        flow, transport = self._flow, self._transport
        if flow is None or transport is None:
            return
        self._heard = asyncio.get_running_loop().time()
        for message in self._framer.feed(data):
            if message is StreamFramer.PING:
                if transport.get_write_buffer_size() < _MAX_UNSENT:  # else it doesn't read, and needs no pong
                    transport.write(StreamFramer.PONG)
            else:
                self._receiver.message(flow, message)
        if self._framer.fault is not None:
            log.info("%s:%d sends what isn't SIP: %s; closing", flow.host, flow.remote_port, self._framer.fault)
            self._receiver.unreadable(flow)
            self._flow_ends(transport)

    def _flow_ends(self, transport: asyncio.Transport) -> None:
        """Send what is waiting, then close; nothing more is read."""
        transport.pause_reading()
        transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._flow is not None and self._streams.pop(self._flow, None) is not None:
            self._receiver.closed(self._flow)
