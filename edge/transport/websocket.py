"""SIP messages in WebSocket frames (RFC 7118, RFC 6455), without the connection that they are on.

One WebSocket message is one SIP message, in a text or a binary frame; a Content-Length isn't needed. The subprotocol
``sip`` has to be asked for. Extensions, compression among them, are never agreed on.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from edge.sip.framing import PING, PONG, UnreadableStream
from edge.sip.parser import MAX_MESSAGE

MAX_REQUEST = 8192
"""Octets of the HTTP request that asks for a WebSocket."""
MAX_FRAGMENTS = 64
"""Frames of one message."""
MAX_IDLE_FRAMES = 60
"""Frames that carry no SIP message (pings, pongs, keep-alives) between two of our pings."""
_AT_ONCE = 4096  # octets that are looked at before it is seen whether there is too much of something
_TEXT, _BINARY, _CONTINUED = Opcode.TEXT, Opcode.BINARY, Opcode.CONT

Welcome = Callable[[str], bool]
"""Whether pages of an Origin (``https://phone.example.com``) may have WebSockets."""


class WebSocketFramer:
    """The server's side of one WebSocket, with the interface of ``Framer``. ``welcome`` is asked about browsers' pages;
    other programs have no Origin."""

    pings = True

    def __init__(self, welcome: Welcome) -> None:
        self.max_head = MAX_MESSAGE
        self.unfinished = 0
        self.fault: UnreadableStream | None = None
        self._welcome = welcome
        self._socket = ServerProtocol(subprotocols=[Subprotocol("sip")], max_size=MAX_MESSAGE)
        self._request = 0  # octets of the HTTP request so far
        self._parts: list[bytes] = []  # of a message in several frames
        self._idle_frames = 0

    @property
    def ready(self) -> bool:
        return self._socket.state is State.OPEN

    @property
    def ended(self) -> bool:
        return self._socket.eof_sent

    def feed(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        for at in range(0, len(data), _AT_ONCE):
            if self._socket.eof_sent:
                break
            self._feed(data[at : at + _AT_ONCE], found)
        return found

    def _feed(self, data: bytes, found: list[bytes]) -> None:
        socket = self._socket
        if socket.state is State.CONNECTING:
            self._request += len(data)
        socket.receive_data(data)
        events = socket.events_received()
        self.unfinished = len(socket.reader.buffer) if events else self.unfinished + len(data)
        for event in events:
            if isinstance(event, Frame):
                self._take(event, found)
            elif isinstance(event, Request):
                self._upgrade(event)
            if self.fault is not None:
                break
        else:
            self._look_for_faults()
        self.unfinished += sum(map(len, self._parts))

    def _look_for_faults(self) -> None:
        socket = self._socket
        error = socket.parser_exc or socket.handshake_exc
        if error is not None:
            self.fault = UnreadableStream(str(error))
        elif socket.state is State.CONNECTING and self._request > MAX_REQUEST:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")

    def _upgrade(self, request: Request) -> None:
        socket = self._socket
        if socket.eof_sent:  # by what came behind the request, before its answer
            self.fault = UnreadableStream(str(socket.parser_exc or "closed before it was open"))
            return
        response = socket.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            if socket.origin is not None and not self._welcome(socket.origin):
                text = f"pages of {socket.origin[:200]!r} may not use this service"
                self._refuse(HTTPStatus.FORBIDDEN, text)
                return
        else:
            self.fault = UnreadableStream(str(socket.handshake_exc))
        socket.send_response(response)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.fault = UnreadableStream(text)
        self._socket.send_response(self._socket.reject(status, f"{text}\n"))

    def _take(self, frame: Frame, found: list[bytes]) -> None:
        """``found`` gets the message that is whole with this frame."""
        if frame.opcode in (_TEXT, _BINARY, _CONTINUED):
            self._parts.append(bytes(frame.data))
            if not frame.fin:
                if len(self._parts) >= MAX_FRAGMENTS:
                    self._fail(f"a message in more than {MAX_FRAGMENTS} frames")
                return
            message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            if len(message) > len(PING):
                if message.find(b"\r\n\r\n", 0, self.max_head) < 0 and len(message) > self.max_head:
                    self._fail(f"headers longer than {self.max_head} octets")
                else:
                    found.append(message)
                return
            if message == PING and self.ready:  # no end of it has come right behind
                self._socket.send_text(PONG)
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES:
            self._fail("too many frames without a message")

    def _fail(self, text: str) -> None:
        self.fault = UnreadableStream(text)
        self._socket.fail(CloseCode.POLICY_VIOLATION, text)

    def wrap(self, message: bytes) -> bytes:
        # A browser ends a connection on which text isn't UTF-8.
        if message.isascii() or _is_utf8(message):
            self._socket.send_text(message)
        else:
            self._socket.send_binary(message)
        return self.replies()

    def replies(self) -> bytes:
        return b"".join(self._socket.data_to_send())

    def ping(self) -> bytes:
        self._idle_frames = 0
        if self._socket.state is not State.OPEN:
            return b""
        self._socket.send_ping(b"")
        return self.replies()

    def close(self) -> bytes:
        """We go away; the other side is to say that it has heard so."""
        if self._socket.state is State.OPEN:
            self._socket.send_close(CloseCode.GOING_AWAY)
        return self.replies()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
