"""How streams end, and what keeps them from it. Real sockets on loopback; seconds are tenths."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from edge.sip.flow import Flow
from edge.transport import sockets
from edge.transport.sockets import Listener
from edge.transport.streams import PROBE_AFTER, PROBE_EVERY, PROBES, StreamLimits
from tests.security.test_streams import CERTIFICATE, OPTIONS, PING, PONG, PORTS, Connect, Peer, User, serving, until
from tests.security.test_web_streams import WebPeer
from tests.support.certificates import trusting
from tests.support.socket_phone import WebSocketClient

pytestmark = pytest.mark.integration

OK = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
TRYING = OK.replace(b"200 OK", b"100 Trying")
BRIEF = StreamLimits(last_word=0.3, idle=0.3)


class Half(asyncio.Protocol):
    """A peer that goes on reading, or writing, when the other side doesn't."""

    def __init__(self) -> None:
        self.received = b""
        self.heard_end = False
        self.error: Exception | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.heard_end = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.lost.set_result(None)


MakeHalf = Callable[[], Awaitable[Half]]


def ending(limits: StreamLimits, work: Callable[[User, Connect, MakeHalf], Awaitable[None]]) -> None:
    """As ``serving``, and halves are made, and closed in the end."""

    async def run(user: User, connect: Connect) -> None:
        made: list[Half] = []

        async def half() -> Half:
            _, peer = await asyncio.get_running_loop().create_connection(Half, user.base, 5060)
            made.append(peer)
            return peer

        try:
            await work(user, connect, half)
        finally:
            for peer in made:
                peer.transport.abort()

    serving(limits, run)


# Its last answers


def test_who_closes_right_behind_a_request_still_gets_its_answer():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peer = await half()
        peer.transport.write(OPTIONS)
        peer.transport.write_eof()
        await until(lambda: user.ended)  # nobody is to be called there any more
        (flow,) = user.flows
        assert not user.sockets.send(flow, OPTIONS)
        assert user.sockets.send(flow, TRYING)
        assert user.sockets.send(flow, OK)
        await until(lambda: peer.heard_end, 1)
        assert peer.received == TRYING + OK
        assert peer.error is None
        assert user.sizes() == (0, 0)
        assert not user.counted

    ending(StreamLimits(), work)


def test_who_closes_with_nothing_to_wait_for_is_gone_at_once():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peer = await half()
        user.echo = OK
        peer.transport.write(OPTIONS + OK)
        await until(lambda: peer.received == OK + OK)
        peer.transport.write_eof()
        await until(lambda: user.sizes() == (0, 0), 0.25)

    ending(StreamLimits(), work)


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peer = await half()
        peer.transport.write(OPTIONS)
        peer.transport.write_eof()
        await until(lambda: peer.heard_end, 1)
        assert user.counted["streams_half_closed"] == 1

    ending(StreamLimits(last_word=0.3), work)


# What keeps it


def test_the_stream_of_a_registered_phone_stays_however_silent_it_is():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        user.sources.add(f"{user.base[:-1]}9")
        user.registered.add(f"{user.base[:-1]}9")
        phone = await connect(9)
        await asyncio.sleep(0.8)
        assert phone.open
        user.registered.clear()  # for as long as that, and not for ever
        await asyncio.wait_for(phone.lost, 1)
        assert user.counted["streams_idle"] == 1

    ending(BRIEF, work)


def test_the_kernel_probes_both_those_that_come_and_those_that_we_make():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        await connect(9)
        heard = await asyncio.get_running_loop().create_server(asyncio.Protocol, user.base, 0)
        port = heard.sockets[0].getsockname()[1]
        user.sockets.send(Flow(user.base, 5060, "tcp", user.base, port), OPTIONS)
        await until(lambda: user.sizes()[0] == 2)
        for stream in user.sockets._streams.all():
            sock = stream._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == PROBE_AFTER < 60
            dead_after = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
            assert dead_after == PROBE_AFTER + PROBE_EVERY * PROBES <= 90
        heard.close()

    ending(StreamLimits(), work)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_ping_between_messages_is_answered_once_and_one_inside_is_none(size):
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peer = await half()
        body = OPTIONS.replace(b"Length: 0", b"Length: 8") + PING + PING
        said = OPTIONS + PING + body + PING + PING + OPTIONS[:20]
        for at in range(0, len(said), size):
            peer.transport.write(said[at : at + size])
            await asyncio.sleep(0)
        await until(lambda: peer.received == 3 * PONG)
        peer.transport.write(OPTIONS[20:] + PING)
        await until(lambda: peer.received == 4 * PONG)
        assert user.got == [OPTIONS, body, OPTIONS]

    ending(StreamLimits(), work)


# Ended on purpose


def test_streams_are_ended_so_that_the_other_side_hears_of_it():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        polite = await connect(9)
        peer = await half()
        peer.transport.write(OPTIONS)
        await until(lambda: user.flows)
        ending = asyncio.ensure_future(user.sockets.finish(user.base))
        await until(lambda: peer.heard_end)
        assert not user.sockets.send(user.flows[0], OK)
        assert len(set(user.ended)) == 2  # nobody is to be called there from now on
        peer.transport.write(OPTIONS)  # on its way before it heard of that
        await until(lambda: len(user.got) == 2)
        peer.transport.write_eof()
        await asyncio.wait_for(ending, 0.5)
        await asyncio.wait_for(polite.lost, 1)
        assert peer.error is None
        assert user.sizes() == (0, 0)
        assert len(set(user.ended)) == 2
        assert (await connect(9)).open  # new ones are taken as before

    ending(StreamLimits(), work)


def test_many_streams_end_one_after_the_other(monkeypatch):
    monkeypatch.setattr(sockets, "_ENDED_AT_ONCE", 2)

    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peers = [await connect(9) for _ in range(6)]
        ending = asyncio.ensure_future(user.sockets.finish(user.base))
        gone = []
        while len(gone) < 6:
            await until(lambda: sum(not peer.open for peer in peers) > len(gone))
            gone += [asyncio.get_running_loop().time()] * (sum(not peer.open for peer in peers) - len(gone))
        assert gone[-1] - gone[0] > 0.08
        await ending

    ending(StreamLimits(), work)


# Whatever the transport


@pytest.mark.parametrize("kind", PORTS)
def test_a_registered_phones_stream_stays_and_its_end_is_told_at_once(kind):
    """Silent for longer than anybody else may be; then its machine is gone, without a word of TLS or WebSocket."""

    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        user.sources.add("127.0.0.1")
        user.registered.add("127.0.0.1")
        tls = {"ssl": trusting(CERTIFICATE), "server_hostname": "edge-a.example.net"} if kind in ("tls", "wss") else {}
        client = WebSocketClient() if kind in ("ws", "wss") else None
        peer = WebPeer(client) if client else Peer()
        await asyncio.get_running_loop().create_connection(lambda: peer, user.base, PORTS[kind], **tls)
        await until(lambda: client is None or client.ready)
        peer.write(client.wrap(OPTIONS) if client else OPTIONS)
        await until(lambda: user.flows)
        await asyncio.sleep(0.7)
        assert peer.open
        assert user.sockets.send(user.flows[0], OK)
        await until(lambda: b"200 OK" in peer.received or (client and peer.messages))
        user.ended.clear()
        sock = peer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.transport.abort()
        assert await until(lambda: user.ended) < 0.2
        assert user.ended[0] == user.flows[0]
        assert user.sizes() == (0, 0)

    ending(StreamLimits(idle=0.3, ping=0.1), work)


def test_what_is_under_way_is_known_in_both_directions():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peer = await half()
        peer.transport.write(OPTIONS + OPTIONS.replace(b"OPTIONS", b"ACK"))
        await until(lambda: len(user.got) == 2)
        assert user.sockets.busy(user.base)
        assert not user.sockets.busy("203.0.113.1")
        flow = user.flows[0]
        for answer, busy in ((TRYING, True), (OK, False)):
            user.sockets.send(flow, answer)
            assert user.sockets.busy(user.base) is busy
        user.sockets.send(flow, OPTIONS)
        for answer, busy in ((TRYING, True), (OK, False)):
            assert user.sockets.busy(user.base)
            peer.transport.write(answer)
            await until(lambda answer=answer: user.got[-1] == answer)
            assert user.sockets.busy(user.base) is busy

    ending(StreamLimits(), work)


def test_who_does_not_close_is_waited_for_for_a_second():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        peer = await half()
        await until(lambda: user.sizes()[0])
        begun = asyncio.get_running_loop().time()
        await user.sockets.end()
        assert 0.9 < asyncio.get_running_loop().time() - begun < 2
        assert peer.heard_end
        assert user.sizes() == (0, 0)
        with pytest.raises(ConnectionRefusedError):
            await half()

    ending(StreamLimits(), work)


def test_whoever_comes_while_the_address_moves_is_not_refused_but_waits():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        user.sockets.turn_away(user.base)
        coming = asyncio.ensure_future(half())
        await asyncio.sleep(0.3)
        assert not coming.done()
        assert user.sizes() == (0, 0)
        await user.sockets.open([Listener("tcp", user.base, 5060, user.base)])  # it stays after all
        await asyncio.wait_for(coming, 3)  # TCP tries again after a second
        await until(lambda: user.sizes()[0] == 1)
        user.sockets.turn_away(user.base)
        coming = asyncio.ensure_future(half())
        await asyncio.sleep(0.1)
        user.sockets.leave(user.base)
        await user.sockets.open([Listener("tcp", user.base, 5060, user.base)])
        await asyncio.wait_for(coming, 3)

    ending(StreamLimits(), work)


# What can't be sent


def test_a_packet_that_cannot_leave_is_told():
    async def work(user: User, connect: Connect, half: MakeHalf) -> None:
        await user.sockets.open([Listener("udp", user.base, 5060, user.base)])
        flow = Flow(user.base, 5060, "udp", user.base, 9)
        assert user.sockets.send(flow, b"x" * 65_507)
        assert not user.sockets.send(flow, b"x" * 65_508)  # too long
        assert not user.sockets.send(flow._replace(host="203.0.113.1"), b"x")  # not from loopback
        assert user.counted["unsendable"] == 2

    ending(StreamLimits(), work)
