"""Finding messages in a byte stream (RFC 3261 §18.3), with the keep-alives of RFC 5626 §4.4.1 between them."""

from __future__ import annotations

from edge.sip.message import MalformedMessage
from edge.sip.parser import MAX_MESSAGE, content_length, parse_head


class StreamFramer:
    """Feed it bytes as they come; it gives back whole messages as bytes, and ``PING`` for each double CRLF."""

    PING = b"\r\n\r\n"
    PONG = b"\r\n"

    def __init__(self) -> None:
        self.max_head = MAX_MESSAGE  # octets of a header
        self.unfinished = 0  # octets of a message whose end hasn't come; what may be a keep-alive is none
        self._buffer = bytearray()
        self._searched = 0  # no blank line ends before here
        self._need = 0  # length of the message at the buffer's start, once its head has been read
        self.fault: MalformedMessage | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, in order.

        When the stream can't be read on (no Content-Length, RFC 3261 §20.14; a head that isn't SIP, or is longer than
        ``max_head``; a message over MAX_MESSAGE octets) ``fault`` is set: the connection must then be closed. A bad
        head comes as the last message, so that it can be answered.
        """
        found: list[bytes] = []
        if self.fault is None:
            self._buffer += data
            try:
                self._find(found)
            except MalformedMessage as error:
                self.fault = error
                self._buffer.clear()
            self.unfinished = len(self._buffer) if not self._buffer.startswith(b"\r") else 0
        return found

    def _find(self, found: list[bytes]) -> None:
        buffer = self._buffer
        while buffer:
            if not self._need:
                if not self._skip_empty_lines(found):
                    break
                if not self._read_head(found):
                    break
            if len(buffer) < self._need:
                break
            found.append(bytes(buffer[: self._need]))
            self._drop(self._need)

    def _skip_empty_lines(self, found: list[bytes]) -> bool:
        """Take keep-alives off the front. False if the buffer may end inside one."""
        buffer = self._buffer
        while buffer[:1] == b"\r":
            if buffer.startswith(self.PING):
                found.append(self.PING)
                self._drop(4)
            elif buffer.startswith(b"\r\n") and len(buffer) > 2 and buffer[2:3] != b"\r":
                self._drop(2)  # a pong, or an empty line before a message (§7.5)
            elif self.PING.startswith(buffer):
                return False
            else:
                raise MalformedMessage("a stray CR in the stream")
        return bool(buffer)

    def _read_head(self, found: list[bytes]) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if (len(buffer) if end < 0 else end + 4) > self.max_head:
            raise MalformedMessage(f"headers longer than {self.max_head} octets", status=513)
        if end < 0:
            self._searched = len(buffer)
            return False
        try:
            message = parse_head(buffer[:end].decode("utf-8", "surrogateescape"))
        except MalformedMessage:
            found.append(bytes(buffer[: end + 4]))
            raise
        length = content_length(message)
        if length is None:
            raise MalformedMessage("no Content-Length on a stream", message)
        if end + 4 + length > MAX_MESSAGE:
            raise MalformedMessage(f"a message longer than {MAX_MESSAGE} octets", message, 513)
        self._need = end + 4 + length
        return True

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = self._need = 0
