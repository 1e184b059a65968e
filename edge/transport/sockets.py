"""The sockets of one edge: whole messages in, bytes out by flow."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
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
_DIAL = 4.0  # seconds for a connection of ours to be made
_IP_FREEBIND = 15  # ip(7): bind an address that this machine doesn't have yet


class SocketUser(Protocol):
    """Who gets what comes in."""

    def message(self, flow: Flow, data: bytes) -> None: ...

    def closed(self, flow: Flow) -> None: ...

    def unreadable(self, flow: Flow) -> None: ...


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket to open: ``address`` is the edge address as phones see it, ``host`` where to bind."""

    transport: str
    host: str
    port: int
    address: str


class ListenError(Exception):
    """A socket can't be opened; the text says which and why."""


class Sockets:
    """All sockets of the edge addresses held here."""

    def __init__(self, receiver: SocketUser, movable: bool = False) -> None:
        """``movable``: addresses come and go, so they may not be on this machine yet, and on one machine two edges may
        bind one for the moment of a handover (the one that bound it last gets the packets)."""
        self._receiver = receiver
        self._movable = movable
        self._udp: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._streams: dict[Flow, asyncio.Transport] = {}
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._hosts: dict[str, str] = {}
        self._dialling: dict[Flow, list[tuple[bytes, float]]] = {}
        self._dials: set[asyncio.Task[None]] = set()

    async def open(self, listeners: Sequence[Listener]) -> None:
        """Bind everything that isn't bound yet. Raises ListenError."""
        for listener in listeners:
            self._hosts[listener.address] = listener.host
            key = (listener.address, listener.port)
            try:
                if listener.transport == "udp" and key not in self._udp:
                    await self._open_udp(listener)
                elif listener.transport == "tcp" and key not in self._servers:
                    await self._open_tcp(listener)
            except OSError as error:
                where = f"{listener.transport}://{listener.host}:{listener.port}"
                raise ListenError(f"listen: {where} can't be opened: {error.strerror or error}") from error

    def listens(self, address: str) -> bool:
        return any(key[0] == address for key in (*self._udp, *self._servers))

    def stop_accepting(self, address: str) -> None:
        """No new streams: the next holder will want the port."""
        for key in [key for key in self._servers if key[0] == address]:
            self._servers.pop(key).close()

    def leave(self, address: str) -> None:
        """Close all that belongs to an address."""
        self.stop_accepting(address)
        for key in [key for key in self._udp if key[0] == address]:
            self._udp.pop(key).close()
        for flow, stream in list(self._streams.items()):
            if flow.address == address:
                stream.abort()

    async def _open_udp(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        sock = self._socket(listener, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            if self._movable:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((listener.host, listener.port))
        except OSError:
            sock.close()
            raise
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(listener, self._receiver), sock=sock)
        self._udp[listener.address, listener.port] = transport

    async def _open_tcp(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        sock = self._socket(listener, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((listener.host, listener.port))
            server = await loop.create_server(
                lambda: _Stream(listener, self._receiver, self._streams), sock=sock, backlog=1024
            )
        except OSError:
            sock.close()
            raise
        self._servers[listener.address, listener.port] = server

    def _socket(self, listener: Listener, kind: socket.SocketKind) -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        if self._movable:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        return sock

    def send(self, flow: Flow, data: bytes, until: float = 0.0) -> bool:
        """Send on a flow of ours; False if there is no such flow (any more). What has to wait for a connection isn't
        sent from ``until`` on (monotonic; 0: whenever)."""
        if flow.internal:
            if self.listens(flow.address):
                asyncio.get_running_loop().call_soon(self._receiver.message, flow, data)
            return self.listens(flow.address)
        if flow.transport == "udp":
            udp = self._udp.get((flow.address, flow.port))
            if udp is None or udp.is_closing():
                return False
            udp.sendto(data, (flow.host, flow.remote_port))
            return True
        stream = self._streams.get(flow)
        if stream is None or stream.is_closing():
            return not flow.connection and self._dial(flow, data, until)
        stream.write(data)
        if stream.get_write_buffer_size() > _MAX_UNSENT:
            log.warning("%s doesn't read what it is sent; closing", flow)
            stream.abort()
        return True

    def _dial(self, flow: Flow, data: bytes, until: float) -> bool:
        """A flow without a connection's number is one that we make ourselves, when there is something to send."""
        waiting = self._dialling.get(flow)
        if waiting is not None:
            if sum(len(item) for item, _ in waiting) > _MAX_UNSENT:
                return False
            waiting.append((data, until))
            return True
        host = self._hosts.get(flow.address)
        if host is None or not self.listens(flow.address):
            return False
        self._dialling[flow] = [(data, until)]
        task = asyncio.get_running_loop().create_task(self._connect(flow, host))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return True

    async def _connect(self, flow: Flow, host: str) -> None:
        listener = Listener(flow.transport, host, flow.port, flow.address)
        sock = self._socket(listener, socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(_DIAL):
                sock.bind((host, 0))
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, (flow.host, flow.remote_port))
                await loop.create_connection(lambda: _Stream(listener, self._receiver, self._streams, flow), sock=sock)
        except (OSError, TimeoutError) as error:
            sock.close()
            del self._dialling[flow]
            log.info("no connection to %s:%d: %s", flow.host, flow.remote_port, error or "no answer")
            self._receiver.closed(flow)
            return
        waiting = self._dialling.pop(flow)
        if flow not in self._streams or not self.listens(flow.address):
            if flow in self._streams:
                self._streams[flow].abort()
            else:
                self._receiver.closed(flow)
            return
        for data, until in waiting:
            if not until or time.monotonic() < until:
                self.send(flow, data)

    def close(self) -> None:
        for task in self._dials:
            task.cancel()
        for server in self._servers.values():
            server.close()
        for stream in list(self._streams.values()):
            stream.abort()
        for udp in self._udp.values():
            udp.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, listener: Listener, receiver: SocketUser) -> None:
        self._listener = listener
        self._message = receiver.message

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) > 4:  # shorter ones are phones' keep-alives: CRLFs and NULs
            listener = self._listener
            self._message(Flow(listener.address, listener.port, "udp", addr[0], addr[1]), data)


class _Stream(asyncio.Protocol):
    def __init__(
        self, listener: Listener, receiver: SocketUser, streams: dict[Flow, asyncio.Transport], flow: Flow | None = None
    ) -> None:
        """``flow`` is that of a connection which we make; others get one with a number of its own."""
        self._listener = listener
        self._receiver = receiver
        self._streams = streams
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._dialled = flow
        self._flow: Flow | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._heard = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass
        peer = transport.get_extra_info("peername")
        if peer is None or (self._dialled is None and len(self._streams) >= _MAX_STREAMS):
            transport.abort()
            return
        self._transport = transport
        listener = self._listener
        connection = 1 + secrets.randbelow(2**32 - 1)
        self._flow = self._dialled or Flow(
            listener.address, listener.port, listener.transport, peer[0], peer[1], connection
        )
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
        if self._flow is not None and self._streams.get(self._flow) is self._transport:
            del self._streams[self._flow]
            self._receiver.closed(self._flow)
