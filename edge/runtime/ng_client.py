"""Asking an engine on this machine by its ng protocol, over UDP."""

from __future__ import annotations

import asyncio
import os

from edge.media import ng
from edge.media.ng import Answer, Command

_AGAIN = (0.15, 0.35)  # seconds after which a command is sent again
_TIMEOUT = 1.0  # seconds for the answer


class NgClient(asyncio.DatagramProtocol):
    """A command gets its answer, or None if there is none within a second. Sent again it has the same cookie, and the
    engine doesn't carry it out again."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[str, asyncio.Future[Answer | None]] = {}
        self._name = os.urandom(6).hex()
        self._count = 0

    async def open(self, host: str, port: int) -> None:
        """Talk to the engine that listens there, from now on. Raises OSError."""
        self.close()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(host, port))

    async def ask(self, command: Command) -> Answer | None:
        transport = self._transport
        if transport is None:
            return None
        self._count += 1
        cookie = f"{self._name}{self._count}"
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer | None] = loop.create_future()
        self._waiting[cookie] = answered
        data = ng.write(cookie, command)
        transport.sendto(data)
        timers = [loop.call_later(wait, transport.sendto, data) for wait in _AGAIN]
        timers.append(loop.call_later(_TIMEOUT, self._answer, cookie, None))
        try:
            return await answered
        finally:
            for timer in timers:
                timer.cancel()
            self._waiting.pop(cookie, None)

    def _answer(self, cookie: str, answer: Answer | None) -> None:
        waiting = self._waiting.get(cookie)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            cookie, answer = ng.read(data)
        except ValueError:
            return
        self._answer(cookie, answer)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there yet, or any more; the command is sent again."""

    def close(self) -> None:
        """Whoever waits gets no answer."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        for cookie in list(self._waiting):
            self._answer(cookie, None)
