"""Media survive: the engine's death, that of the edge's process, that of both, with a real rtpengine on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.config import Config
from edge.control.store import StateStore
from edge.media import ng
from edge.media.orders import ANSWER, DESCRIBE, DROP, OFFER, MediaOrder, Needs
from edge.mesh.frames import SessionCopied, SessionsTold, encode
from edge.runtime.engine import Engine
from edge.runtime.media_keeper import MediaKeeper
from tests.support.fleets import fresh_base
from tests.support.media import description, place, settings
from tests.support.mesh import Member, User, until
from tests.support.pace import slowness
from tests.support.rtp_end import RtpEnd

pytestmark = pytest.mark.integration

BACK = 1.0  # seconds after which a killed engine relays again
TAGS = ("from", "to")


class KeeperUser(User):
    """What the mesh brings goes to the keeper."""

    keeper: MediaKeeper

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[SessionCopied] = []

    def session_copied(self, frame: SessionCopied) -> None:
        self.copies.append(frame)
        self.keeper.copied(frame)

    def sessions_left(self, address: str) -> None:
        self.keeper.left(address)

    def sessions_wanted(self, address: str) -> list[SessionCopied | SessionsTold]:
        return list(self.keeper.wanted(address))

    def sessions_told(self, edge: str, frame: SessionsTold) -> None:
        self.keeper.told(edge, frame)

    def announced(self, edge: str, address: str, epoch: int) -> None:
        self.keeper.announced(address, epoch)

    def links_changed(self) -> None:
        self.keeper.links_changed()


class Machine:
    """What of an edge has to do with media: its keeper, and an engine for ``address`` once it is here."""

    def __init__(self, directory: Path, name: str, mesh: str, address: str) -> None:
        directory.mkdir(exist_ok=True)
        self.counters: Counter[str] = Counter()
        self._name, self._host, self._identity = name, mesh, Ed25519PrivateKey.generate()
        self.config: Config = settings(directory, address)
        self.address = address
        self._key = bytes(32)
        self._starts = 0
        self._engines: list[Engine] = []
        self._running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """The edge's process starts."""
        self._starts += 1
        self._opened, self._lives = False, True
        self.member = Member(self._name, self._host, f"b{self._starts}", self._identity)
        self.member.user = KeeperUser()
        self.disk = StateStore(self.config.state / "kept.sqlite", self._key)
        self.keeper = self.member.user.keeper = MediaKeeper(
            self.config.state, self.disk, self.member.mesh, self.counters
        )
        await self.keeper.open()

    async def open(self) -> None:
        if not self._opened:
            await self.member.mesh.open(self._host, 5070, self.member.user)
        self._opened = True

    async def gain(self, epoch: int) -> Engine:
        """The address is here."""
        self.engine = Engine(self.config, place(self.address), epoch, self.keeper, self.counters)
        self._engines.append(self.engine)
        self._running = asyncio.create_task(self.engine.run())
        await asyncio.wait_for(self.engine.ready.wait(), 30)
        return self.engine

    async def end(self) -> None:
        """The edge's process ends, and its engine doesn't."""
        if not self._lives:
            return
        self._lives = False
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await self.member.mesh.close()
        self.keeper.close()
        self.disk.close()

    @property
    def pid(self) -> int:
        return int((self.config.state / "engines" / f"{self.address}.pid").read_text())

    async def die(self) -> None:
        """As a machine does."""
        os.kill(self.pid, signal.SIGKILL)
        await self.end()
        await self.reap()

    async def reap(self) -> None:
        """End the engines, and wait for those that are children of this process."""
        for engine in self._engines:
            await engine.stop()
            if engine._process._child is not None:
                await engine._process._child.wait()


@asynccontextmanager
async def machines(directory: Path, *names: str) -> AsyncIterator[list[Machine]]:
    """Their edges' processes run, linked with each other."""
    base = fresh_base()
    made = [
        Machine(directory / name, name, base[:-1] + str(number), base[:-1] + "9")
        for number, name in enumerate(names, 1)
    ]
    for one in made:
        await one.begin()
    try:
        if len(made) > 1:
            await link(*made)
        yield made
    finally:
        for one in made:
            await one.end()
            await one.reap()


async def link(*made: Machine) -> None:
    """Their edges find each other."""
    for one in made:
        await one.open()
        one.member.mesh.update([other.member.peer() for other in made])
    await until(lambda: all(len(one.member.mesh.connected()) == len(made) - 1 for one in made))


async def bridge(engine: Engine, one: RtpEnd, two: RtpEnd, key: str = "k1", profile: str = "") -> None:
    """``one`` calls ``two``, both by what the engine says; ``profile`` is what ``two`` speaks."""
    caller, callee = TAGS
    offer = MediaOrder(key, DESCRIBE, caller, body=one.sdp().encode(), for_=Needs(profile), role=OFFER)
    reply = await engine.give(offer)
    assert reply.body is not None, reply
    two.learn(reply.body.decode())
    answer = MediaOrder(key, DESCRIBE, callee, caller, body=two.sdp().encode(), role=ANSWER)
    reply = await engine.give(answer)
    assert reply.body is not None, reply
    one.learn(reply.body.decode())
    await both_hear(one, two)


async def both_hear(one: RtpEnd, two: RtpEnd, seconds: float = 15.0) -> float:
    """Until they do; for how long the later one didn't."""
    begun = time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(end.hears, seconds, 3) for end in (one, two)))
    return time.monotonic() - begun


def gap(end: RtpEnd, since: float) -> float:
    """The longest time in which nothing came."""
    times = [since, *(at for at in end.came if at > since)]
    return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))


async def turn_over(one: RtpEnd, two: RtpEnd, times: int) -> None:
    """As if so many times 65,536 packets had gone by: some of them do, near enough to each other."""
    for end in (one, two):
        for _ in range(times):
            for step in (20_000, 45_000, 65_000, 65_536):
                end.index = (end.index // 65_536) * 65_536 + step
                await asyncio.sleep(0.05)


def test_a_killed_engine_is_back_within_a_second(tmp_path):
    async def run() -> None:
        async with machines(tmp_path, "edge-a") as (machine,):
            engine = await machine.gain(1)
            with RtpEnd(machine.address) as one, RtpEnd(machine.address) as two:
                await bridge(engine, one, two)
                killed = time.monotonic()
                os.kill(machine.pid, signal.SIGKILL)
                await asyncio.sleep(BACK / 2)
                await both_hear(one, two)
                for end in (one, two):
                    assert gap(end, killed) < BACK * slowness()
                answer = await engine.client.ask(ng.LIST)
                assert answer is not None
                assert len(answer["calls"]) == 1
                # It is the call that it was.
                await bridge(engine, one, two)

    asyncio.run(run())


@pytest.mark.parametrize("turns", [0, 2])
def test_srtp_towards_one_side_goes_on_past_65536_packets(tmp_path, turns):
    async def run() -> None:
        async with machines(tmp_path, "edge-a") as (machine,):
            engine = await machine.gain(1)
            with RtpEnd(machine.address, keys=os.urandom(30)) as one, RtpEnd(machine.address) as two:
                await bridge(engine, one, two, profile="RTP/AVP")
                await turn_over(one, two, turns)
                await both_hear(one, two)
                assert one.index >> 16 == turns
                await machine.keeper.save_all(machine.address)
                assert one.unreadable == 0
                os.kill(machine.pid, signal.SIGKILL)
                await asyncio.sleep(BACK / 2)
                await both_hear(one, two)
                assert one.unreadable == 0

    asyncio.run(run())


def test_another_edge_goes_on_with_the_sessions_of_a_dead_one(tmp_path):
    async def run() -> None:
        async with machines(tmp_path, "edge-a", "edge-b") as (dead, taker):
            engine = await dead.gain(1)
            with RtpEnd(dead.address) as one, RtpEnd(dead.address) as two:
                await bridge(engine, one, two)
                await until(lambda: taker.keeper.sizes()["media_sessions_copied_here"] == 1)
                killed = time.monotonic()
                await dead.die()
                await taker.gain(2)
                await both_hear(one, two)
                for end in (one, two):
                    assert gap(end, killed) < 2 * BACK * slowness()
                # It comes back: what its disk has is of an older epoch.
                await bridge(taker.engine, one, two, "k2")
                await dead.begin()
                await link(dead, taker)
                assert not await dead.keeper.gather(dead.address, 3)
                assert dead.keeper.sizes()["media_sessions_kept"] == 2

    asyncio.run(run())


def _chromium(name: str) -> bytes:
    """Audio and video with as many codecs and candidates as it names on a machine with three addresses."""
    candidates = [
        f"a=candidate:{1000 + at} 1 {kind} {2122260223 - at} {host} {5000 + at} typ {of} generation 0 network-id {at}"
        for at, (kind, host, of) in enumerate(
            [(kind, host, "host") for kind in ("udp", "tcp") for host in ("192.168.1.5", "10.8.0.3", "2001:db8::17:5")]
            + [("udp", "198.51.100.7", "srflx raddr 192.168.1.5 rport 5000")]
        )
    ]
    ice = [f"a=ice-ufrag:{name}", f"a=ice-pwd:{os.urandom(12).hex()}", "a=ice-options:trickle", "a=rtcp-mux"]
    keys = ["a=fingerprint:sha-256 " + os.urandom(32).hex(":").upper(), "a=setup:actpass"]
    feedback = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
    lines = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1"]
    for number, (medium, codecs) in enumerate({"audio": range(103, 111), "video": range(35, 63)}.items()):
        lines.append(f"m={medium} 5000 UDP/TLS/RTP/SAVPF {' '.join(map(str, codecs))}")
        lines += ["c=IN IP4 198.51.100.7", *candidates, *ice, *keys, f"a=mid:{number}"]
        for codec in codecs:
            lines += [f"a=rtpmap:{codec} H264/90000", f"a=fmtp:{codec} packetization-mode=1;profile-level-id=42001f"]
            lines += [f"a=rtcp-fb:{codec} {of}" for of in feedback]
    return "".join(f"{line}\r\n" for line in lines).encode()


_PLAIN, _WEB = Needs("RTP/AVP", "remove", rtcp_mux="demux"), Needs("UDP/TLS/RTP/SAVPF", "force", sdes="off")


@pytest.mark.parametrize(
    ("one", "other", "needs"),
    [
        (description("198.51.100.1", 4000), description("198.51.100.2", 4000), Needs()),
        (_chromium("a"), _chromium("b").replace(b"actpass", b"active"), Needs(ice="force-relay")),
        (_chromium("a"), description("198.51.100.2", 4000, "m=video 4002 RTP/AVP 35"), _PLAIN),
        (description("198.51.100.2", 4000, "m=video 4002 RTP/AVP 35"), _chromium("b"), _WEB),
    ],
    ids=["phones", "browsers", "a browser and a phone", "a phone and a browser"],
)
def test_each_change_is_one_frame_of_8192_octets_at_most(tmp_path, one, other, needs):
    """As the engine writes it: several times, of which most say nothing new."""

    async def run() -> None:
        async with machines(tmp_path, "edge-a", "edge-b") as (holder, peer):
            engine, copies = await holder.gain(1), peer.member.user.copies
            await until(lambda: [frame.name for frame in copies] == [""])
            orders = [
                MediaOrder("k1", DESCRIBE, by, to, body=body + more, for_=of, role=role)
                for more in (b"", b"a=sendonly\r\n", b"a=sendrecv\r\n")
                for by, to, body, of, role in (("a", "b", one, needs, OFFER), ("b", "a", other, Needs(), ANSWER))
            ]
            for number, order in enumerate(orders, 1):
                assert (await engine.give(order)).body
                await holder.keeper.save_all(holder.address)  # which says again what it has
                assert holder.counters["media_copies"] <= 1 + number
            await engine.give(MediaOrder("k1", DROP))
            await until(lambda: copies[-1].data == b"")
            assert 1 + 2 + 1 < len(copies) == holder.counters["media_copies"] <= 1 + len(orders) + 1
            sizes = [len(encode(frame)) for frame in copies]
            print(f"{len(copies)} frames of {sizes} octets")
            assert max(sizes) <= 8192

    asyncio.run(run())


def test_an_engine_that_starts_too_early_loses_nothing(tmp_path):
    """What its address lacks for a moment are ports: nothing can be restored, and is tried again."""

    async def run() -> None:
        async with machines(tmp_path, "edge-a", "edge-b") as (dead, taker):
            engine = await dead.gain(1)
            with RtpEnd(dead.address) as one, RtpEnd(dead.address) as two:
                await bridge(engine, one, two)
                await until(lambda: taker.keeper.sizes()["media_sessions_copied_here"] == 1)
                await dead.die()
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.bind(one.to)
                    gaining = asyncio.create_task(taker.gain(2))
                    await until(lambda: taker.counters["media_engine_early"] > 1)
                    assert not gaining.done()
                await gaining
                await both_hear(one, two)
                assert taker.counters["media_sessions_lost"] == 0

    asyncio.run(run())


def test_an_edge_that_starts_anew_lets_its_engine_go_on(tmp_path):
    async def run() -> None:
        async with machines(tmp_path, "edge-a") as (machine,):
            engine = await machine.gain(1)
            with RtpEnd(machine.address) as one, RtpEnd(machine.address) as two:
                await bridge(engine, one, two)
                pid, since = machine.pid, time.monotonic()
                await machine.end()
                await asyncio.sleep(0.1)
                await machine.begin()
                await machine.gain(2)
                await both_hear(one, two)
                assert machine.pid == pid
                for end in (one, two):
                    assert gap(end, since) < 0.3 * slowness()
                # It saves there as before.
                await bridge(machine.engine, one, two, "k2")
                assert machine.keeper.sizes()["media_sessions_kept"] == 2

    asyncio.run(run())


def test_what_somebody_else_has_had_meanwhile_is_old(tmp_path):
    """An address that was away for a moment, and comes back in another epoch, was or wasn't with another edge."""

    async def run() -> None:
        async with machines(tmp_path, "edge-a") as (machine,):
            keeper, address = machine.keeper, machine.address
            await keeper.gather(address, 1)
            assert keeper.renew(address, 2)
            assert await keeper.gather(address, 3)
            keeper.announced(address, 4)
            assert not keeper.renew(address, 5)
            assert not await keeper.gather(address, 5)
            assert keeper.renew(address, 5)

    asyncio.run(run())
