"""Edges' ends of the mesh on real sockets, and clients that are no edges."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.control.identity import Identity
from edge.mesh.frames import Frame, FrameReader, SessionCopied, SessionRefreshed, SessionsLeft, SessionsTold, encode
from edge.mesh.link import ALPN
from edge.mesh.peers import Mesh, Peer
from edge.runtime.notes import Notes
from edge.sip.flow import Flow
from tests.support.fleets import fresh_base


class User:
    def __init__(self, holds: bool = True) -> None:
        self.holds = holds
        self.asked: list[tuple[Flow, int, bytes]] = []
        self.responses: list[bytes] = []
        self.failed: list[str] = []
        self.found: list[tuple[str, bytes]] = []
        self.announcements: list[tuple[str, str, int]] = []
        self.declines: list[tuple[str, str]] = []
        self.keys: list[tuple[str, bytes]] = []
        self.closed: list[tuple[Flow, tuple[str, ...]]] = []
        self.ending: list[str] = []
        self.cas: list[str] = []
        self.summary: tuple[str, str, str] | None = None
        self.sessions: list[object] = []
        self.media: tuple[str, bytes] | None = None
        self.changes = 0

    def send_for_peer(self, flow: Flow, epoch: int, data: bytes, lost: Callable[[], None]) -> None:
        self.asked.append((flow, epoch, data))
        if not self.holds:
            lost()

    def trust_for_peer(self, ca: str) -> None:
        self.cas.append(ca)

    def message_from_peer(self, flow: Flow, data: bytes) -> None:
        self.responses.append(data)

    def not_sent(self, ref: str) -> None:
        self.failed.append(ref)

    def count_for_peer(self, scopes: list[str], answer: Callable[[bytes], None]) -> None:
        answer(b"[]")

    def counted_by_peer(self, ref: str, data: bytes) -> None:
        self.counted = (ref, data)

    def over_at_peer(self, call: str) -> None:
        self.over = call

    def refreshed_at_peer(self, call: SessionRefreshed) -> None:
        self.refreshed = call

    def awake_at_peer(self, data: bytes) -> None:
        pass

    def summary_at_peer(self, aor: str, tenant: str, summary: str) -> None:
        self.summary = (aor, tenant, summary)

    def closed_at_peer(self, flow: Flow, aors: tuple[str, ...]) -> None:
        self.closed.append((flow, aors))

    def streams_end_at_peer(self, address: str) -> None:
        self.ending.append(address)

    def find_for_peer(self, aor: str, tenant: str, answer: Callable[[bytes], None]) -> None:
        answer(f"{aor} of {tenant}".encode())

    def found_by_peer(self, ref: str, data: bytes) -> None:
        self.found.append((ref, data))

    def announced(self, edge: str, address: str, epoch: int) -> None:
        self.announcements.append((edge, address, epoch))

    def offered(self, edge: str, address: str, epoch: int, consent: str) -> str:
        return "" if consent == "good" else "not with that consent"

    def declined(self, address: str, why: str) -> None:
        self.declines.append((address, why))

    def keys_of_peer(self, edge: str, keys: list[tuple[str, ...]]) -> None:
        self.keys.append((edge, keys))

    def session_copied(self, frame: SessionCopied) -> None:
        self.sessions.append(frame)

    def sessions_left(self, address: str) -> None:
        self.sessions.append(SessionsLeft(address))

    def sessions_wanted(self, address: str) -> list[SessionCopied | SessionsTold]:
        return [SessionCopied(address, 7, "call", b"saved"), SessionsTold(address, 7)]

    def sessions_told(self, edge: str, frame: SessionsTold) -> None:
        self.sessions.append((edge, frame))

    def media_for_peer(self, address: str, data: bytes, answer: Callable[[bytes], None]) -> None:
        asyncio.get_running_loop().call_soon(answer, data + f" at {address}".encode())

    def media_answered(self, ref: str, data: bytes) -> None:
        self.media = (ref, data)

    def links_changed(self) -> None:
        self.changes += 1


class Member:
    """One edge's mesh, its identity and its user."""

    def __init__(self, edge: str, host: str, boot: str = "b1", key: Ed25519PrivateKey | None = None) -> None:
        self.identity = Identity(edge, key or Ed25519PrivateKey.generate())
        self.host = host
        self.user = User()
        self.notes: Counter[str] = Counter()
        note = Notes(self.notes).note
        self.mesh = Mesh(edge, boot, self.identity.key, self.identity.certificate, note)

    @property
    def certificate(self) -> str:
        return base64.b64encode(self.identity.certificate_der).decode()

    def peer(self, held: str = "") -> Peer:
        return Peer(self.identity.edge, f"{self.host}:5070", self.certificate, ((held, 3),) if held else ())


async def until(found: Callable[[], object], seconds: float = 5) -> float:
    """Wait; how long it took."""
    begun = time.monotonic()
    while not found():
        assert time.monotonic() - begun < seconds, "it didn't happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


opened: list[asyncio.BaseTransport] = []


def pair(work: Callable[[Member, Member], Awaitable[None]], link: bool = True) -> None:
    """Run ``work`` with two members that know each other."""

    async def run() -> None:
        base = fresh_base()
        one, two = Member("edge-a", base), Member("edge-b", base[:-1] + "2")
        for member in (one, two):
            await member.mesh.open(member.host, 5070, member.user)
        try:
            fleet = [one.peer("203.0.113.11"), two.peer("203.0.113.12")]
            for member in (one, two):
                member.mesh.update(fleet)
            if link:
                await until(lambda: one.mesh.connected() and two.mesh.connected())
            await work(one, two)
        finally:
            for member in (one, two):
                await member.mesh.close()
            while opened:
                opened.pop().close()
            await asyncio.sleep(0.01)  # for transports to close

    asyncio.run(run())


class Raw(QuicConnectionProtocol):
    """A client that does what it is told, and notes what it is told back."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.frames: list[Frame] = []
        self._reader = FrameReader()
        self.closed = asyncio.get_running_loop().create_future()
        self.ready = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event) -> None:
        name = type(event).__name__
        if name == "HandshakeCompleted":
            self.ready.set_result(True)
        elif name == "StreamDataReceived":
            self.frames += self._reader.feed(event.data)
        elif name == "ConnectionTerminated" and not self.closed.done():
            self.closed.set_result(event.reason_phrase)

    def say(self, frame: Frame) -> None:
        self._quic.send_stream_data(0, encode(frame))
        self.transmit()


async def raw(host: str, configuration: QuicConfiguration, source: str) -> Raw:
    """A connection to ``host`` from ``source``, where an edge is."""
    quic = QuicConnection(configuration=configuration)
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(partial(Raw, quic), local_addr=(source, 0))
    opened.append(transport)
    client.connect((host, 5070))
    await asyncio.wait_for(client.ready, 3)
    return client


def anonymous() -> QuicConfiguration:
    return QuicConfiguration(is_client=True, alpn_protocols=[ALPN], verify_mode=0)
