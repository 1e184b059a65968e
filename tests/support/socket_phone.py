"""The scripted agent on real sockets, in a network namespace where asked."""

from __future__ import annotations

import secrets
import select
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from edge.sip.framing import StreamFramer
from edge.sip.message import Message, Request, Response
from edge.sip.transaction.client import make_ack
from edge.sip.uri import host_in_uri
from scripts.fleet_parts import Host, PhoneAccount
from scripts.processes import in_namespace
from tests.support.agent import Agent, Dialog

_RETRANSMIT = 0.5

PATIENCE = 30.0  # seconds for what has to come: on a busy machine everything takes its time


class WebSocketClient:
    """A client's side of a WebSocket, as the framers of the edge are the server's."""

    def __init__(self, origin: str = "", subprotocol: str = "sip") -> None:
        self.protocol = ClientProtocol(
            parse_uri("ws://edge.example.net/"),
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        )
        self.pings = 0

    def ask(self) -> bytes:
        """What asks for a WebSocket."""
        self.protocol.send_request(self.protocol.connect())
        return self.replies()

    @property
    def ready(self) -> bool:
        return self.protocol.state is State.OPEN

    def feed(self, data: bytes) -> list[bytes]:
        self.protocol.receive_data(data)
        frames = [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        self.pings += sum(frame.opcode is Opcode.PING for frame in frames)
        return [bytes(frame.data) for frame in frames if frame.opcode in (Opcode.TEXT, Opcode.BINARY)]

    def wrap(self, message: bytes) -> bytes:
        self.protocol.send_text(message)
        return self.replies()

    def replies(self) -> bytes:
        return b"".join(self.protocol.data_to_send())


class SocketPhone:
    """A phone at ``host`` that talks to ``proxy`` (host, port). One thread; ``wait`` reads the socket. ``tls`` is what
    it trusts, and the name that it expects."""

    def __init__(
        self,
        account: PhoneAccount,
        domain: str,
        host: Host,
        proxy: tuple[str, int],
        transport: str = "UDP",
        port: int = 0,
        tls: tuple[ssl.SSLContext, str] | None = None,
        origin: str = "",
    ) -> None:
        self.proxy = proxy
        self._host = host
        self._framer = WebSocketClient(origin) if transport in ("WS", "WSS") else StreamFramer()
        self.socket = in_namespace(host.namespace, lambda: self._open(transport, host.address, port))
        local = self.socket.getsockname()
        if tls is not None:
            context, name = tls
            self.socket = context.wrap_socket(self.socket, server_hostname=name)
        shown = host_in_uri(local[0])
        if isinstance(self._framer, WebSocketClient):
            shown = f"{secrets.token_hex(6)}.invalid"  # a browser doesn't know its address
            self.socket.sendall(self._framer.ask())
            while not self._framer.ready:
                self._framer.feed(self.socket.recv(65536))
        self.agent = Agent(account.username, domain, account.password, shown, local[1], self.send, transport)
        self._past: set[str | None] = set()  # Call-IDs

    def _open(self, transport: str, address: str, port: int) -> socket.socket:
        kind = socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        made.bind((address, port))
        if kind == socket.SOCK_STREAM:
            made.settimeout(PATIENCE)
            try:
                made.connect(self.proxy)
            except OSError:
                made.close()
                raise
        return made

    def __enter__(self) -> SocketPhone:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        if self.agent.transport == "UDP":
            self.socket.sendto(data, self.proxy)
        else:
            self.socket.sendall(self._framer.wrap(data))

    def read(self, seconds: float) -> None:
        """Take what comes within ``seconds``, and return after the first of it."""
        pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
        readable, _, _ = select.select([self.socket], [], [], 0.0 if pending else max(0.0, seconds))
        if not readable and not pending:
            return
        data = self.socket.recv(65536)
        if self.agent.transport == "UDP":
            self.agent.take(data)
        elif not data:
            raise ConnectionError("the edge closed the connection")
        else:
            for message in self._framer.feed(data):
                self.agent.take(message)
            if replies := self._framer.replies():
                self.socket.sendall(replies)

    def wait(
        self,
        found: Callable[[], Any],
        seconds: float = PATIENCE,
        resend: bytes = b"",
        also: Callable[[], None] | None = None,
    ) -> Any:
        """Read until ``found()`` is true; its value. ``resend`` is sent again, and ``also`` called, every half second,
        as retransmissions would be."""
        end = time.monotonic() + seconds
        again = time.monotonic() + _RETRANSMIT
        while True:
            value = found()
            if value:
                return value
            now = time.monotonic()
            if now > end:
                seen = [f"{message.start_line} ({message.get('cseq')})" for message in self.agent.received[-8:]]
                raise AssertionError(f"nothing within {seconds} s; the last that came: {seen}")
            if now >= again:
                again = now + _RETRANSMIT
                if resend and self.agent.transport == "UDP":
                    self.send(resend)
                if also is not None:
                    also()
            self.read(min(0.05, end - now))

    def forget(self) -> None:
        """What has come is of calls that are past."""
        self._past.update(request.get("call-id") for request in self.agent.requests("INVITE"))
        self.agent.received.clear()

    def new_call(self) -> Request | None:
        """The INVITE of a call that isn't past: those of before may come once more, from another edge."""
        invites: list[Request] = self.agent.requests("INVITE")
        return next((invite for invite in invites if invite.get("call-id") not in self._past), None)

    def idle(self, seconds: float, answer: bool = True) -> None:
        """Only answer keep-alives for a while (or not even those)."""
        self.agent.answers_options = answer
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(min(0.2, end - time.monotonic()))
        self.agent.answers_options = True

    def transact(self, request: Request, seconds: float = PATIENCE) -> Response:
        """Send, answer a challenge, wait for the final response."""
        for _ in range(3):
            wire = request.to_bytes()
            self.send(wire)
            response: Response = self.wait(partial(self.agent.final, request), seconds, wire)
            if response.status not in (401, 407):
                break
            if request.method == "INVITE":
                self.send(make_ack(request, response).to_bytes())
            request = self.agent.authorize(request, response)
        return response

    def register(self, expires: int = 3600) -> int:
        return self.transact(self.agent.register_request(expires)).status

    def invite(self, uri: str) -> Request:
        """INVITE with credentials, on its way."""
        invite = self.agent.invite_request(uri)
        wire = invite.to_bytes()
        self.send(wire)
        challenge = self.wait(lambda: self.agent.final(invite), resend=wire)
        assert challenge.status == 407, challenge.start_line
        self.send(make_ack(invite, challenge).to_bytes())
        invite = self.agent.authorize(invite, challenge)
        self.send(invite.to_bytes())
        return invite


def call(caller: SocketPhone, callee: SocketPhone, uri: str, seconds: float = PATIENCE) -> tuple[Dialog, Dialog]:
    """An answered call: (caller's dialog, callee's dialog)."""
    for phone in (caller, callee):
        phone.forget()
    invite = caller.invite(uri)

    def again() -> None:
        if caller.agent.transport == "UDP":
            caller.send(invite.to_bytes())

    try:
        incoming = callee.wait(callee.new_call, seconds, also=again)
    except AssertionError as error:
        caller.idle(0.5)
        raise AssertionError(f"{error}; who calls has got {_start_line(caller.agent.final(invite))}") from error
    # UDP may lose any of these: they are sent again, as user agents do.
    ringing = callee.agent.response(incoming, 180).to_bytes()
    callee.send(ringing)
    caller.wait(lambda: 180 in caller.agent.statuses("INVITE"), seconds, also=lambda: callee.send(ringing))
    ok = callee.agent.response(incoming, 200)
    callee.send(ok.to_bytes())
    answer = caller.wait(lambda: caller.agent.final(invite), seconds, also=lambda: callee.send(ok.to_bytes()))
    assert answer.status == 200, answer.start_line
    dialog = caller.agent.caller_dialog(invite, answer)
    ack = caller.agent.in_dialog(dialog, "ACK").to_bytes()
    caller.send(ack)
    callee.wait(lambda: callee.agent.requests("ACK"), seconds, also=lambda: caller.send(ack))
    return dialog, callee.agent.callee_dialog(incoming, ok)


def _start_line(message: Message | None) -> str:
    return message.start_line if message else "nothing"


def in_dialog(
    one: SocketPhone,
    dialog: Dialog,
    method: str,
    other: SocketPhone,
    seconds: float = PATIENCE,
    may_be: tuple[int, ...] = (200,),
) -> Message:
    """A request in a dialog, answered 200, of which its sender hears (``may_be``); what the other side got."""
    other.forget()
    request = one.agent.in_dialog(dialog, method)
    wire = request.to_bytes()
    one.send(wire)
    try:
        got: Request = other.wait(
            lambda: next(iter(other.agent.requests(method)), None), seconds, also=lambda: one.send(wire)
        )
    except AssertionError as error:
        one.idle(0.5)
        raise AssertionError(f"{error}; who sent it has got {_start_line(one.agent.final(request))}") from error
    ok = other.agent.response(got, 200).to_bytes()
    other.send(ok)
    answer = one.wait(lambda: one.agent.final(request), seconds, wire, lambda: other.send(ok))
    assert answer.status in may_be, answer.start_line
    if method == "INVITE":
        one.send(one.agent.in_dialog(dialog, "ACK").to_bytes())
        other.wait(lambda: other.agent.requests("ACK"), seconds)
    return got
