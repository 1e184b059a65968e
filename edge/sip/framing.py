"""Finding messages in a byte stream (RFC 3261 §18.3), with the keep-alives of RFC 5626 §4.4.1 between them."""

from __future__ import annotations

from typing import Protocol

from edge.sip.message import MalformedMessage
from edge.sip.parser import MAX_MESSAGE, content_length, parse_head

_NEVER_FIRST = frozenset(range(32)) - {*b"\t\n\r"}  # a TLS handshake begins with 22


class UnreadableStream(Exception):
    """Nobody can say where the next message begins; the text says why."""


PING, PONG = b"\r\n\r\n", b"\r\n"
"""What a phone sends to keep a stream alive, and what it is answered (RFC 5626 §3.5.1)."""


class Framer(Protocol):
    """How messages are told apart on one connection. ``max_head``: octets that a header may have. ``unfinished``: those
    of a message whose end hasn't come. ``pings``: whether it is kept alive by pings of our own."""

    max_head: int
    unfinished: int
    fault: UnreadableStream | None
    pings: bool

    @property
    def ready(self) -> bool:
        """Whether messages may pass."""

    @property
    def ended(self) -> bool:
        """Whether the connection has to be closed once everything is sent."""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, in order. ``fault`` is set where it can't be read on."""

    def wrap(self, message: bytes) -> bytes:
        """``message`` as it is sent."""

    def replies(self) -> bytes:
        """What is to be sent of its own since it was last asked: answers to keep-alives and the like."""

    def ping(self) -> bytes:
        """What the other side has to answer."""

    def close(self) -> bytes:
        """What tells the other side that no message follows, and has it answer so; b"" if there is no such thing."""


class StreamFramer:
    """Feed it bytes as they come; it gives back whole messages as bytes, and answers each double CRLF."""

    pings = False
    ready = True

    def __init__(self) -> None:
        self.max_head = MAX_MESSAGE
        self.unfinished = 0  # what may be a keep-alive is none
        self._pongs = 0  # that are due
        self._buffer = bytearray()
        self._searched = 0  # no blank line ends before here
        self._need = 0  # length of the message at the buffer's start, once its head has been read
        self.fault: UnreadableStream | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, in order.

        When the stream can't be read on ``fault`` is set: the connection must then be closed. What can't be read comes
        as the last message, so that it can be answered. A malformed message of which it is clear where it ends is one
        like any other here.
        """
        found: list[bytes] = []
        if self.fault is None:
            self._buffer += data
            try:
                self._find(found)
            except UnreadableStream as error:
                self.fault = error
                self._buffer.clear()
            self.unfinished = len(self._buffer) if not self._buffer.startswith(b"\r") else 0
        return found

    @property
    def ended(self) -> bool:
        return self.fault is not None

    def wrap(self, message: bytes) -> bytes:
        return message

    def replies(self) -> bytes:
        if not self._pongs:
            return b""
        pongs, self._pongs = self._pongs, 0
        return PONG * pongs

    def ping(self) -> bytes:
        return b""  # the kernel's probes do that

    def close(self) -> bytes:
        return b""

    def _find(self, found: list[bytes]) -> None:
        buffer = self._buffer
        while buffer:
            if not self._need:
                if not self._skip_empty_lines():
                    break
                if not self._read_head(found):
                    break
            if len(buffer) < self._need:
                break
            found.append(bytes(buffer[: self._need]))
            self._drop(self._need)

    def _skip_empty_lines(self) -> bool:
        """Take keep-alives off the front. False if the buffer may end inside one."""
        buffer = self._buffer
        while buffer[:1] == b"\r":
            if buffer.startswith(PING):
                self._pongs += 1
                self._drop(4)
            elif buffer.startswith(b"\r\n") and len(buffer) > 2 and buffer[2:3] != b"\r":
                self._drop(2)  # a pong, or an empty line before a message (§7.5)
            elif PING.startswith(buffer):
                return False
            else:
                raise UnreadableStream("a stray CR")
        if buffer and buffer[0] in _NEVER_FIRST:
            raise UnreadableStream("it begins as TLS does, or something else that is no text")
        return bool(buffer)

    def _read_head(self, found: list[bytes]) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if (len(buffer) if end < 0 else end + 4) > self.max_head:
            found.append(bytes(buffer if end < 0 else buffer[:end]))
            raise UnreadableStream(f"headers longer than {self.max_head} octets")
        if end < 0:
            self._searched = len(buffer)
            return False
        try:
            self._need = end + 4 + self._length(buffer[:end].decode("utf-8", "surrogateescape"))
            if self._need > MAX_MESSAGE:
                raise UnreadableStream(f"a message longer than {MAX_MESSAGE} octets")
        except UnreadableStream:
            found.append(bytes(buffer[: end + 4]))
            raise
        return True

    def _length(self, head: str) -> int:
        """Octets of the body. Raises UnreadableStream (RFC 3261 §20.14)."""
        try:
            try:
                message = parse_head(head)
            except MalformedMessage as error:
                if error.unframed:
                    raise
                message = error.message
            length = content_length(message)
        except MalformedMessage as error:
            raise UnreadableStream(str(error)) from error
        if length is None:
            raise UnreadableStream("no Content-Length")
        return length

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = self._need = 0
