"""A phone of a load: a scripted agent on a socket of its own, by any transport."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect

from edge.sip.framing import StreamFramer
from edge.sip.message import Request, Response
from edge.sip.transaction.client import make_ack
from tests.support.agent import Agent

_PATIENCE = 20.0  # seconds for one answer


class Phone:
    """One phone on a socket of its own. ``take`` gets whole messages; the agent has them until a call stands."""

    def __init__(self, username: str, domain: str, password: str, transport: str) -> None:
        self.agent = Agent(username, domain, password, "127.0.0.1", 5060, self._send, transport.upper())
        self.take: Callable[[bytes], object] = self._to_agent
        self._came = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._write: Callable[[bytes], object] = lambda data: None
        self._socket: ClientConnection | None = None
        self._end: asyncio.BaseTransport | None = None

    async def open(self, server: tuple[str, int], own: str, context: ssl.SSLContext | None, name: str) -> None:
        """Connect to ``server`` from the address ``own``; a certificate has to name ``name``."""
        loop = asyncio.get_running_loop()
        kind = self.agent.transport
        if kind == "UDP":
            datagrams, _ = await loop.create_datagram_endpoint(
                lambda: DatagramEnd(lambda data: self.take(data)), (own, 0), server
            )
            self._write, self._end = datagrams.sendto, datagrams
            local = datagrams.get_extra_info("sockname")
        elif kind in ("TCP", "TLS"):
            named = {"ssl": context, "server_hostname": name} if kind == "TLS" else {}
            stream, _ = await loop.create_connection(
                lambda: _StreamEnd(lambda data: self.take(data)), *server, local_addr=(own, 0), **cast(Any, named)
            )
            self._write, self._end = stream.write, stream
            local = stream.get_extra_info("sockname")
        else:
            scheme = "wss" if context is not None else "ws"
            self._socket = await connect(
                f"{scheme}://{name}:{server[1]}/",
                host=server[0],
                local_addr=(own, 0),
                subprotocols=cast(Any, ["sip"]),
                ssl=context,
                compression=None,
                ping_interval=None,
            )
            self._reading = loop.create_task(self._read(self._socket))
            self._write, self._end = self._to_socket, self._socket.transport
            local = self._socket.local_address
        self.agent.host, self.agent.port = local[:2]

    def _to_socket(self, data: bytes) -> None:
        """The connection's own protocol, without a coroutine for each message."""
        assert self._socket is not None
        self._socket.protocol.send_text(data)
        for chunk in self._socket.protocol.data_to_send():
            self._socket.transport.write(chunk)

    async def _read(self, socket: ClientConnection) -> None:
        async for data in socket:
            self.take(data.encode() if isinstance(data, str) else data)

    def _send(self, data: bytes) -> None:
        self._write(data)

    def _to_agent(self, data: bytes) -> None:
        self.agent.take(data)
        self._came.set()

    async def wait(self, found: Callable[[], Any]) -> Any:
        async with asyncio.timeout(_PATIENCE):
            while not (value := found()):
                self._came.clear()
                await self._came.wait()
        return value

    async def transact(self, request: Request) -> Response:
        while True:
            self._send(request.to_bytes())
            response: Response = await self.wait(lambda: self.agent.final(request))  # noqa: B023 - awaited here
            if response.status not in (401, 407):
                return response
            if request.method == "INVITE":
                self._send(make_ack(request, response).to_bytes())
            request = self.agent.authorize(request, response)

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._end is not None:
            self._end.close()


class DatagramEnd(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._take(data)


class _StreamEnd(asyncio.Protocol):
    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._framer, self._take = StreamFramer(), take

    def data_received(self, data: bytes) -> None:
        for message in self._framer.feed(data):
            self._take(message)
