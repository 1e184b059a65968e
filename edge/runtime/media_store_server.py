"""Answers engines as the Redis that they keep their sessions in, on loopback.

SRTP's keys lie there, so nobody gets an answer but who knows an address's password; it is made from a secret in a file
that only its owner reads. Secret and port stay, since an engine outlives the edge's process and comes back to both.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import hiredis

from edge.media.store import OK, CommandRefused, Reply, SessionStore

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_STRANGER = 512  # octets from whoever hasn't said the password
_PATIENCE = 3.0  # seconds for it to be said


class MediaStoreServer:
    """``stores`` are those of the addresses here. ``changed`` hears of an address whose sessions may have changed, and
    when an engine has come or gone."""

    def __init__(self, state: Path, stores: Mapping[str, SessionStore], changed: Callable[[str], None]) -> None:
        self._path = state / "media-store.json"
        self._stores = stores
        self._changed = changed
        self._port = 0
        self._secret = b""
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._numbers = itertools.count(1)

    async def open(self) -> None:
        """Listen where it was listened before, if there was such a time. Raises OSError."""
        port, self._secret = self._read()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, _HOST, port)
        except OSError as error:
            if not port:
                raise
            log.error("port %d, where engines that run keep their sessions, is taken: %s", port, error.strerror)
            self._server = await loop.create_server(self._accept, _HOST, 0)
        self._port = self._server.sockets[0].getsockname()[1]
        if self._port != port:
            self._write()

    def _read(self) -> tuple[int, bytes]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self._path.read_bytes())
            return int(kept["port"]), bytes.fromhex(kept["secret"])
        return 0, secrets.token_bytes(32)

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"port": self._port, "secret": self._secret.hex()}, file)
        beside.replace(self._path)

    def _accept(self) -> asyncio.Protocol:
        return _Connection(next(self._numbers), self._store_of, self._changed, self._connections)

    def redis(self, address: str) -> str:
        """The setting ``redis`` of the address's engine: ``PASSWORD@HOST:PORT/DATABASE``."""
        return f"{self._password(address)}@{_HOST}:{self._port}/0"

    def _password(self, address: str) -> str:
        return hmac.digest(self._secret, address.encode(), "sha256").hex()

    def _store_of(self, password: bytes) -> tuple[str, SessionStore] | None:
        """Whose password it is; compared in constant time."""
        found = None
        for address, store in self._stores.items():
            if hmac.compare_digest(password, self._password(address).encode()):
                found = address, store
        return found

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.end()


class _Connection(asyncio.Protocol):
    """Of an engine, or of a stranger."""

    def __init__(
        self,
        number: int,
        store_of: Callable[[bytes], tuple[str, SessionStore] | None],
        changed: Callable[[str], None],
        open_ones: set[_Connection],
    ) -> None:
        self._number = number
        self._store_of = store_of
        self._changed = changed
        self._open_ones = open_ones
        self._reader = hiredis.Reader()
        self._store: SessionStore | None = None
        self._address = ""
        self._left = _STRANGER
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._open_ones.add(self)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self.end)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._store is None:
            self._left -= len(data)
            if self._left < 0:
                self.end()
                return
        assert self._transport is not None
        try:
            self._reader.feed(data)
            while (words := self._reader.gets()) is not False:
                if not isinstance(words, list) or not words or not all(isinstance(word, bytes) for word in words):
                    raise hiredis.ProtocolError("not a command")
                self._transport.write(_written(self._answer(words)))
        except hiredis.HiredisError as error:
            log.warning("what came to the media store of %s can't be read: %s", self._address or "nobody", error)
            self.end()
            return
        if self._store is not None:
            self._changed(self._address)

    def _answer(self, words: list[bytes]) -> Reply:
        if self._store is not None:
            return self._store.answer(self._number, words)
        found = self._store_of(words[-1]) if words[0].upper() == b"AUTH" and len(words) == 2 else None
        if found is None:
            return CommandRefused("NOAUTH the password is needed first")
        self._address, self._store = found
        self._store.opened(self._number)
        if self._timer is not None:
            self._timer.cancel()
        return OK

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._store is not None:
            self._store.closed(self._number)
            self._changed(self._address)


def _written(reply: Reply) -> bytes:
    """RESP2, which hiredis reads, and of which it writes arrays of strings."""
    match reply:
        case None:
            return b"$-1\r\n"
        case CommandRefused(text):
            return b"-%b\r\n" % text.encode("latin-1")
        case str():
            return b"+%b\r\n" % reply.encode("latin-1")
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return hiredis.pack_command(tuple(reply)) if reply else b"*0\r\n"  # type: ignore[arg-type] # its stub allows one
