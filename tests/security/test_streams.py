"""Streams of people who have proven nothing: few, short, and small. Real sockets on loopback; seconds are tenths."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from edge.runtime.notes import Notes
from edge.sip.flow import Flow, source_of
from edge.sip.framing import PING, PONG
from edge.transport.certificates import Certificate, Certificates
from edge.transport.sockets import Listener, Sockets
from edge.transport.streams import StreamLimits
from tests.support.certificates import self_signed
from tests.support.fleets import fresh_base

OPTIONS = b"OPTIONS sip:edge SIP/2.0\r\nContent-Length: 0\r\n\r\n"
PORTS = {"tcp": 5060, "tls": 5061, "ws": 8080, "wss": 8443}
CERTIFICATE = self_signed("edge-a.example.net")
FEW = StreamLimits(unproven_of_source=3, unproven=5, of_source=8, streams=10)
BRIEF = StreamLimits(proof=0.3)
SWIFT = StreamLimits(message=0.4)


class User:
    """``sources`` have proven themselves; ``echo``: each message is answered with that."""

    def __init__(self, base: str) -> None:
        self.sources: set[str] = set()
        self.registered: set[str] = set()
        self.echo = b""
        self.got: list[bytes] = []
        self.flows: list[Flow] = []
        self.ended: list[Flow] = []
        self.reasons: list[str] = []
        self.counted: Counter[str] = Counter()
        self.sockets = Sockets(self, Notes(self.counted).note)
        self.base = base

    def message(self, flow: Flow, data: bytes) -> None:
        self.got.append(data)
        self.flows.append(flow)
        if self.echo:
            self.sockets.send(flow, self.echo)

    def closed(self, flow: Flow, why: str = "") -> None:
        self.ended.append(flow)
        self.reasons.append(why)

    def proven(self, flow: Flow) -> bool:
        return flow.host in self.sources

    def may_answer(self, flow: Flow) -> bool:
        return flow.host not in self.registered

    def kept(self, flow: Flow) -> bool:
        return flow.host in self.registered

    def sizes(self) -> tuple[int, int]:
        sizes = self.sockets.sizes()
        return sizes["streams"], sizes["unproven_streams"]


class Peer(asyncio.Protocol):
    """The other end of a stream."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set_result(None)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    @property
    def open(self) -> bool:
        return not self.lost.done()


Connect = Callable[..., Awaitable[Peer]]


def serving(limits: StreamLimits, work: Callable[[User, Connect], Awaitable[None]]) -> None:
    """Run ``work`` with an edge's sockets; ``connect`` makes a stream to it, from a source with this last octet."""

    async def run() -> None:
        user = User(fresh_base())
        certificates = Certificates()
        certificates.replace([Certificate(CERTIFICATE.chain, CERTIFICATE.key)])
        user.sockets = Sockets(
            user,
            Notes(user.counted).note,
            limits=limits,
            certificates=certificates,
            welcome=lambda origin: origin == "https://phone.example.com",
        )
        await user.sockets.open([Listener(kind, user.base, port, user.base) for kind, port in PORTS.items()])
        peers: list[Peer] = []

        async def connect(source: int = 9) -> Peer:
            where = (f"{user.base[:-1]}{source}", 0)
            _, peer = await asyncio.get_running_loop().create_connection(Peer, user.base, 5060, local_addr=where)
            peers.append(peer)
            peer.write(PING)
            await until(lambda: peer.received == PONG or not peer.open)
            return peer

        try:
            await work(user, connect)
        finally:
            for peer in peers:
                peer.transport.abort()
            user.sockets.close()
            await asyncio.sleep(0.01)  # for transports to close

    uvloop.run(run())


async def until(found: Callable[[], object], seconds: float = 3) -> float:
    """Wait; how long it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not found():
        assert loop.time() - begun < seconds, "it didn't happen"
        await asyncio.sleep(0.005)
    return loop.time() - begun


def host(user: User, source: int) -> str:
    return f"{user.base[:-1]}{source}"


# How many


def test_a_source_that_proves_nothing_has_few_and_a_proven_one_many():
    async def work(user: User, connect: Connect) -> None:
        kept = [await connect(9) for _ in range(3)]
        assert not (await connect(9)).open
        assert all(peer.open for peer in kept)
        assert (await connect(8)).open
        assert user.counted["streams_refused"] == 1
        user.sources.add(host(user, 7))
        proven = [await connect(7) for _ in range(6)]
        assert all(peer.open for peer in proven)
        assert user.sizes() == (10, 4)

    serving(FEW, work)


def test_one_that_is_proven_makes_room_for_its_source():
    async def work(user: User, connect: Connect) -> None:
        for _ in range(3):
            await connect(9)
        user.sources.add(host(user, 9))
        assert (await connect(9)).open  # the source is proven: what it had before counts no less
        first = await connect(8)
        user.sources.add(host(user, 8))
        first.write(OPTIONS)
        await until(lambda: user.got)
        user.sources.clear()
        assert user.sizes() == (5, 3)
        assert all([(await connect(8)).open for _ in range(2)])

    serving(FEW, work)


def test_not_even_a_proven_source_has_all():
    async def work(user: User, connect: Connect) -> None:
        user.sources.add(host(user, 7))
        for _ in range(8):
            assert (await connect(7)).open
        assert not (await connect(7)).open
        assert (await connect(8)).open

    serving(FEW, work)


def test_of_all_that_prove_nothing_the_oldest_makes_room():
    async def work(user: User, connect: Connect) -> None:
        first, *others = [await connect(20 + number) for number in range(6)]
        await asyncio.wait_for(first.lost, 1)
        assert all(peer.open for peer in others)
        assert user.counted["streams_displaced"] == 1
        assert len(user.ended) == 1

    serving(FEW, work)


def test_whoever_is_proven_finds_room_among_those_who_are_not_and_nobody_pushes_him_out():
    async def work(user: User, connect: Connect) -> None:
        user.sources |= {host(user, 6), host(user, 7), host(user, 8)}
        proven = [await connect(7) for _ in range(5)]
        strangers = [await connect(20 + number) for number in range(5)]
        more = [await connect(8) for _ in range(5)]
        await until(lambda: not any(peer.open for peer in strangers))
        assert user.sizes() == (10, 0)
        assert not (await connect(6)).open  # all are taken, by people who have shown who they are
        assert not (await connect(30)).open
        assert all(peer.open for peer in (*proven, *more))

    serving(FEW, work)


def test_a_stream_that_ends_is_not_counted_any_more():
    async def work(user: User, connect: Connect) -> None:
        for _ in range(10):
            peer = await connect(9)
            assert peer.open
            peer.transport.close()
            await until(lambda: user.sizes() == (0, 0))
        assert not user.counted

    serving(FEW, work)


def test_who_sends_no_more_still_hears_the_answer():
    """The other side's FIN, after a request that isn't answered yet (a half-close), and without one (a close)."""

    async def work(user: User, connect: Connect) -> None:
        peer = await connect(9)
        peer.write(OPTIONS + OPTIONS)
        peer.transport.write_eof()
        await until(lambda: len(user.got) == 2)
        await asyncio.sleep(0.05)
        for answer in (b"SIP/2.0 100 Trying\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"):
            assert peer.open
            user.sockets.send(user.flows[0], answer)
        await until(lambda: peer.received.count(b"200 OK") == 2 and not peer.open)
        silent = await connect(8)
        silent.write(OPTIONS)
        silent.transport.write_eof()
        assert 0.2 < await until(lambda: not silent.open) < 0.6
        answered = await connect(7)
        user.echo = b"SIP/2.0 200 OK\r\n\r\n"
        answered.write(OPTIONS)
        await until(lambda: b"200" in answered.received)
        answered.transport.write_eof()
        assert await until(lambda: user.sizes() == (0, 0)) < 0.2

    serving(StreamLimits(last_word=0.3), work)


# How long


def test_who_proves_nothing_in_time_is_closed_whatever_he_sends():
    async def work(user: User, connect: Connect) -> None:
        silent, busy, proven = await connect(7), await connect(8), await connect(9)
        user.sources.add(host(user, 9))
        while silent.open:
            for peer in (busy, proven):
                peer.write(PING + OPTIONS)
            await asyncio.sleep(0.02)
        await until(lambda: not busy.open, 0.2)
        assert user.counted["streams_unproven"] == 2
        user.sources.clear()  # a registered phone is heard of seldom
        await asyncio.sleep(0.35)
        assert proven.open

    serving(BRIEF, work)


def test_proof_is_seen_when_the_answer_leaves():
    async def work(user: User, connect: Connect) -> None:
        peer = await connect(9)
        peer.write(OPTIONS)
        await until(lambda: user.flows)
        user.sources.add(host(user, 9))
        assert user.sizes() == (1, 1)
        assert user.sockets.send(user.flows[0], b"SIP/2.0 200 OK\r\n\r\n")
        assert user.sizes() == (1, 0)
        await asyncio.sleep(0.4)
        assert peer.open

    serving(BRIEF, work)


@pytest.mark.parametrize("proven", [False, True])
def test_a_message_has_to_be_whole_in_time_however_it_drips(proven):
    async def work(user: User, connect: Connect) -> None:
        if proven:
            user.sources.add(host(user, 9))
        peer = await connect(9)
        for octet in b"REGISTER sip:a SIP/2.0\r\n" * 20:
            peer.write(bytes((octet,)))
            await asyncio.sleep(0.01)
            if not peer.open:
                break
        assert not peer.open
        assert user.counted["streams_unfinished"] == 1
        assert user.got == []

    serving(SWIFT, work)


def test_a_body_has_to_be_whole_in_time_too():
    async def work(user: User, connect: Connect) -> None:
        peer = await connect(9)
        peer.write(b"OPTIONS sip:edge SIP/2.0\r\nContent-Length: 10\r\n\r\n12345")
        await asyncio.wait_for(peer.lost, 1)
        assert user.counted["streams_unfinished"] == 1

    serving(SWIFT, work)


def test_each_message_has_its_own_time():
    """Reads that end within a message, for longer than one message may take."""

    async def work(user: User, connect: Connect) -> None:
        peer = await connect(9)
        peer.write(OPTIONS[:10])
        for _ in range(12):
            await asyncio.sleep(0.05)
            peer.write(OPTIONS[10:] + OPTIONS[:10])
        peer.write(OPTIONS[10:])
        await until(lambda: len(user.got) == 13)
        await asyncio.sleep(0.5)
        assert peer.open
        assert not user.counted

    serving(SWIFT, work)


def test_half_a_keep_alive_is_no_message():
    """Phones that send one CRLF at a time."""

    async def work(user: User, connect: Connect) -> None:
        peer = await connect(9)
        peer.write(b"\r\n")
        await asyncio.sleep(0.5)
        assert peer.open

    serving(SWIFT, work)


def test_silence_ends_a_stream_and_is_counted():
    async def work(user: User, connect: Connect) -> None:
        user.sources.add(host(user, 9))
        peer = await connect(9)
        await asyncio.wait_for(peer.lost, 1)
        assert user.counted["streams_idle"] == 1

    serving(StreamLimits(idle=0.2), work)


# How much

_LONG = b"OPTIONS sip:edge SIP/2.0\r\nX-Long: " + b"x" * 9000


@pytest.mark.parametrize("head", [_LONG, _LONG + b"\r\nContent-Length: 0\r\n\r\n"])
def test_a_long_header_is_for_those_who_are_proven(head):
    async def work(user: User, connect: Connect) -> None:
        stranger = await connect(9)
        stranger.write(head)
        await asyncio.wait_for(stranger.lost, 1)
        assert user.counted["malformed"] == 1
        assert not any(b"\r\n\r\n" in message for message in user.got)  # what is answered 513, and no request
        user.got.clear()
        known = await connect(8)  # proven after it has come
        user.sources.add(host(user, 8))
        known.write(head[:4000])
        known.write(_LONG[4000:] + b"\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: user.got)
        assert known.open

    serving(StreamLimits(), work)


@pytest.mark.parametrize(
    "bad",
    [
        b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: five\r\n\r\n",
        b"Content-Length: 70000\r\n\r\n",
        b"\r\n",
    ],
)
def test_what_cant_be_read_on_is_answered_before_the_stream_ends(bad):
    async def work(user: User, connect: Connect) -> None:
        user.echo = b"SIP/2.0 400 Bad Request\r\n\r\n"
        peer = await connect(9)
        peer.write(b"OPTIONS sip:edge SIP/2.0\r\n" + bad + OPTIONS)
        await asyncio.wait_for(peer.lost, 1)
        assert peer.received == PONG + user.echo
        patient = await connect(8)
        patient.write(b"OPTIONS  sip:edge SIP/2.0\r\nnonsense\r\nl: 2\r\n\r\nxx" + OPTIONS)
        await until(lambda: patient.received == PONG + 2 * user.echo)
        assert patient.open

    serving(StreamLimits(), work)


def test_unfinished_messages_have_a_bound_together_and_the_first_one_begun_goes():
    limits = StreamLimits(unproven_unfinished=20_000, unfinished=30_000)
    begun = b"OPTIONS sip:edge SIP/2.0\r\nContent-Length: 9000\r\n\r\n" + b"x" * 8000

    async def work(user: User, connect: Connect) -> None:
        peers = [await connect(20 + number) for number in range(3)]
        for peer in peers[:2]:
            peer.write(begun)
            await asyncio.sleep(0.02)
        assert all(peer.open for peer in peers)
        peers[2].write(begun)
        await asyncio.wait_for(peers[0].lost, 1)
        assert [peer.open for peer in peers] == [False, True, True]
        assert user.counted["streams_unfinished"] == 1
        for peer in peers[1:]:
            peer.write(b"x" * 1000)
        await until(lambda: len(user.got) == 2)
        # What is finished counts no more, and one who is proven isn't among strangers.
        user.sources.add(host(user, 9))
        for peer in (await connect(9), await connect(9), peers[1], peers[2]):
            peer.write(begun)
            await asyncio.sleep(0.02)
        assert user.counted["streams_unfinished"] == 1
        (await connect(9)).write(begun)
        (await connect(9)).write(begun)
        await until(lambda: user.counted["streams_unfinished"] == 2)
        assert peers[1].open

    serving(limits, work)


def test_a_stranger_who_does_not_read_is_sent_little():
    async def work(user: User, connect: Connect) -> None:
        user.echo = b"SIP/2.0 401 Unauthorized\r\n" + b"x" * 4000
        peer = await connect(9)
        peer.transport.pause_reading()
        for stream in user.sockets._streams.all():
            stream._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sent = 0
        while not user.ended:
            peer.write(OPTIONS)
            sent += 1
            assert sent < 5000
            await asyncio.sleep(0)
        assert user.counted["streams_unread"] == 1

    serving(StreamLimits(unsent=10**9), work)


def test_a_connection_that_cannot_be_made_ends_with_the_reason():
    async def work(user, connect):
        nowhere = Flow(user.base, 5060, "tcp", f"{user.base[:-1]}9", 5060)
        assert user.sockets.send(nowhere, OPTIONS)
        await until(lambda: user.ended)
        assert (user.ended, user.reasons) == ([nowhere], ["no connection: Connection refused"])

    serving(StreamLimits(), work)


# What is said about it


def test_everything_is_counted_and_the_log_has_a_line_in_ten_seconds(caplog):
    now = [100.0]
    counted: Counter[str] = Counter()
    notes = Notes(counted, lambda: now[0])
    with caplog.at_level("INFO"):
        for _ in range(500):
            notes.note("streams_refused", "no stream more for %s", "192.0.2.1")
        notes.note("streams_idle", "silence of %s", "192.0.2.1")
        now[0] += 10
        notes.note("streams_refused", "no stream more for %s", "192.0.2.2")
    assert counted == {"streams_refused": 501, "streams_idle": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "no stream more for 192.0.2.1 (0 more since the last such line)",
        "silence of 192.0.2.1 (0 more since the last such line)",
        "no stream more for 192.0.2.2 (499 more since the last such line)",
    ]


def test_an_ipv6_customer_is_one_source():
    assert source_of("192.0.2.1") != source_of("192.0.2.2")
    assert source_of("2001:db8:1:100::1") == source_of("2001:db8:1:1ff:ffff::2") != source_of("2001:db8:1:200::1")
