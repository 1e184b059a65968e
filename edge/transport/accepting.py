"""Taking connections off a listening socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from edge.transport.steering import attach

log = logging.getLogger(__name__)

_AT_ONCE = 64  # connections, before the loop's other work has its turn
_REST = 0.5  # seconds after the kernel had no room for another connection
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # socket(7)
_RETURN = 0x06  # BPF_RET | BPF_K: how many octets of the packet are let in

Taker = Callable[[socket.socket, tuple[Any, ...]], None]
"""Gets a connection, and what the kernel calls the other side."""


class Acceptor:
    """Has ``take`` called with each connection that is made to ``sock``, which listens."""

    def __init__(self, sock: socket.socket, take: Taker) -> None:
        self._socket = sock
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._deaf = False
        self._loop.add_reader(sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no connection can be accepted: %s", error.strerror)
                self._loop.remove_reader(self._socket)
                self._resting = self._loop.call_later(_REST, self._go_on)
                return
            connection.setblocking(False)
            self._take(connection, peer)

    def _go_on(self) -> None:
        self._resting = None
        self._loop.add_reader(self._socket, self._accept)

    def turn_away(self) -> None:
        """Have the kernel drop what comes to the listening socket; connections that are made already aren't touched."""
        if not self._deaf:
            attach(self._socket, _SO_ATTACH_FILTER, [(_RETURN, 0)])
            self._deaf = True

    def listen_again(self) -> None:
        if self._deaf:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            self._deaf = False

    def close(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
