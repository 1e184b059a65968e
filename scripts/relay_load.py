"""The load of ``scripts/bench relay`` and ``media``: pairs of phones in calls, one of each sending INFO in its dialog
and the other answering 200; or both sending RTP; or calling again and again. A process of its own, so that it can have
a core of its own: ``python -m scripts.relay_load`` reads its orders as lines of JSON, and answers each with one."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import uvloop
from websockets.asyncio.client import ClientConnection, connect

from edge.sip.framing import StreamFramer
from edge.sip.message import Request, Response
from edge.sip.transaction.client import make_ack
from tests.support.agent import Agent, Dialog

_PATIENCE = 20.0  # seconds for one answer
_PACKET = b"\x80\x00" + 10 * b"\x01" + 160 * b"\xff"  # 20 ms of G.711
_EVERY = 0.02
_TYPE = "Content-Type: application/sdp"


def _described(host: str, port: int) -> bytes:
    lines = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    return f"{lines}m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n".encode()


def _port(body: bytes) -> int:
    return int(body.partition(b"m=audio ")[2].split()[0])


class Phone:
    """One phone on a socket of its own. ``take`` gets whole messages; the agent has them until a call stands."""

    def __init__(self, username: str, domain: str, password: str, transport: str) -> None:
        self.agent = Agent(username, domain, password, "127.0.0.1", 5060, self._send, transport.upper())
        self.take: Callable[[bytes], object] = self._to_agent
        self._came = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._write: Callable[[bytes], object] = lambda data: None
        self._socket: ClientConnection | None = None

    async def open(self, server: tuple[str, int], own: str, context: ssl.SSLContext | None, name: str) -> None:
        """Connect to ``server`` from the address ``own``; a certificate has to name ``name``."""
        loop = asyncio.get_running_loop()
        kind = self.agent.transport
        if kind == "UDP":
            datagrams, _ = await loop.create_datagram_endpoint(
                lambda: _DatagramEnd(lambda data: self.take(data)), (own, 0), server
            )
            self._write = datagrams.sendto
            local = datagrams.get_extra_info("sockname")
        elif kind in ("TCP", "TLS"):
            named = {"ssl": context, "server_hostname": name} if kind == "TLS" else {}
            stream, _ = await loop.create_connection(
                lambda: _StreamEnd(lambda data: self.take(data)), *server, local_addr=(own, 0), **cast(Any, named)
            )
            self._write = stream.write
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
            self._write = lambda data: self._to_socket(data)
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


class _DatagramEnd(asyncio.DatagramProtocol):
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


class Voice:
    """What a phone sends and hears."""

    def __init__(self) -> None:
        self.heard = 0
        self._sequence = 0
        self._socket: asyncio.DatagramTransport | None = None

    async def open(self, host: str) -> bytes:
        """What says where it is."""
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: _DatagramEnd(self._hear), (host, 0))
        return _described(host, self._socket.get_extra_info("sockname")[1])

    def _hear(self, _: bytes) -> None:
        self.heard += 1

    def say(self, host: str, port: int) -> None:
        assert self._socket is not None
        self._sequence = (self._sequence + 1) % 65536
        head = self._sequence.to_bytes(2) + (160 * self._sequence).to_bytes(4)
        self._socket.sendto(_PACKET[:2] + head + _PACKET[8:], (host, port))


class CallPair:
    """Two phones in a call."""

    def __init__(self, caller: Phone, callee: Phone) -> None:
        self.caller, self.callee = caller, callee
        self.answered = 0
        self.voices: tuple[Voice, Voice] = (Voice(), Voice())
        self._ports = (0, 0)  # where each sends what it says
        self._dialog: Dialog | None = None
        self._info = (b"", b"", b"")
        self._number = 0

    async def register(self) -> None:
        for phone in (self.caller, self.callee):
            assert (await phone.transact(phone.agent.register_request())).status == 200

    async def speak(self, host: str) -> None:
        """From now on they say where they hear, which is at ``host``."""
        for phone, voice in zip((self.caller, self.callee), self.voices, strict=True):
            phone.agent.sdp = await voice.open(host)

    def say(self, host: str) -> None:
        """20 ms of each, to the engine at ``host``."""
        for voice, port in zip(self.voices, self._ports, strict=True):
            voice.say(host, port)

    @property
    def relayed(self) -> bool:
        """Whether they don't send to each other."""
        own = {_port(phone.agent.sdp) for phone in (self.caller, self.callee)}
        return not own & set(self._ports)

    async def call(self) -> None:
        """Call and answer. Raises AssertionError, TimeoutError."""
        caller, callee = self.caller.agent, self.callee.agent
        inviting = asyncio.create_task(self._invite())
        invite = await self.callee.wait(lambda: next(iter(callee.requests("INVITE")), None))
        callee.send(callee.response(invite, 200, headers=[_TYPE]).to_bytes())
        dialog = await inviting
        caller.send(caller.in_dialog(dialog, "ACK").to_bytes())
        await self.callee.wait(lambda: callee.requests("ACK"))
        self._dialog = dialog
        self._ports = (_port(caller.responses("INVITE")[-1].body), _port(invite.body))

    async def hang_up(self) -> None:
        """Raises TimeoutError."""
        assert self._dialog is not None
        caller, callee = self.caller.agent, self.callee.agent
        bye = caller.in_dialog(self._dialog, "BYE")
        caller.send(bye.to_bytes())
        got = await self.callee.wait(lambda: next(iter(callee.requests("BYE")), None))
        callee.send(callee.response(got, 200).to_bytes())
        await self.caller.wait(lambda: caller.final(bye))
        for agent in (caller, callee):
            agent.received.clear()

    def prepare(self) -> None:
        """For ``send``: only INFO, and what answers it, is looked at from now on."""
        assert self._dialog is not None
        self._prepare(self._dialog)
        self.caller.take, self.callee.take = self._count, self._answer

    async def _invite(self) -> Dialog:
        caller = self.caller.agent
        invite = caller.invite_request(self.callee.agent.aor, [_TYPE])
        answer = await self.caller.transact(invite)
        assert answer.status == 200, answer.start_line
        return caller.caller_dialog(invite, answer)

    def _prepare(self, dialog: Dialog) -> None:
        """The INFO, in three parts between which its branch's and CSeq's numbers stand."""
        body = b"Signal=5\r\nDuration=100\r\n"
        headers = ["Content-Type: application/dtmf-relay", "User-Agent: Bench phone 1.0"]
        request = self.caller.agent.in_dialog(dialog, "INFO", body, headers)
        via = (request.get("via") or "").partition("branch=")[2].encode()
        cseq = f"CSeq: {dialog.cseq} INFO".encode()
        before, _, rest = request.to_bytes().partition(via)
        middle, _, after = rest.partition(cseq)
        self._info = before + via, middle + b"CSeq: ", b" INFO" + after
        self._number = 1000

    def send(self) -> None:
        self._number += 1
        number = b"%d" % self._number
        before, middle, after = self._info
        self.caller.agent.send(b"%b%b%b%b%b" % (before, number, middle, number, after))

    def _count(self, data: bytes) -> None:
        if data.startswith(b"SIP/2.0 200"):
            self.answered += 1
        elif data.startswith(b"OPTIONS"):
            self.caller.agent.take(data)

    def _answer(self, data: bytes) -> None:
        if not data.startswith(b"INFO"):
            self.callee.agent.take(data)
            return
        kept = [
            line
            for line in data.split(b"\r\n")
            if line[:4] in (b"Via:", b"To: ", b"CSeq") or line[:5] == b"From:" or line[:8] == b"Call-ID:"
        ]
        self.callee.agent.send(b"SIP/2.0 200 OK\r\n" + b"\r\n".join(kept) + b"\r\nContent-Length: 0\r\n\r\n")


class Load:
    """What the orders are carried out on."""

    def __init__(self) -> None:
        self._pairs: list[CallPair] = []
        self._idle: list[Phone] = []

    async def pairs(self, order: dict[str, Any]) -> dict[str, Any]:
        """``accounts`` are (username, password), two for each pair."""
        accounts = order["accounts"]
        phones = [Phone(user, order["domain"], password, order["transport"]) for user, password in accounts]
        for phone in phones:
            await phone.open(*_where(order))
        self._pairs = [CallPair(*phones[n : n + 2]) for n in range(0, len(phones), 2)]
        for pair in self._pairs:
            await pair.register()
            if order.get("voice"):
                await pair.speak(order["own"])
                continue
            await pair.call()
            pair.prepare()
        return {}

    async def begin(self, order: dict[str, Any]) -> dict[str, Any]:
        """All pairs are in calls from now on. Raises RuntimeError if they aren't relayed."""
        for pair in self._pairs:
            await pair.call()
            if not pair.relayed:
                raise RuntimeError("a call isn't relayed")
        return await self.talk({**order, "seconds": 0.1})  # by which their addresses are learnt

    async def talk(self, order: dict[str, Any]) -> dict[str, Any]:
        """In their calls, for ``seconds``; how many packets were sent and heard."""
        voices = [voice for pair in self._pairs for voice in pair.voices]
        before, begun, sent = sum(voice.heard for voice in voices), time.monotonic(), 0
        while (passed := time.monotonic() - begun) < order["seconds"]:
            # Spread over the 20 ms, as calls of many people are.
            for _ in range(round(passed / _EVERY * len(self._pairs)) - sent):
                self._pairs[sent % len(self._pairs)].say(order["own"])
                sent += 1
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        heard = sum(voice.heard for voice in voices) - before
        return {"sent": 2 * sent, "heard": heard}

    async def silence(self, _: dict[str, Any]) -> dict[str, Any]:
        """Their calls end."""
        for pair in self._pairs:
            await pair.hang_up()
        return {}

    async def calls(self, order: dict[str, Any]) -> dict[str, Any]:
        """``rate`` calls a second, for ``seconds``, each ended at once; how many."""
        free, made, under_way = list(self._pairs), 0, set[asyncio.Task[None]]()

        async def one(pair: CallPair) -> None:
            await pair.call()
            await pair.hang_up()
            free.append(pair)

        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < order["seconds"]:
            while made < round(passed * order["rate"]) and free:
                task = asyncio.create_task(one(free.pop(0)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                made += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*under_way)
        return {"calls": made}

    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send ``rate`` requests a second, for ``seconds``; how many were sent and answered."""
        before = sum(pair.answered for pair in self._pairs)
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < order["seconds"]:
            for _ in range(round(passed * order["rate"]) - sent):
                self._pairs[sent % len(self._pairs)].send()
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.sleep(1)  # for the last ones' answers
        return {"sent": sent, "answered": sum(pair.answered for pair in self._pairs) - before}

    async def idle(self, order: dict[str, Any]) -> dict[str, Any]:
        """``number`` connections that nothing is sent on."""
        for _ in range(order["number"]):
            phone = Phone("idle", order["domain"], "", order["transport"])
            await phone.open(*_where(order))
            self._idle.append(phone)
        return {}


def _where(order: dict[str, Any]) -> tuple[tuple[str, int], str, ssl.SSLContext | None, str]:
    context = ssl.create_default_context(cafile=order["ca"]) if order["transport"] in ("tls", "wss") else None
    return (order["host"], order["port"]), order["own"], context, order["name"]


async def _serve() -> None:
    load = Load()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        answer = await getattr(load, order["do"])(order)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
