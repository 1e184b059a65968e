"""TLS and WebSockets of people who have proven nothing, or who are clumsy. Real sockets; seconds are tenths."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode

from edge.transport.handshakes import Handshakes
from edge.transport.sockets import Listener
from edge.transport.streams import StreamLimits
from edge.transport.websocket import MAX_FRAGMENTS, MAX_IDLE_FRAMES, MAX_REQUEST
from tests.security.test_streams import (
    CERTIFICATE,
    OPTIONS,
    PING,
    PONG,
    PORTS,
    Connect,
    Peer,
    User,
    host,
    serving,
    until,
)
from tests.support.certificates import trusting
from tests.support.socket_phone import WebSocketClient

OK = b"SIP/2.0 200 OK\r\n\r\n"
SHORT = OPTIONS.replace(b"Content-Length: 0\r\n", b"")
HELLO = bytes.fromhex("1603010040")  # a record's head, of a ClientHello that never comes


class WebPeer(Peer):
    """A WebSocket's other end. ``asks``: as a client should."""

    def __init__(self, client: WebSocketClient, asks: bool = True, answers: bool = True) -> None:
        super().__init__()
        self.client = client
        self.messages: list[bytes] = []
        self._asks = asks
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._asks:
            self.write(self.client.ask())

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.messages += self.client.feed(data)
        replies = self.client.replies()
        if self._answers and replies:
            self.write(replies)

    def say(self, message: bytes) -> None:
        self.write(self.client.wrap(message))

    def frame(self, opcode: Opcode, data: bytes, fin: bool = True, mask: bool = True, rsv1: bool = False) -> None:
        frame = Frame(opcode, data, fin)
        octets = bytearray(frame.serialize(mask=mask))
        octets[0] |= 0x40 if rsv1 else 0
        self.write(bytes(octets))

    @property
    def closed_with(self) -> int:
        assert self.client.protocol.close_rcvd is not None, self.client.protocol
        return self.client.protocol.close_rcvd.code


Make = Callable[..., Awaitable[WebPeer]]


def web(limits: StreamLimits, work: Callable[[User, Make], Awaitable[None]], kind: str = "ws") -> None:
    """Run ``work`` with an edge's sockets; ``make`` makes a WebSocket to it."""

    async def run(user: User, connect: Connect) -> None:
        made: list[WebPeer] = []

        async def make(client: WebSocketClient | None = None, opened: bool = True, **options: bool) -> WebPeer:
            peer = WebPeer(client or WebSocketClient(), **options)
            tls = {"ssl": trusting(CERTIFICATE), "server_hostname": "edge-a.example.net"} if kind == "wss" else {}
            await asyncio.get_running_loop().create_connection(
                lambda: peer, user.base, PORTS[kind], local_addr=(host(user, 9), 0), **tls
            )
            made.append(peer)
            if opened:
                await until(lambda: peer.client.ready)
            return peer

        try:
            await work(user, make)
        finally:
            for peer in made:
                peer.transport.abort()

    serving(limits, run)


@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_one_message_is_one_sip_message_in_either_kind_of_frame(kind):
    async def work(user: User, make: Make) -> None:
        peer = await make()
        user.echo = OK
        peer.say(SHORT)
        peer.frame(Opcode.BINARY, SHORT)
        peer.frame(Opcode.TEXT, SHORT[:5], fin=False)
        peer.frame(Opcode.PING, b"between")
        peer.frame(Opcode.CONT, SHORT[5:9], fin=False)
        peer.frame(Opcode.CONT, SHORT[9:])
        await until(lambda: len(peer.messages) == 3)
        assert user.got == 3 * [SHORT]
        assert peer.messages == 3 * [OK]
        assert user.flows[0].transport == kind
        user.sockets.send(user.flows[0], "SIP/2.0 200 Gr\u00fc\u00df Gott\r\n\r\n".encode())
        user.sockets.send(user.flows[0], b"SIP/2.0 200 \xff\r\n\r\n")  # not UTF-8: as text it would end the connection
        await until(lambda: len(peer.messages) == 5)
        assert b"\x82" in peer.received[-30:]
        assert not user.counted

    web(StreamLimits(), work, kind)


def test_a_keep_alive_is_answered():
    async def work(user: User, make: Make) -> None:
        peer = await make()
        peer.say(PING)
        peer.say(PONG)
        peer.say(b"")
        await until(lambda: peer.messages == [PONG])
        assert user.got == []
        assert peer.open

    web(StreamLimits(), work)


def test_what_comes_along_with_its_end_is_read():
    async def work(user: User, make: Make) -> None:
        peer = await make()
        frames = ((Opcode.TEXT, PING), (Opcode.TEXT, SHORT), (Opcode.PING, b""), (Opcode.CLOSE, b"\x03\xe8"))
        peer.write(b"".join(Frame(opcode, data).serialize(mask=True) for opcode, data in frames))
        await until(lambda: not peer.open)
        assert user.got == [SHORT]
        assert peer.closed_with == 1000
        assert not user.counted

    web(StreamLimits(), work)


# Asking for one

REQUEST = b"GET / HTTP/1.1\r\nHost: edge\r\nUser-Agent: probe\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (REQUEST + b"\r\n", b"HTTP/1.1 426 "),
        (b"POST / HTTP/1.1\r\nHost: edge\r\n\r\n", b"HTTP/1.1 405 "),
        (REQUEST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", b"HTTP/1.1 400 "),
        (REQUEST + b"X: " + b"x" * 9000, b"HTTP/1.1 431 "),
        (REQUEST + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.1 431 "),
        (REQUEST + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 110,
         b"HTTP/1.1 431 "),
        (OPTIONS, b""),
        (b"\x16\x03\x01\r\n\r\n", b""),
        (b"\x00" * (MAX_REQUEST + 2), b"HTTP/1.1 414 "),
        (REQUEST + b"\r\n" + bytes.fromhex("888000000000"), b""),  # a close frame right behind
        (REQUEST + b"\r\n" + REQUEST + b"\r\n", b""),
    ],
)  # fmt: skip
def test_what_asks_for_no_websocket_gets_a_short_answer(asked, answer, caplog):
    async def work(user: User, make: Make) -> None:
        peer = await make(opened=False, asks=False)
        peer.write(asked)
        await asyncio.wait_for(peer.lost, 1)
        assert peer.received[: len(answer)] == answer
        assert bool(answer) == bool(peer.received)
        assert len(peer.received) < 500
        assert user.counted == {"upgrades_refused": 1}
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    web(StreamLimits(), work)


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (WebSocketClient(subprotocol=""), 400),
        (WebSocketClient(subprotocol="xmpp"), 400),
        (WebSocketClient(origin="https://elsewhere.example"), 403),
        (WebSocketClient(origin="null"), 403),
    ],
)
def test_who_does_not_speak_sip_or_is_a_page_from_elsewhere_is_told_so(client, status):
    async def work(user: User, make: Make) -> None:
        peer = await make(client, opened=False)
        await asyncio.wait_for(peer.lost, 1)
        assert peer.received.startswith(b"HTTP/1.1 %d " % status)
        assert len((await make(WebSocketClient(origin="https://phone.example.com"))).received)

    web(StreamLimits(), work)


def test_compression_is_never_agreed_on():
    async def work(user: User, make: Make) -> None:
        client = WebSocketClient()
        client.protocol.available_extensions = [ClientPerMessageDeflateFactory()]
        peer = await make(client)
        assert b"extensions" not in peer.received.lower()
        peer.frame(Opcode.TEXT, OPTIONS, rsv1=True)
        await asyncio.wait_for(peer.lost, 1)
        assert peer.closed_with == CloseCode.PROTOCOL_ERROR
        assert user.got == []
        assert user.counted == {"malformed": 1}

    web(StreamLimits(), work)


@pytest.mark.parametrize("asked", [b"", b"GET / HTTP/1.1\r\nHost: "])
def test_asking_must_not_take_long_however_it_drips(asked):
    async def work(user: User, make: Make) -> None:
        peer = await make(opened=False, asks=False)
        peer.write(asked)
        for _ in range(100):
            peer.write(b"x" if asked else b"")
            await asyncio.sleep(0.01)
            if not peer.open:
                break
        assert not peer.open
        assert user.counted == {"streams_unopened": 1}
        assert (await make()).open

    web(StreamLimits(handshake=0.3), work)


# Frames


def send_much(peer: WebPeer) -> None:
    peer.frame(Opcode.TEXT, b"x" * 65_536)


def send_much_in_parts(peer: WebPeer) -> None:
    peer.frame(Opcode.TEXT, b"x" * 40_000, fin=False)
    peer.frame(Opcode.CONT, b"x" * 40_000)


def say_much(peer: WebPeer) -> None:
    """What a length says that doesn't come."""
    peer.write(bytes.fromhex("81ff00000001000000000000"))


def send_endless_parts(peer: WebPeer) -> None:
    peer.frame(Opcode.TEXT, b"", fin=False)
    for _ in range(MAX_FRAGMENTS):
        peer.frame(Opcode.CONT, b"", fin=False)


def send_unmasked(peer: WebPeer) -> None:
    peer.frame(Opcode.TEXT, OPTIONS, mask=False)


def send_unknown(peer: WebPeer) -> None:
    peer.frame(Opcode.CONT, OPTIONS)


def flood_pings(peer: WebPeer) -> None:
    for _ in range(MAX_IDLE_FRAMES + 1):
        peer.frame(Opcode.PING, b"")


def flood_keep_alives(peer: WebPeer) -> None:
    for _ in range(MAX_IDLE_FRAMES + 1):
        peer.say(PING)


def send_a_long_head(peer: WebPeer) -> None:
    peer.say(b"OPTIONS sip:edge SIP/2.0\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (send_much, CloseCode.MESSAGE_TOO_BIG),
        (send_much_in_parts, CloseCode.MESSAGE_TOO_BIG),
        (say_much, CloseCode.MESSAGE_TOO_BIG),
        (send_endless_parts, CloseCode.POLICY_VIOLATION),
        (send_unmasked, CloseCode.PROTOCOL_ERROR),
        (send_unknown, CloseCode.PROTOCOL_ERROR),
        (flood_pings, CloseCode.POLICY_VIOLATION),
        (flood_keep_alives, CloseCode.POLICY_VIOLATION),
        (send_a_long_head, CloseCode.POLICY_VIOLATION),
    ],
)
def test_frames_that_nobody_should_send_end_it(work, code):
    async def run(user: User, make: Make) -> None:
        peer = await make()
        work(peer)
        await asyncio.wait_for(peer.lost, 1)
        assert peer.closed_with == code
        assert user.got == []
        assert user.counted == {"malformed": 1}
        assert len(user.ended) >= 1

    web(StreamLimits(), run)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.CONT])
def test_a_flood_is_cut_off_before_it_is_all_read(opcode):
    async def work(user: User, make: Make) -> None:
        peer = await make()
        peer.frame(Opcode.TEXT, b"", fin=False)
        head = opcode | 0x80 if opcode is Opcode.PING else opcode
        peer.write(40_000 * (bytes([head]) + b"\x80\0\0\0\0"))
        await asyncio.wait_for(peer.lost, 1)
        assert peer.received.count(b"\x8a\0") < 1000
        assert user.counted == {"malformed": 1}

    web(StreamLimits(), work)


def test_a_frame_has_to_be_whole_in_time():
    async def work(user: User, make: Make) -> None:
        alone, begun = await make(), await make()
        alone.write(Frame(Opcode.TEXT, OPTIONS).serialize(mask=True)[:20])
        begun.frame(Opcode.TEXT, OPTIONS[:9], fin=False)
        for _ in range(30):
            if not begun.open:
                break
            begun.frame(Opcode.PING, b"")
            await asyncio.sleep(0.02)
        assert not alone.open
        assert not begun.open
        assert user.counted["streams_unfinished"] == 2

    web(StreamLimits(message=0.3), work)


# Open and silent


def test_pings_tell_who_is_still_there():
    async def work(user: User, make: Make) -> None:
        here, away = await make(), await make(answers=False)
        user.sources.add(host(user, 9))
        user.registered.add(host(user, 9))
        await until(lambda: not away.open, 1)
        assert user.counted == {"streams_silent": 1}
        pings = here.client.pings
        await until(lambda: here.client.pings >= pings + 3)
        assert here.open
        user.registered.clear()  # pongs alone don't keep it
        await asyncio.wait_for(here.lost, 2)
        assert user.counted["streams_idle"] == 1

    web(StreamLimits(ping=0.1, idle=0.5), work)


@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_ends_are_told_in_both_directions(kind):
    async def work(user: User, make: Make) -> None:
        peer, leaving = await make(), await make()
        leaving.client.protocol.send_close(CloseCode.NORMAL_CLOSURE)
        leaving.write(leaving.client.replies())
        await asyncio.wait_for(leaving.lost, 1)
        assert leaving.closed_with == CloseCode.NORMAL_CLOSURE
        assert len(set(user.ended)) == 1
        peer.say(OPTIONS)
        await until(lambda: user.flows)
        ending = asyncio.ensure_future(user.sockets.finish(user.base))
        await asyncio.wait_for(peer.lost, 1)
        await asyncio.wait_for(ending, 1)
        assert peer.closed_with == CloseCode.GOING_AWAY
        assert not user.sockets.send(user.flows[0], OK)
        assert user.sizes() == (0, 0)
        assert not user.counted

    web(StreamLimits(), work, kind)


@pytest.mark.parametrize("answers", [True, False])
def test_one_can_be_ended_later(answers):
    async def work(user: User, make: Make) -> None:
        peer, other = await make(answers=answers), await make()
        peer.say(OPTIONS)
        await until(lambda: user.flows)
        user.sockets.end_later(user.flows[0], 0.05)
        user.sockets.end_later(user.flows[0]._replace(connection=1), 0.0)  # has gone meanwhile
        assert peer.open
        await asyncio.wait_for(peer.lost, 2)  # a second where it doesn't answer
        assert peer.closed_with == CloseCode.GOING_AWAY
        assert user.flows[0] in user.ended
        assert other.open

    web(StreamLimits(), work)


# TLS


async def tls_peer(user: User) -> Peer:
    loop = asyncio.get_running_loop()
    context = trusting(CERTIFICATE)
    where = (host(user, 9), 0)
    _, peer = await loop.create_connection(
        Peer, user.base, PORTS["tls"], local_addr=where, ssl=context, server_hostname="edge-a.example.net"
    )
    return peer


async def half_open(user: User, kind: str, source: int = 9) -> Peer:
    where = (host(user, source), 0)
    _, peer = await asyncio.get_running_loop().create_connection(Peer, user.base, PORTS[kind], local_addr=where)
    return peer


@pytest.mark.parametrize("hello", [b"", HELLO])
@pytest.mark.parametrize("kind", ["tls", "wss"])
def test_a_handshake_must_not_take_long(kind, hello):
    async def work(user: User, connect: Connect) -> None:
        peer = await half_open(user, kind)
        peer.write(hello)
        assert user.sizes()[0] <= 1
        await asyncio.wait_for(peer.lost, 1)
        assert user.counted == {"streams_unopened": 1}
        assert user.sizes() == (0, 0)
        assert user.ended == []

    serving(StreamLimits(handshake=0.2), work)


@pytest.mark.parametrize(
    ("kind", "data", "counted"),
    [
        ("tls", OPTIONS, "tls_failures"),
        ("wss", b"GET / HTTP/1.1\r\n\r\n", "tls_failures"),
        ("tls", b"\x80" * 300, "tls_failures"),
        ("tcp", HELLO, "malformed"),
    ],
)
def test_the_wrong_protocol_at_a_port_is_cut_off_at_once(kind, data, counted):
    async def work(user: User, connect: Connect) -> None:
        peer = await half_open(user, kind)
        peer.write(data)
        await asyncio.wait_for(peer.lost, 1)
        assert user.counted == {counted: 1}
        assert user.got == []

    serving(StreamLimits(), work)


def test_who_gives_up_a_handshake_is_forgotten():
    async def work(user: User, connect: Connect) -> None:
        for _ in range(20):
            peer = await half_open(user, "tls")
            peer.write(HELLO)
            await until(lambda: user.sizes()[0] == 1)
            peer.transport.abort()
            await until(lambda: user.sizes() == (0, 0))
        assert user.counted == {"tls_failures": 20}
        context = trusting()  # who doesn't trust us
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.get_running_loop().create_connection(
                Peer, user.base, PORTS["tls"], ssl=context, server_hostname="edge-a.example.net"
            )
        await until(lambda: user.counted["tls_failures"] == 21)

    serving(StreamLimits(), work)


def test_a_source_has_few_of_all_kinds_together():
    async def work(user: User, connect: Connect) -> None:
        kept = [await connect(9), await half_open(user, "tls"), await half_open(user, "ws")]
        refused = await half_open(user, "wss")
        await asyncio.wait_for(refused.lost, 1)
        assert all(peer.open for peer in kept)
        assert (await half_open(user, "wss", 8)).open
        assert user.counted == {"streams_refused": 1}

    serving(StreamLimits(unproven_of_source=3), work)


def test_of_handshakes_that_do_not_end_the_first_one_goes():
    async def work(user: User, connect: Connect) -> None:
        peers = []
        for number in range(4):
            peers.append(await half_open(user, "tls", 20 + number))
            await until(lambda number=number: user.sizes()[0] == min(3, number + 1) or user.counted)
        await asyncio.wait_for(peers[0].lost, 1)
        assert [peer.open for peer in peers] == [False, True, True, True]
        assert user.counted == {"streams_displaced": 1}
        done = await tls_peer(user)  # an honest one, too, takes the place of another; then it has one of its own
        await asyncio.wait_for(peers[1].lost, 1)
        await half_open(user, "tls", 30)
        done.write(OPTIONS)
        await until(lambda: user.got == [OPTIONS])

    serving(StreamLimits(handshakes=3), work)


def test_strangers_handshakes_begin_at_a_steady_rate_and_others_at_once():
    async def work() -> None:
        begun: list[str] = []
        handshakes: Handshakes[str] = Handshakes(100, 1000, lambda _: None)  # two in 20 ms
        for name in "abcdefg":
            handshakes.begin(name, False, lambda name=name: begun.append(name))
        assert begun == ["a", "b"]
        handshakes.begin("known", True, lambda: begun.append("known"))
        assert begun == ["a", "b", "known"]
        handshakes.over("d")  # gave up
        assert await until(lambda: len(begun) == 7) > 0.03
        assert begun[3:] == ["c", "e", "f", "g"]
        handshakes.close()

    asyncio.run(work())


def test_a_crowd_of_strangers_shakes_hands_all_the_same():
    async def work(user: User, connect: Connect) -> None:
        await asyncio.gather(*[tls_peer(user) for _ in range(12)])
        assert not user.counted

    serving(StreamLimits(handshakes_per_second=50), work)


def test_tls_ends_with_a_word():
    async def work(user: User, connect: Connect) -> None:
        peer = await tls_peer(user)
        heard = []
        peer.eof_received = lambda: heard.append(True)
        peer.write(PING)
        await until(lambda: peer.received == PONG)
        await asyncio.wait_for(user.sockets.finish(user.base), 1)
        await asyncio.wait_for(peer.lost, 1)
        assert heard  # close_notify, and not a mere FIN

    serving(StreamLimits(), work)


# Keep-alives by UDP


def test_a_stun_keep_alive_is_answered_and_nobody_hears_of_it():
    request = bytes.fromhex("000100002112a442") + b"x" * 12

    async def work(user: User, connect: Connect) -> None:
        await user.sockets.open([Listener("udp", user.base, 5060, user.base)])
        loop = asyncio.get_running_loop()
        got: list[bytes] = []

        class Phone(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _: object) -> None:
                got.append(data)

        phone, _ = await loop.create_datagram_endpoint(
            Phone, local_addr=(host(user, 9), 0), remote_addr=(user.base, 5060)
        )
        phone.sendto(request)
        await until(lambda: got)
        assert got[0][:4] == bytes.fromhex("0101000c")
        assert int.from_bytes(got[0][26:28]) ^ 0x2112 == phone.get_extra_info("sockname")[1]
        user.registered.add(host(user, 9))  # here: who may not be answered
        for data in (request, b"\0\1nonsense", OPTIONS):
            phone.sendto(data)
        await until(lambda: len(user.got) == 2)
        assert user.got == [b"\0\1nonsense", OPTIONS]
        assert len(got) == 1
        phone.close()

    serving(StreamLimits(), work)
