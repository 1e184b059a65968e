"""The load of ``scripts/bench relay`` and ``media``: pairs of phones in calls, one of each sending INFO in its dialog
and the other answering 200; or both sending RTP; or calling again and again. A process of its own, so that it can have
a core of its own: ``python -m scripts.relay_load`` reads its orders as lines of JSON, and answers each with one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import uvloop

from scripts.load_orders import Order, place, serve
from scripts.load_phone import DatagramEnd, Phone
from tests.support.agent import Dialog

_PACKET = b"\x80\x00" + 10 * b"\x01" + 160 * b"\xff"  # 20 ms of G.711
_EVERY = 0.02
_TYPE = "Content-Type: application/sdp"


def _described(host: str, port: int) -> bytes:
    lines = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    return f"{lines}m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n".encode()


def _port(body: bytes) -> int:
    return int(body.partition(b"m=audio ")[2].split()[0])


class Voice:
    """What a phone sends and hears."""

    def __init__(self) -> None:
        self.heard = 0
        self._sequence = 0
        self._socket: asyncio.DatagramTransport | None = None

    async def open(self, host: str) -> bytes:
        """What says where it is."""
        loop = asyncio.get_running_loop()
        self._socket, _ = await loop.create_datagram_endpoint(lambda: DatagramEnd(self._hear), (host, 0))
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
        """Call, ring and answer. Raises AssertionError, TimeoutError."""
        caller, callee = self.caller.agent, self.callee.agent
        inviting = asyncio.create_task(self._invite())
        invite = await self.callee.wait(lambda: next(iter(callee.requests("INVITE")), None))
        callee.send(callee.response(invite, 180).to_bytes())
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

    async def pairs(self, order: Order) -> Order:
        """``accounts`` are (username, password), two for each pair."""
        accounts = order["accounts"]
        phones = [Phone(user, order["domain"], password, order["transport"]) for user, password in accounts]
        for phone in phones:
            await phone.open(*place(order))
        self._pairs = [CallPair(*phones[n : n + 2]) for n in range(0, len(phones), 2)]
        for pair in self._pairs:
            await pair.register()
            if order.get("voice"):
                await pair.speak(order["own"])
                continue
            await pair.call()
            pair.prepare()
        return {}

    async def begin(self, order: Order) -> Order:
        """All pairs are in calls from now on. Raises RuntimeError if they aren't relayed."""
        for pair in self._pairs:
            await pair.call()
            if not pair.relayed:
                raise RuntimeError("a call isn't relayed")
        return await self.talk({**order, "seconds": 0.1})  # by which their addresses are learnt

    async def talk(self, order: Order) -> Order:
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

    async def silence(self, _: Order) -> Order:
        """Their calls end."""
        for pair in self._pairs:
            await pair.hang_up()
        return {}

    async def calls(self, order: Order) -> Order:
        """``rate`` calls a second, for ``seconds``, each ended at once; how many. Raises RuntimeError if they aren't
        ``relayed`` though they should be, or are though they shouldn't."""
        free, made = list(self._pairs), 0

        async def one(pair: CallPair) -> None:
            await pair.call()
            if pair.relayed != order["relayed"]:
                raise RuntimeError("a call is relayed" if pair.relayed else "a call isn't relayed")
            await pair.hang_up()
            free.append(pair)

        begun = time.monotonic()
        async with asyncio.TaskGroup() as under_way:
            while (passed := time.monotonic() - begun) < order["seconds"]:
                while made < round(passed * order["rate"]) and free:
                    under_way.create_task(one(free.pop(0)))
                    made += 1
                await asyncio.sleep(0.005)
        return {"calls": made}

    async def run(self, order: Order) -> Order:
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

    async def idle(self, order: Order) -> Order:
        """``number`` connections that nothing is sent on."""
        for _ in range(order["number"]):
            phone = Phone("idle", order["domain"], "", order["transport"])
            await phone.open(*place(order))
            self._idle.append(phone)
        return {}


def _orders() -> dict[str, Callable[[Order], Awaitable[Order]]]:
    load = Load()
    kinds = (load.pairs, load.begin, load.talk, load.silence, load.calls, load.run, load.idle)
    return {kind.__name__: kind for kind in kinds}


if __name__ == "__main__":
    uvloop.run(serve(_orders()))
