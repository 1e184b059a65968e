"""Ends of media for tests: descriptions, and sockets that send RTP."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import Config
from edge.control.identity import Identity
from edge.control.store import StateStore
from edge.media import ng
from edge.media.orders import ANSWER, DESCRIBE, OFFER, MediaOrder
from edge.mesh.peers import Mesh
from edge.runtime.engine import Engine
from edge.runtime.engine_process import EnginePlace
from edge.runtime.media_keeper import MediaKeeper

_SILENCE = b"\xff" * 160  # 20 ms of G.711 μ-law


def description(host: str, port: int, *more: str, profile: str = "RTP/AVP") -> bytes:
    """One line of G.711; ``more`` are lines after it."""
    family = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0",
        f"o=- 1 1 IN {family} {host}",
        "s=-",
        f"c=IN {family} {host}",
        "t=0 0",
        f"m=audio {port} {profile} 0",
        "a=rtpmap:0 PCMU/8000",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def port_of(body: bytes | None) -> int:
    """That of the first line of media."""
    assert body is not None
    return int(body.partition(b"\nm=")[2].split()[1])


def rtp(kind: int, sequence: int, timestamp: int, source: int, payload: bytes, marked: bool = False) -> bytes:
    """A packet (RFC 3550 §5.1) of the payload type ``kind``."""
    return struct.pack("!BBHII", 0x80, marked << 7 | kind, sequence, timestamp, source) + payload


class MediaEnd:
    """A socket; ``number`` is what its packets are told apart by."""

    def __init__(self, host: str, number: int) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._number, self._sequence = number, 0
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        self.host, self.port = self._socket.getsockname()[:2]

    def send(self, host: str, port: int) -> None:
        """One packet of RTP."""
        self._sequence += 1
        self.send_octets(host, port, rtp(0, self._sequence, 160 * self._sequence, self._number, _SILENCE))

    def send_octets(self, host: str, port: int, packet: bytes) -> None:
        """Whatever they are."""
        self._socket.sendto(packet, (host, port))

    def heard(self) -> list[int]:
        """The numbers of those whose packets have come since it was asked last."""
        found = []
        while True:
            try:
                found.append(int.from_bytes(self._socket.recv(2048)[8:12]))
            except BlockingIOError:
                return found

    async def hears(self, seconds: float = 10.0) -> int:
        """The number of whoever's packet comes next; 0 if none does."""
        return int.from_bytes((await self.octets(seconds))[8:12])

    async def octets(self, seconds: float = 2.0) -> bytes:
        """The packet that comes next; b"" if none does."""
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._socket, 2048), seconds)
        except TimeoutError:
            return b""

    def __del__(self) -> None:
        self._socket.close()


def settings(directory: Path, address: str, **more: object) -> Config:
    """An edge's, with a media engine."""
    return Config.model_validate(
        {
            "id": "edge-a",
            "address": address,
            "listen": [f"udp://{address}:5060"],
            "mesh": f"{address}:5070",
            "control": ["http://127.0.0.1:1"],
            "key_file": directory / "edge-a.key",
            "state_dir": directory,
            "media": "rtpengine",
            "media_ports": "40000-40999",
            **more,
        }
    )


def alone(directory: Path, counters: Counter[str]) -> tuple[MediaKeeper, StateStore]:
    """What keeps the sessions of an edge that has no peers."""
    identity = Identity("edge-a", Ed25519PrivateKey.generate())
    mesh = Mesh("edge-a", "b1", identity.key, identity.certificate, lambda kind: None)
    disk = StateStore(directory / "kept.sqlite", bytes(32))
    return MediaKeeper(directory, disk, mesh, counters), disk


@asynccontextmanager
async def running(
    directory: Path, address: str, counters: Counter[str] | None = None, ipv6: str = "", **more: object
) -> AsyncIterator[Engine]:
    """An engine, while it takes orders; then it is ended."""
    counted = Counter[str]() if counters is None else counters
    keeper, disk = alone(directory, counted)
    await keeper.open()
    engine = Engine(settings(directory, address, **more), place(address, ipv6), 1, keeper, counted)
    task = asyncio.create_task(engine.run())
    try:
        await asyncio.wait_for(engine.ready.wait(), 10)
        yield engine
    finally:
        task.cancel()
        await asyncio.wait([task])
        await engine.stop()
        keeper.close()
        disk.close()


async def answered(engine: Engine, one_port: int = 0, two_port: int = 0) -> tuple[MediaEnd, MediaEnd, int, int]:
    """A call ``k`` of phone ``a`` with phone ``b``: their ends of media, and the ports that ``b`` and ``a`` were told to
    send to. With ports the ends are somebody else's."""
    host = engine.address
    ends = MediaEnd(host, 1), MediaEnd(host, 2)
    call = MediaOrder("k", DESCRIBE, "a", tenant="t1", began=7, counts={"a@x": 5})
    offer = call._replace(body=description(host, one_port or ends[0].port), role=OFFER)
    answer = call._replace(by="b", to="a", body=description(host, two_port or ends[1].port), role=ANSWER, leg="L1")
    to_one, to_two = [(await engine.give(order)).body for order in (offer, answer)]
    return *ends, port_of(to_one), port_of(to_two)


async def used(engine: Engine) -> tuple[list[str], int]:
    """The engine's calls, and how many ports it says that it uses."""
    calls = await engine.client.ask(ng.LIST)
    numbers = await engine.client.ask(ng.STATISTICS)
    assert calls is not None
    assert numbers is not None
    interfaces = numbers["statistics"]["interfaces"]
    return list(calls["calls"]), sum(one["ports"]["used"] for one in interfaces)


def place(address: str, ipv6: str = "") -> EnginePlace:
    return EnginePlace(address, address, ipv6, ipv6)
