"""The sockets of one edge: whole messages in, bytes out by flow."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from edge.sip import stun
from edge.sip.flow import Flow
from edge.sip.framing import Framer, StreamFramer
from edge.sip.partition import WHOLE, Partition
from edge.sip.server_names import host_in
from edge.sip.uri import host_in_uri
from edge.transport.accepting import Acceptor
from edge.transport.certificates import Certificates
from edge.transport.server_trust import ServerTrust, UnknownCa, reason_of
from edge.transport.steering import steer
from edge.transport.streams import TLS_SHUTDOWN, Note, Stream, StreamLimits, Streams, StreamUser, link_local
from edge.transport.websocket import WebSocketFramer, Welcome

log = logging.getLogger(__name__)

_MEMINFO = 55  # SO_MEMINFO (Linux): an array, of which the first is what was received and not read
_BUFFER = 4 * 1024 * 1024  # octets of socket buffer: bursts of registrations come faster than they are read
_MAX_UNSENT = 1024 * 1024  # octets waiting for a connection of ours to be made
_DIAL = 4.0  # seconds for a connection of ours to be made
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # ip(7), linux/in6.h: bind an address that this machine doesn't have yet
_BACKLOG = 1024  # connections that the kernel keeps until they are accepted
_WEB, _SECURE = ("ws", "wss"), ("tls", "wss")
_ENDED_AT_ONCE, _BETWEEN_ENDS = 100, 0.05  # streams, seconds: 2,000 in one
_LET_GO, _LOOK_AGAIN = 3.0, 0.05  # seconds for a port to be free where several sockets are to have it
_ARRIVAL = 1.0  # seconds for a FIN of ours to arrive, and to be answered
_SLOW = (errno.ENOBUFS, errno.ENOMEM)  # the packet is lost as on the way: it is sent again


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket to open: ``address`` is the edge address as phones see it, ``host`` where to bind: for its IPv6 side an
    IPv6 address."""

    transport: str
    host: str
    port: int
    address: str

    @property
    def key(self) -> _Key:
        """What the sockets are found by."""
        return self.address, self.port, ":" in self.host


_Key = tuple[str, int, bool]
"""An edge address, its port, and whether it is of the IPv6 side: which one a flow belongs to its other end tells."""


def _key(flow: Flow) -> _Key:
    return flow.address, flow.port, ":" in flow.host


class ListenError(Exception):
    """A socket can't be opened; the text says which and why."""


class Sockets:
    """All sockets of the edge addresses held here."""

    def __init__(
        self,
        receiver: StreamUser,
        note: Note,
        movable: bool = False,
        limits: StreamLimits | None = None,
        certificates: Certificates | None = None,
        welcome: Welcome = lambda _: False,
        server_trust: ServerTrust | None = None,
        partition: Partition = WHOLE,
    ) -> None:
        """``movable``: addresses come and go, so they may not be on this machine yet, and on one machine two edges may
        bind one for the moment of a handover (the one that bound it last gets the packets). ``certificates`` are for
        TLS and WSS, ``welcome`` says which Origins may have WebSockets, ``server_trust`` whom our own TLS connections
        may lead to. The first process of a ``partition`` opens the sockets of all of them (``for_others``); the others
        ``adopt`` theirs."""
        self._receiver = receiver
        self._movable = movable
        self._udp: dict[_Key, tuple[asyncio.DatagramTransport, socket.socket]] = {}
        self._streams = Streams(receiver, note, (limits or StreamLimits()).shared(partition.processes))
        self._certificates = certificates or Certificates()
        self._welcome = welcome
        self._server_trust = server_trust or ServerTrust()
        self._acceptors: dict[_Key, Acceptor] = {}
        self._note = note
        self._hosts: dict[tuple[str, bool], str] = {}
        self._dialling: dict[Flow, list[tuple[bytes, float]]] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._partition = partition
        self.for_others: list[list[tuple[Listener, socket.socket]]] = [[] for _ in range(partition.processes - 1)]

    async def open(self, listeners: Sequence[Listener]) -> None:
        """Bind everything that isn't bound yet. Raises ListenError."""
        for listener in listeners:
            key = listener.key
            self._hosts[listener.address, ":" in listener.host] = listener.host
            try:
                if listener.transport == "udp" and key not in self._udp:
                    await self._use(listener, await self._bound(listener, socket.SOCK_DGRAM))
                elif listener.transport != "udp" and key not in self._acceptors:
                    await self._use(listener, await self._bound(listener, socket.SOCK_STREAM))
                elif listener.transport != "udp":
                    self._acceptors[key].listen_again()
            except OSError as error:
                where = f"{listener.transport}://{host_in_uri(listener.host)}:{listener.port}"
                raise ListenError(f"listen: {where} can't be opened: {error.strerror or error}") from error

    def listens(self, address: str) -> bool:
        return any(key[0] == address for key in (*self._udp, *self._acceptors))

    def turn_away(self, address: str) -> None:
        """No new streams here: what asks for one isn't even refused, so that it asks again, and finds the next holder.
        (Who is refused may rest for minutes.)"""
        for key, acceptor in self._acceptors.items():
            if key[0] == address:
                acceptor.turn_away()

    def waiting(self) -> int:
        """Octets, as the kernel counts them, of the datagrams that nobody has read yet."""
        sockets = (sock for _, sock in self._udp.values())
        return sum(int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, 4), sys.byteorder) for sock in sockets)

    def busy(self, address: str) -> bool:
        """Whether something is under way on a stream of an address."""
        return any(stream.busy() for stream in self._streams.all() if stream.flow.address == address)

    def end_later(self, flow: Flow, seconds: float) -> None:
        """End a stream then, if it is still there, so that the other side learns of it."""
        if self.has(flow):
            asyncio.get_running_loop().call_later(seconds, self._end, flow)

    def _end(self, flow: Flow) -> None:
        stream = self._streams.get(flow)
        if stream is not None:
            stream.finish()
            asyncio.get_running_loop().call_later(_ARRIVAL, stream.abort)

    async def finish(self, address: str = "") -> None:
        """End the streams of an address (all of them without one), so that the other side learns of it: it has a second
        for its own FIN. Where there are many they end one after the other, since their phones come back at once."""
        loop = asyncio.get_running_loop()
        for number, stream in enumerate(self._of(address), 1):
            stream.finish()
            if not number % _ENDED_AT_ONCE:
                await asyncio.sleep(_BETWEEN_ENDS)
        end = loop.time() + _ARRIVAL
        while ending := self._of(address):
            await asyncio.wait([stream.finish() for stream in ending], timeout=max(0.0, end - loop.time()))
            if loop.time() >= end:
                for stream in ending:
                    stream.abort()

    def _of(self, address: str) -> list[Stream]:
        """The streams of an address, all of them without one."""
        return [stream for stream in self._streams.all() if address in ("", stream.flow.address)]

    async def end(self) -> None:
        """As ``finish``, before the process ends."""
        for address in {key[0] for key in self._acceptors}:
            self.stop_accepting(address)
        await self.finish()

    def has(self, flow: Flow) -> bool:
        """Whether it is a stream that is open here."""
        return self._streams.get(flow) is not None

    def stop_accepting(self, address: str) -> None:
        """No new streams: the next holder will want the port."""
        for key in [key for key in self._acceptors if key[0] == address]:
            self._acceptors.pop(key).close()

    def leave(self, address: str) -> None:
        """Close all that belongs to an address."""
        self.stop_accepting(address)
        for key in [key for key in self._udp if key[0] == address]:
            self._udp.pop(key)[0].close()
        for stream in self._streams.all():
            if stream.flow.address == address:
                stream.abort()

    def sizes(self) -> dict[str, int]:
        """How many streams there are."""
        return self._streams.sizes()

    async def adopt(self, listener: Listener, sock: socket.socket) -> None:
        """Use a socket that the first process has opened for this one."""
        sock.setblocking(False)
        self._hosts[listener.address, ":" in listener.host] = listener.host
        await self._use(listener, sock)

    async def _bound(self, listener: Listener, kind: socket.SocketKind) -> socket.socket:
        """The socket of ``listener`` for this process; those of others are put beside. Raises OSError."""
        made: list[socket.socket] = []
        if self._partition.processes > 1:
            await self._freed(listener, kind)
        try:
            for _ in range(self._partition.processes):
                made.append(self._socket(listener, kind))
                self._bind(made[-1], listener)
            if len(made) > 1:
                steer(made[0], len(made))
        except OSError:
            for sock in made:
                sock.close()
            raise
        for others, sock in zip(self.for_others, made[1:], strict=True):
            others.append((listener, sock))
        return made[0]

    async def _freed(self, listener: Listener, kind: socket.SocketKind) -> None:
        """Wait until nobody has the port: workers of a process that was killed may for a moment. Ours would join their
        group, in another order. Raises OSError."""
        end = time.monotonic() + _LET_GO
        while True:
            with self._socket(listener, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((listener.host, listener.port))
                    return
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                        raise
            await asyncio.sleep(_LOOK_AGAIN)

    def _bind(self, sock: socket.socket, listener: Listener) -> None:
        udp = sock.type == socket.SOCK_DGRAM
        if udp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if self._movable or not udp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._partition.processes > 1 or (self._movable and not udp):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((listener.host, listener.port))
        if not udp:
            sock.listen(_BACKLOG)

    async def _use(self, listener: Listener, sock: socket.socket) -> None:
        if listener.transport != "udp":
            self._acceptors[listener.key] = Acceptor(sock, partial(self._accepted, listener))
            return

        def opened(transport: asyncio.DatagramTransport) -> None:
            self._udp[listener.key] = transport, sock

        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(listener, self._receiver, opened), sock=sock
        )

    def _accepted(self, listener: Listener, connection: socket.socket, peer: tuple[Any, ...]) -> None:
        if link_local(peer):
            connection.close()
            return
        number = self._partition.connection(1 + secrets.randbelow(2**32 - 1))
        flow = Flow(listener.address, listener.port, listener.transport, peer[0], peer[1], number)
        framer: Framer = WebSocketFramer(self._welcome) if listener.transport in _WEB else StreamFramer()
        stream = Stream(self._streams, flow, framer)
        stream.accept(connection, self._certificates.context if listener.transport in _SECURE else None)

    def _socket(self, listener: Listener, kind: socket.SocketKind) -> socket.socket:
        ipv6 = ":" in listener.host
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind)
        sock.setblocking(False)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has sockets of its own
        if self._movable and ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        elif self._movable:
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
            udp = self._udp.get(_key(flow))
            if udp is None or udp[0].is_closing():
                return False
            return self._send_datagram(*udp, flow, data)
        stream = self._streams.get(flow)
        if stream is not None and stream.send(data):
            return True
        return not flow.connection and self._dial(flow, data, until)

    def _send_datagram(
        self, transport: asyncio.DatagramTransport, sock: socket.socket, flow: Flow, data: bytes
    ) -> bool:
        """False if it can't leave this machine: it is too long, or there is no way to where it should go (§18.4). The
        transport wouldn't say of which packet that is."""
        to = (flow.host, flow.remote_port)
        try:
            sock.sendto(data, to)
        except BlockingIOError:
            transport.sendto(data, to)  # once there is room
        except OSError as error:
            if error.errno in _SLOW:
                return True
            self._note("unsendable", "nothing can be sent to %s", f"{flow.host}: {error.strerror}")
            return False
        return True

    def _dial(self, flow: Flow, data: bytes, until: float) -> bool:
        """A flow without a connection's number is one that we make ourselves, when there is something to send."""
        waiting = self._dialling.get(flow)
        if waiting is not None:
            if sum(len(item) for item, _ in waiting) > _MAX_UNSENT:
                return False
            waiting.append((data, until))
            return True
        host = self._hosts.get((flow.address, ":" in flow.host))
        if host is None or not self.listens(flow.address) or (flow.transport != "tcp" and not flow.server):
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
                stream = Stream(self._streams, flow, StreamFramer(), dialled=True)
                await loop.create_connection(lambda: stream, sock=sock, **self._checked(flow))
        except (OSError, TimeoutError, UnknownCa) as error:
            sock.close()
            del self._dialling[flow]
            why = reason_of(error, flow.server)
            log.info("no connection to %s: %s", flow.remote, why)
            self._receiver.closed(flow, why)
            return
        waiting = self._dialling.pop(flow)
        made = self._streams.get(flow)
        if made is None or not self.listens(flow.address):
            if made is not None:
                made.abort()
            else:
                self._receiver.closed(flow, stream.fault)
            return
        for data, until in waiting:
            if not until or time.monotonic() < until:
                self.send(flow, data)

    def _checked(self, flow: Flow) -> dict[str, Any]:
        """How to make a connection that leads to ``flow.server``. Raises UnknownCa."""
        if not flow.server:
            return {}
        context = self._server_trust.context(flow.server)
        return {"ssl": context, "server_hostname": host_in(flow.server), "ssl_shutdown_timeout": TLS_SHUTDOWN}

    def close(self) -> None:
        for task in self._dials:
            task.cancel()
        for acceptor in self._acceptors.values():
            acceptor.close()
        self._streams.close()
        for udp, _ in self._udp.values():
            udp.close()
        for others in self.for_others:
            for _, sock in others:
                sock.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(
        self, listener: Listener, receiver: StreamUser, opened: Callable[[asyncio.DatagramTransport], None]
    ) -> None:
        """``opened`` is called before anything that has waited in the socket is read."""
        self._opened = opened
        self._listener = listener
        self._receiver = receiver
        self._message = receiver.message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._opened(self._transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if len(data) > 4 and not link_local(addr):  # shorter ones are phones' keep-alives: CRLFs and NULs
            listener = self._listener
            flow = Flow(listener.address, listener.port, "udp", addr[0], addr[1])
            if data[0]:
                self._message(flow, data)
            else:
                self._stun(flow, data, addr)

    def _stun(self, flow: Flow, data: bytes, addr: tuple[Any, ...]) -> None:
        """No SIP message begins with a NUL; a request for a binding does."""
        answer = stun.answer(data, flow.host, flow.remote_port)
        if answer is None:
            self._message(flow, data)
        elif self._receiver.may_answer(flow):
            self._transport.sendto(answer, addr)
