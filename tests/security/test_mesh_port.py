"""The mesh's port, and people who are no edges: what they cost, and that the others still get in."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from functools import partial

import pytest
from aioquic.quic.connection import QuicConnection

from edge.mesh import gate, link
from edge.mesh.frames import FrameReader, Nonce, SendOn, encode
from edge.mesh.gate import LINKS, RETRIES
from edge.mesh.link import ClientLink, client_configuration
from edge.mesh.peers import Mesh
from edge.sip.flow import Flow
from tests.support.mesh import Member, Raw, anonymous, opened, pair, raw, until

FLOW = Flow("203.0.113.12", 5060, "udp", "198.51.100.1", 5060)


class Sender(asyncio.DatagramProtocol):
    """A bare UDP socket."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answers.append(data)


async def sender(source: str, two: Member) -> Sender:
    where, to = (source, 0), (two.host, 5070)
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(
        Sender, local_addr=where, remote_addr=to
    )
    opened.append(transport)
    return made


def initial() -> bytes:
    """The first packet of a connection."""
    quic = QuicConnection(configuration=anonymous())
    quic.connect(("192.0.2.1", 5070), now=time.monotonic())
    return quic.datagrams_to_send(now=time.monotonic())[0][0]


def stranger(two: Member) -> str:
    return two.host[:-1] + "9"


def kept(two: Member) -> int:
    """Connections that are remembered, besides those of the peer."""
    assert two.mesh._gate is not None
    return len([one for one in two.mesh._gate._hosts if not one.up])


async def flood(two: Member, made: Sender, packets: list[bytes]) -> float:
    """Send them all; seconds of CPU."""
    before = sum(two.notes.values()) + len(made.answers)
    begun = time.thread_time()
    for number, packet in enumerate(packets, 1):
        made.transport.sendto(packet)
        if number % 20 == 0:  # what a socket's buffer holds
            for _ in range(10_000):
                await asyncio.sleep(0)
                if sum(two.notes.values()) + len(made.answers) - before >= number:
                    break
            else:
                raise AssertionError("packets were lost")
    return time.thread_time() - begun


def test_packets_from_where_no_edge_is_are_dropped_unread():
    async def work(one: Member, two: Member) -> None:
        packet = initial()
        made = await sender(stranger(two), two)
        for size in (0, 1, 5, 6, 40):
            made.transport.sendto(packet[:size])
        await flood(two, made, [packet] * 500)
        assert made.answers == []
        assert kept(two) == 0
        assert two.notes["mesh_strangers"] >= 500
        assert set(two.notes) == {"mesh_strangers"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(raw(two.host, anonymous(), stranger(two)), 0.3)

    pair(work)


def test_a_forged_packet_costs_microseconds_and_no_memory():
    """A handshake costs more than 1,000 µs."""

    async def work(one: Member, two: Member) -> None:
        packets = [initial() for _ in range(20)] * 100
        for source, most in ((stranger(two), 150e-6), (one.host, 300e-6)):
            made = await sender(source, two)
            two.notes.clear()
            await flood(two, made, packets[:100])
            two.notes.clear()
            made.answers.clear()
            spent = await flood(two, made, packets)
            assert spent / len(packets) < most
            two.notes.clear()
            made.answers.clear()
            gc.collect()
            tracemalloc.start()
            await flood(two, made, packets)
            made.answers.clear()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 50_000
            tracemalloc.stop()

    pair(work)


def test_a_forged_peer_gets_one_smaller_packet_and_nothing_is_kept():
    async def work(one: Member, two: Member) -> None:
        made = await sender(one.host, two)
        packet = initial()
        made.transport.sendto(packet)
        await until(lambda: made.answers)
        await asyncio.sleep(0.2)
        (retry,) = made.answers
        assert len(retry) < len(packet) / 3
        assert retry[0] & 0xF0 == 0xF0  # a Retry (RFC 9000 §17.2.5)
        assert kept(two) == 0
        before = asyncio.get_running_loop().time()
        await flood(two, made, [packet] * 1000)
        seconds = int(asyncio.get_running_loop().time()) - int(before) + 1
        assert len(made.answers) <= 1 + RETRIES * seconds
        assert two.notes["mesh_refused"] == 1001 - len(made.answers)
        assert kept(two) == 0

    pair(work)


def test_what_is_no_first_packet_of_our_version_is_not_answered():
    async def work(one: Member, two: Member) -> None:
        made = await sender(one.host, two)
        packet = initial()
        other_version = packet[:1] + b"\x0a\x0a\x0a\x0a" + packet[5:]
        handshake = bytes((packet[0] | 0x20,)) + packet[1:]
        cid = 6 + packet[5]
        token = cid + 1 + packet[cid]
        assert packet[token] == 0  # its length
        invented = packet[:token] + bytes((64,)) * 65 + packet[token + 1 : -64]
        for sent in (other_version, handshake, invented, packet[:20], packet[:6], b"\xc0"):
            made.transport.sendto(sent)
        await until(lambda: two.notes["mesh_refused"] >= 5)
        await asyncio.sleep(0.05)
        assert made.answers == []
        assert kept(two) == 0

    pair(work)


class Quiet(Raw):
    """A client that gets as far as the handshake lets it, and never says who it is."""


async def quiet(two: Member, source: str) -> Quiet:
    make = partial(Quiet, QuicConnection(configuration=anonymous()))
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=(source, 0))
    opened.append(transport)
    client.connect((two.host, 5070))
    return client


def test_an_address_has_few_connections_for_a_short_time(monkeypatch):
    monkeypatch.setattr(link, "HANDSHAKE", 0.4)

    async def work(one: Member, two: Member) -> None:
        clients = [await quiet(two, one.host) for _ in range(LINKS + 4)]
        await until(lambda: sum(client.ready.done() for client in clients) == LINKS - 1)  # and the peer's own
        await asyncio.sleep(0.1)
        assert sum(client.ready.done() for client in clients) == LINKS - 1
        assert kept(two) == LINKS - 1
        await until(lambda: two.notes["mesh_unproven"] >= LINKS - 1)
        assert one.mesh.connected()
        assert two.mesh.connected()

    pair(work)


def test_few_handshakes_are_under_way_at_once(monkeypatch):
    monkeypatch.setattr(gate, "HANDSHAKES", 2)

    async def work(one: Member, two: Member) -> None:
        clients = [await quiet(two, one.host) for _ in range(4)]
        await until(lambda: sum(client.ready.done() for client in clients) == 2)
        await until(lambda: two.notes["mesh_refused"] >= 2)
        assert kept(two) == 2

    pair(work)


def test_only_small_frames_are_taken_before_the_proof():
    async def work(one: Member, two: Member) -> None:
        client = await raw(two.host, anonymous(), one.host)
        client.say(SendOn(FLOW, 3, "r", b"x" * 1100))
        assert "a frame of" in await asyncio.wait_for(client.closed, 2)

    pair(work)


def test_a_client_takes_only_small_frames_from_who_may_be_anybody():
    assert FrameReader(1024).feed(encode(Nonce(b"n" * 32))) == [Nonce(b"n" * 32)]
    member = Member("edge-a", "127.0.0.1")

    async def run() -> None:
        quic = QuicConnection(configuration=client_configuration("edge-a", member.certificate))
        made = ClientLink(quic, "edge-b", "b1", member.identity.key, b"", lambda frame: None)
        assert made._reader.most == 1024
        made._proven()
        assert made._reader.most > 65_535

    asyncio.run(run())


def test_nobody_is_let_in_before_the_first_fleet_list_and_a_newcomer_after_it():
    async def work(one: Member, two: Member) -> None:
        new = Member("edge-c", two.host[:-1] + "3")
        await new.mesh.open(new.host, 5070, new.user)
        try:
            fleet = [one.peer(), two.peer(), new.peer()]
            two.mesh.update(fleet)  # it hears of the newcomer first
            await until(lambda: new.notes["mesh_strangers"])
            assert new.mesh.reached_by() == []
            new.mesh.update(fleet)
            await until(lambda: new.mesh.connected() == ["edge-b"] and new.mesh.reached_by() == ["edge-b"])
            await until(lambda: "edge-c" in two.mesh.connected())
            await until(lambda: one.notes["mesh_strangers"])
            one.mesh.update(fleet)
            await until(lambda: new.mesh.connected() == ["edge-a", "edge-b"])
        finally:
            await new.mesh.close()

    pair(work)


def test_edges_behind_an_address_translation_come_from_a_network_that_is_named():
    async def work(one: Member, two: Member) -> None:
        await two.mesh.close()
        await asyncio.sleep(0.01)
        certificate = two.identity.certificate
        named = Mesh("edge-b", "b1", two.identity.key, certificate, lambda *_: None, [f"{stranger(two)}/32"])
        await named.open(two.host, 5070, two.user)
        try:
            client = await raw(two.host, anonymous(), stranger(two))
            assert not client.closed.done()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(raw(two.host, anonymous(), two.host[:-1] + "8"), 0.3)
        finally:
            await named.close()

    pair(work)
