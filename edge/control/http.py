"""HTTP as far as questions need it (RFC 9112): a POST on a connection that is kept, and its answer, whole.

A client for everything takes more of the processor for a question than the core does for the request behind it. Here
each connection carries one question at a time, so that a slow answer holds up no other, and is kept for the next one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

_IDLE = 60.0  # seconds that a connection is kept
_SOON = 0.25  # seconds after which another of a host's addresses is tried beside the first (RFC 8305 §8)
_LONGEST_HEAD = 65_536  # octets
_MOST = 64 * 1024 * 1024  # octets of an answer


class HttpError(Exception):
    """What came is no answer that can be used; the text says why."""


class ConnectionEnded(HttpError):
    """The connection has ended before there was an answer."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a URL's requests go. ``authority`` is as Host has it."""

    host: str
    port: int
    secure: bool
    authority: str


@lru_cache(maxsize=256)
def _split(url: str) -> tuple[_Origin, str]:
    """The origin of ``url``, and what of it is asked for there."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = parts.netloc.rpartition("@")[2]
    return _Origin(parts.hostname or "", parts.port or (443 if secure else 80), secure, authority), path


class HttpClient:
    """Posts, on connections that it keeps."""

    def __init__(self) -> None:
        self._kept: dict[_Origin, list[_KeptConnection]] = {}
        self._open: set[_KeptConnection] = set()
        self._context: ssl.SSLContext | None = None

    async def post(
        self, url: str, headers: Mapping[str, str], data: bytes, sent: Callable[[], None]
    ) -> tuple[int, bytes]:
        """Status and body of the answer. ``headers`` come without Host and Content-Length; ``sent`` is called as soon
        as there is a connection and the request is on it. A kept connection may have ended meanwhile; then it is asked
        again, once, by a new one. Raises HttpError, OSError."""
        origin, path = _split(url)
        lines = [f"POST {path} HTTP/1.1", f"Host: {origin.authority}", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode() + data
        kept = self._take(origin)
        if kept is not None:
            try:
                return await self._ask(kept, request, sent)
            except ConnectionEnded:
                pass
        return await self._ask(await self._connect(origin), request, sent)

    async def _ask(self, connection: _KeptConnection, request: bytes, sent: Callable[[], None]) -> tuple[int, bytes]:
        done = False
        try:
            answer = connection.send(request)
            sent()
            status, body, keeps = await answer
            done = keeps
        finally:
            if done:
                connection.since = time.monotonic()
                self._kept.setdefault(connection.origin, []).append(connection)
            else:
                connection.close()  # its answer may be still to come
        return status, body

    def _take(self, origin: _Origin) -> _KeptConnection | None:
        """The connection that was used last, if it is still good."""
        kept = self._kept.get(origin)
        oldest = time.monotonic() - _IDLE
        while kept:
            connection = kept.pop()
            if connection.since > oldest and not connection.ended:
                return connection
            connection.close()
        return None

    async def _connect(self, origin: _Origin) -> _KeptConnection:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        sock = await start_connection(found, happy_eyeballs_delay=_SOON, interleave=1)
        secured: dict[str, Any] = {"ssl": self._tls(), "server_hostname": origin.host} if origin.secure else {}
        connection = _KeptConnection(origin, self._open)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.create_connection(lambda: connection, sock=sock, **secured)
        except BaseException:
            sock.close()
            raise
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()


class _KeptConnection(asyncio.Protocol):
    def __init__(self, origin: _Origin, opened: set[_KeptConnection]) -> None:
        """It is in ``opened`` while it is open."""
        self.origin = origin
        self.since = 0.0  # when it had nothing to do any more
        self.ended = False
        self._opened = opened
        self._data = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes, bool]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._opened.add(self)

    def send(self, request: bytes) -> asyncio.Future[tuple[int, bytes, bool]]:
        """Status and body of the answer to ``request``, and whether the connection may be used again."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.close()  # nobody has asked
            return
        self._data += data
        try:
            found = read(self._data)
        except HttpError as error:
            answer.set_exception(error)
            return
        if found is not None:
            self._answer = None
            self._data.clear()
            answer.set_result(found)

    def connection_lost(self, fault: Exception | None) -> None:
        self.ended = True
        self._opened.discard(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionEnded(str(fault or "the connection has ended")))

    def close(self) -> None:
        self._transport.close()


# Reading answers


def read(data: bytearray) -> tuple[int, bytes, bool] | None:
    """Status and body of the answer that ``data`` is, and whether the connection may be used again; None while it isn't
    whole. Octets behind it are no answer to anything: the connection ends with it. Raises HttpError."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > _LONGEST_HEAD:
            raise HttpError("an answer's header fields are too long")
        return None
    version, status, fields = _head(data[:end].decode("latin-1"))
    if 100 <= status < 200:  # §15.2: it isn't the answer yet
        del data[: end + 4]
        return read(data)
    begin = end + 4
    if fields.get("transfer-encoding", "").lower() == "chunked":
        found = _chunks(data, begin)
        if found is None:
            return None
        body, after = found
    else:
        length = fields.get("content-length", "0" if status in (204, 304) else "")
        if not (length.isascii() and length.isdecimal()) or int(length) > _MOST:
            raise HttpError(f"an answer with Content-Length {length[:20]!r}")
        after = begin + int(length)
        if len(data) < after:
            return None
        body = bytes(data[begin:after])
    keeps = version == "HTTP/1.1" and fields.get("connection", "").lower() != "close" and len(data) == after
    return status, body, keeps


def _head(text: str) -> tuple[str, int, dict[str, str]]:
    start, *lines = text.split("\r\n")
    version, _, rest = start.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdecimal() and len(status) == 3):
        raise HttpError(f"no answer of HTTP/1: {start[:60]!r}")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return version, int(status), fields


def _chunks(data: bytearray, at: int) -> tuple[bytes, int] | None:
    """The chunked body (§7.1) that begins there, and where it ends; None while it isn't whole. Raises HttpError."""
    body = bytearray()
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        try:
            size = int(bytes(data[at:end]).partition(b";")[0], 16)
        except ValueError as error:
            raise HttpError(f"a chunk of {bytes(data[at:end])[:20]!r} octets") from error
        at = end + 2
        if not size:
            end = data.find(b"\r\n", at)  # there may be trailers, up to an empty line
            while end > at:
                at = end + 2
                end = data.find(b"\r\n", at)
            return (bytes(body), end + 2) if end >= 0 else None
        if size < 0 or len(body) + size > _MOST:
            raise HttpError("an answer that is too long")
        if len(data) < at + size + 2:
            return None
        body += data[at : at + size]
        at += size + 2
