"""Sockets of an edge address with two sides, on loopback: what comes by one is answered by it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from edge.sip.flow import Flow
from edge.transport.sockets import Listener, ListenError
from edge.transport.streams import link_local
from tests.security.test_streams import OPTIONS, Peer, User, until
from tests.support.fleets import fresh_base

pytestmark = pytest.mark.integration

ANSWER = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


class Packets(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[tuple[bytes, str, int]] = []

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        self.got.append((data, addr[0], addr[1]))


def free_port() -> int:
    """Free at ::1 for both transports, as far as can be told."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def both():
    """Run with an edge's sockets at both sides of its address; ``work`` gets it and the port."""

    def run(work) -> None:
        async def main() -> None:
            user, port = User(fresh_base()), free_port()
            user.echo = ANSWER
            hosts = (user.base, "::1")
            await user.sockets.open(
                [Listener(kind, host, port, user.base) for kind in ("udp", "tcp") for host in hosts]
            )
            try:
                await work(user, port)
            finally:
                user.sockets.close()
                await asyncio.sleep(0.01)

        asyncio.run(main())

    return run


def test_each_side_answers_by_itself_over_udp(both):
    async def work(user: User, port: int) -> None:
        for index, host in enumerate((user.base, "::1")):
            where = (host, 0)
            made, packets = await asyncio.get_running_loop().create_datagram_endpoint(Packets, where, (host, port))
            made.sendto(OPTIONS)
            await until(lambda packets=packets: packets.got)
            assert packets.got == [(ANSWER, host, port)]
            flow = user.flows[index]
            assert (flow.address, flow.port, flow.host) == (user.base, port, host)
            made.close()

    both(work)


def test_each_side_answers_by_itself_over_tcp(both):
    async def work(user: User, port: int) -> None:
        for host in (user.base, "::1"):
            user.sources.add(host)
            loop = asyncio.get_running_loop()
            _, peer = await loop.create_connection(Peer, host, port, local_addr=(host, 0))
            peer.write(OPTIONS)
            await until(lambda peer=peer: peer.received == ANSWER)
            assert user.flows[-1].address == user.base
            assert user.flows[-1].host == host
            peer.transport.abort()
            await until(lambda: not user.sizes()[0])

    both(work)


def test_a_connection_of_ours_leaves_by_the_side_of_its_other_end(both):
    async def work(user: User, port: int) -> None:
        seen: list[str] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(writer.get_extra_info("peername")[0])
            writer.close()

        for host in (user.base, "::1"):
            server = await asyncio.start_server(accept, host, 0)
            there = server.sockets[0].getsockname()[1]
            assert user.sockets.send(Flow(user.base, port, "tcp", host, there), OPTIONS)
            await until(lambda host=host: host in seen)
            server.close()

    both(work)


def test_who_leaves_leaves_by_both_sides(both):
    async def work(user: User, port: int) -> None:
        _, peer = await asyncio.get_running_loop().create_connection(Peer, "::1", port)
        await until(lambda: user.sizes()[0])
        user.sockets.turn_away(user.base)
        user.sockets.turn_away(user.base)  # once more changes nothing
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().create_connection(Peer, "::1", port), 0.2)
        user.sockets.leave(user.base)
        await until(lambda: not peer.open)
        assert not user.sockets.listens(user.base)
        assert not user.sockets.send(Flow(user.base, port, "udp", "::1", 9), OPTIONS)
        for host in (user.base, "::1"):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().create_connection(Peer, host, port)

    both(work)


def test_a_side_that_this_machine_does_not_have_is_named():
    async def work() -> None:
        user = User(fresh_base())
        with pytest.raises(ListenError, match=r"udp://\[2001:db8::99\]:5060 can't be opened"):
            await user.sockets.open([Listener("udp", "2001:db8::99", 5060, user.base)])

    asyncio.run(work())


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        (("192.0.2.1", 5060), False),
        (("2001:db8::1", 5060, 0, 0), False),
        (("fe80::1%eth0", 5060, 0, 2), True),
    ],
)
def test_link_local_addresses_are_told_apart(peer, is_local):
    assert link_local(peer) is is_local
