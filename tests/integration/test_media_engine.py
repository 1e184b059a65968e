"""An edge's media engine: a real rtpengine on loopback, and sockets that send RTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edge.media import ng
from edge.media.orders import (
    ANSWER,
    DESCRIBE,
    DROP,
    DROP_BRANCH,
    FULL,
    OFFER,
    RESTORE,
    MediaOrder,
    MediaReply,
    Needs,
)
from edge.runtime.engine import Engine
from scripts.fleet_parts import ROOT
from tests.support.fleets import fresh_base
from tests.support.media import MediaEnd, answered, description, port_of, rtp, running, used
from tests.support.mesh import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("rtpengine") is None, reason="rtpengine isn't installed"),
]

Work = Callable[[Engine, str], Awaitable[None]]
FAX = "m=image 4000 udptl t38"
WEB_LINES = (
    "a=rtcp-mux",
    "a=ice-ufrag:abcd",
    "a=ice-pwd:abcdefghijklmnopqrstuvwx",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    "a=setup:actpass",
    "a=candidate:1 1 udp 2122260223 198.51.100.7 50000 typ host",
)
WEB = description("198.51.100.7", 50000, *WEB_LINES, profile="UDP/TLS/RTP/SAVPF")
FOR_PHONE = Needs("RTP/AVP", "remove", rtcp_mux="demux")
FOR_WEB = Needs("UDP/TLS/RTP/SAVPF", "force", sdes="off", rtcp_mux="offer")


def with_engine(tmp_path: Path, work: Work, ipv6: str = "", **more: object) -> Counter[str]:
    """What has been counted. ``ipv6`` is the address's other side."""
    address, counters = fresh_base(), Counter[str]()

    async def run() -> None:
        async with running(tmp_path, address, counters, ipv6, **more) as engine:
            await work(engine, address)

    asyncio.run(run())
    return counters


async def say(engine: Engine, body: bytes, by: str, to: str = "", role: str = OFFER, **more: object) -> MediaReply:
    return await engine.give(MediaOrder("k", DESCRIBE, by, to, body=body, role=role)._replace(**more))  # type: ignore[arg-type]


async def both_heard(address: str, one: MediaEnd, two: MediaEnd, to_one: int, to_two: int) -> None:
    """Talk until both hear each other: what comes before the engine knows where to send it, nobody hears."""

    async def talk() -> None:
        heard = [False, False]
        while not all(heard):
            one.send(address, to_two)
            two.send(address, to_one)
            heard[0] = heard[0] or await one.hears(0.1) == 2
            heard[1] = heard[1] or await two.hears(0.1) == 1
        one.heard(), two.heard()

    await asyncio.wait_for(talk(), 10)


def test_both_ends_hear_each_other_until_the_call_is_over(tmp_path):
    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        one.send(address, to_two)
        assert await two.hears() == 1
        two.send(address, to_one)
        assert await one.hears() == 2
        assert await used(engine) == (["k"], 4)
        assert await engine.give(MediaOrder("k", DROP)) == MediaReply(None)
        assert await used(engine) == ([], 0)
        assert len(engine.sessions) == engine.sessions.ports == 0

    with_engine(tmp_path, work)


def test_who_is_behind_a_nat_hears_where_it_sends_from(tmp_path):
    async def work(engine, address):
        one, two = MediaEnd(address, 1), MediaEnd(address, 2)
        to_one = port_of((await say(engine, description("192.168.1.5", 4000), "a", source=address)).body)
        to_two = port_of((await say(engine, description("192.168.1.5", 4000), "b", "a", ANSWER, source=address)).body)
        one.send(address, to_two)
        await asyncio.sleep(0.05)  # nobody hears that one: where two is, isn't known yet
        two.send(address, to_one)
        assert await one.hears() == 2
        one.send(address, to_two)
        assert await two.hears() == 1

    with_engine(tmp_path, work)


def test_a_packet_from_elsewhere_steals_nothing_from_a_silent_end(tmp_path):
    """Whether it comes while the call stands, or after its session has been refreshed."""

    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        one.send(address, to_two)
        two.send(address, to_one)
        assert [await one.hears(), await two.hears()] == [2, 1]
        thief = MediaEnd(address, 3)
        for refresh in (False, True):
            if refresh:
                assert (await say(engine, description(two.host, two.port), "b", "a")).body
                assert (await say(engine, description(one.host, one.port), "a", "b", ANSWER)).body
            thief.send(address, to_one)  # two is silent
            one.send(address, to_two)
            assert await two.hears() == 1
            assert one.heard() == thief.heard() == []

    with_engine(tmp_path, work)


def test_nobody_steals_a_stream_from_who_is_on_hold(tmp_path):
    """Both are behind NATs, and the held one is silent; it hears its music, and both are heard again afterwards."""

    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine, 9, 11)
        await both_heard(address, one, two, to_one, to_two)
        places = description(address, 9), description(address, 11)
        await say(engine, places[0] + b"a=sendonly\r\n", "a", "b")
        await say(engine, places[1] + b"a=recvonly\r\n", "b", "a", ANSWER)
        thief = MediaEnd(address, 66)
        for port in (to_one, to_two):
            for _ in range(3):
                thief.send(address, port)
        one.heard(), two.heard()
        one.send(address, to_two)
        assert await two.hears() == 1
        assert thief.heard() == []
        await say(engine, places[0] + b"a=sendrecv\r\n", "a", "b")
        await say(engine, places[1], "b", "a", ANSWER)
        two.send(address, to_one)
        one.send(address, to_two)
        assert [await one.hears(), await two.hears()] == [2, 1]

    with_engine(tmp_path, work)


def test_whoever_moves_to_another_port_is_heard_from_there(tmp_path):
    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        one.send(address, to_two)
        two.send(address, to_one)
        assert [await one.hears(), await two.hears()] == [2, 1]
        moved = MediaEnd(address, 4)
        assert port_of((await say(engine, description(moved.host, moved.port), "a", "b")).body) == to_one
        assert port_of((await say(engine, description(two.host, two.port), "b", "a", ANSWER)).body) == to_two
        two.send(address, to_one)
        assert await moved.hears() == 2
        moved.send(address, to_two)
        assert await two.hears() == 4
        assert (await used(engine))[1] == 4

    with_engine(tmp_path, work)


@pytest.mark.parametrize(
    "line", [(), ("a=sendonly",), ("m=image {port} udptl t38",)], ids=["another port", "hold", "fax"]
)
def test_after_a_refused_offer_they_hear_each_other_as_before(tmp_path, line):
    """A move, a hold, a fax: who has offered it goes on as he did."""

    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        elsewhere = MediaEnd(address, 4)
        more = [text.format(port=elsewhere.port) for text in line]
        for _ in range(3):
            one.send(address, to_two)
            two.send(address, to_one)
            assert [await one.hears(), await two.hears()] == [2, 1]
        await say(engine, description(address, elsewhere.port, *more), "a", "b")
        await engine.give(MediaOrder("k", RESTORE, "a", "b"))
        one.send(address, to_two)
        two.send(address, to_one)
        assert [await one.hears(), await two.hears()] == [2, 1]
        assert elsewhere.heard() == []
        query = await engine.client.ask(ng.query("k"))
        assert query is not None
        assert [set(side["medias"][0]["flags"]) >= {"send", "recv"} for side in query["tags"].values()] == [True, True]

    with_engine(tmp_path, work)


def test_hold_by_no_address_and_back(tmp_path):
    """As RFC 2543 had it. To the engine it is no other address, so it goes on hearing the phone from where it was."""

    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        one.send(address, to_two)
        two.send(address, to_one)
        assert [await one.hears(), await two.hears()] == [2, 1]
        said = description(one.host, one.port)
        hold = (await say(engine, said.replace(address.encode(), b"0.0.0.0"), "a", "b")).body
        assert b"a=sendonly" in hold
        assert b"0.0.0.0" not in hold
        assert (await say(engine, description(two.host, two.port, "a=recvonly"), "b", "a", ANSWER)).body
        assert b"a=sendrecv" in (await say(engine, said, "a", "b")).body
        assert (await say(engine, description(two.host, two.port), "b", "a", ANSWER)).body
        one.send(address, to_two)
        two.send(address, to_one)
        assert [await one.hears(), await two.hears()] == [2, 1]

    with_engine(tmp_path, work)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((0, 101, 13), (0, 101, 13)), ((0, 101, 13), (0, 96, 118)), ((97, 101, 13), (98, 96, 118))],
    ids=["alike", "other events and noise", "nothing alike"],
)
def test_telephone_events_and_comfort_noise_pass_as_they_are(tmp_path, ours, theirs):
    """RFC 4733 and RFC 3389. Either end sends the numbers that the other one has named (RFC 3264 §6.1)."""

    def formats(speech: int, event: int, noise: int) -> str:
        named = "PCMU" if not speech else "G726-32"
        lines = f"a=rtpmap:{speech} {named}/8000", f"a=rtpmap:{event} telephone-event/8000", f"a=fmtp:{event} 0-16"
        return "".join(f"{line}\r\n" for line in (*lines, f"a=rtpmap:{noise} CN/8000"))

    def said(end: MediaEnd, numbers: tuple[int, ...]) -> bytes:
        head = description(end.host, end.port).partition(b" 0\r\na=rtpmap")[0].decode()
        return f"{head} {' '.join(map(str, numbers))}\r\n{formats(*numbers)}".encode()

    def stream(speech: int, event: int, noise: int, source: int) -> list[bytes]:
        """Speech, the digit 5 with its end said three times, noise, and speech again."""
        digit = [
            rtp(event, 2 + at, 320, source, bytes((5, 0x0A | (at > 2) << 7)) + duration.to_bytes(2), at == 0)
            for at, duration in enumerate((160, 320, 480, 480, 480, 480))
        ]
        before, after = rtp(speech, 1, 160, source, bytes(160)), rtp(speech, 9, 1440, source, bytes(160), True)
        return [before, *digit, rtp(noise, 8, 1280, source, b"\x40"), after]

    async def work(engine, address):
        one, two = MediaEnd(address, 1), MediaEnd(address, 2)
        offer = (await say(engine, said(one, ours), "a")).body
        answer = (await say(engine, said(two, theirs), "b", "a", ANSWER)).body
        for body, numbers in ((offer, ours), (answer, theirs)):
            assert all(line in body.decode() for line in formats(*numbers).splitlines())
            assert body.partition(b" RTP/AVP ")[2].split(b"\r\n")[0].split() == [b"%d" % one for one in numbers]
        for sender, other, port, numbers in ((one, two, port_of(answer), theirs), (two, one, port_of(offer), ours)):
            for packet in stream(*numbers, sender.port):
                sender.send_octets(address, port, packet)
                assert await other.octets() == packet

    with_engine(tmp_path, work)


def test_ipv6_and_ipv4_hear_each_other(tmp_path):
    try:
        one = MediaEnd("::1", 1)
    except OSError:
        pytest.skip("has no IPv6")

    async def work(engine, address):
        two = MediaEnd(address, 2)
        offer = (await say(engine, description(one.host, one.port), "a", for_=Needs(family="IP4"))).body
        answer = (await say(engine, description(two.host, two.port), "b", "a", ANSWER)).body
        assert f"c=IN IP4 {address}\r\n".encode() in offer
        assert b"c=IN IP6 ::1\r\n" in answer
        one.send("::1", port_of(answer))
        assert await two.hears() == 1
        two.send(address, port_of(offer))
        assert await one.hears() == 2

    with_engine(tmp_path, work, ipv6="::1")


def test_when_ports_run_out_the_others_go_on(tmp_path):
    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        assert (await say(engine, description("198.51.100.1", 4000), "x", key="k2", tenant="other")).fault == FULL
        one.send(address, to_two)
        assert await two.hears() == 1
        two.send(address, to_one)
        assert await one.hears() == 2
        await engine.give(MediaOrder("k", DROP))
        async with asyncio.timeout(10):  # it answers some microseconds before it closes the sockets
            while not (await say(engine, description("198.51.100.1", 4000), "x", key="k2")).body:
                pass

    assert with_engine(tmp_path, work, media_ports="40000-40006")["media_full"]


async def _fork(engine: Engine, key: str) -> None:
    """Three branches, of which one answers early, another one for good; held and resumed."""
    for branch in "123":
        await say(engine, description("198.51.100.1", 4000), "a", key=key, branch=branch)
    await say(engine, description("198.51.100.2", 4000), "b", "a", ANSWER, key=key, branch="1")
    await say(engine, description("198.51.100.3", 4000), "c", "a", ANSWER, key=key, branch="2")
    for branch in "13":
        await engine.give(MediaOrder(key, DROP_BRANCH, branch=branch))
    for more in ("a=sendonly", "a=sendrecv"):
        await say(engine, description("198.51.100.1", 4000, more), "a", "c", key=key)
        await say(engine, description("198.51.100.3", 4000), "c", "a", ANSWER, key=key)
    await engine.give(MediaOrder(key, DROP, "a", "c"))


async def _late_offer_and_moves(engine: Engine, key: str) -> None:
    await say(engine, description("198.51.100.2", 4000), "b", "a", key=key, branch="1")
    await say(engine, description("198.51.100.1", 4000), "a", "b", ANSWER, key=key)
    for port in (4002, 4004):
        await say(engine, description("198.51.100.1", port), "a", "b", key=key)
        await say(engine, description("198.51.100.2", port), "b", "a", ANSWER, key=key)
    await engine.give(MediaOrder(key, DROP))


async def _more_media(engine: Engine, key: str) -> None:
    """Video comes and is refused, then fax instead of sound."""
    await say(engine, description("198.51.100.1", 4000), "a", key=key)
    await say(engine, description("198.51.100.2", 4000), "b", "a", ANSWER, key=key)
    video = "m=video 4002 RTP/AVP 96"
    await say(engine, description("198.51.100.1", 4000, video), "a", "b", key=key)
    await say(engine, description("198.51.100.2", 4000, video.replace("4002", "0")), "b", "a", ANSWER, key=key)
    fax = description("198.51.100.1", 4000).replace(b"m=audio 4000 RTP/AVP 0", FAX.encode())
    await say(engine, fax, "a", "b", key=key)
    await say(engine, fax, "b", "a", ANSWER, key=key)
    await engine.give(MediaOrder(key, DROP, "b", "a"))


async def _browsers(engine: Engine, key: str) -> None:
    await say(engine, WEB, "a", key=key, branch="1", for_=FOR_PHONE)
    await say(engine, description("198.51.100.2", 4000), "b", "a", ANSWER, key=key, branch="1")
    await say(engine, description("198.51.100.2", 4002), "b", "a", key=key)
    await say(engine, WEB.replace(b"actpass", b"active"), "a", "b", ANSWER, key=key)
    await engine.give(MediaOrder(key, DROP))
    await say(engine, WEB, "a", key=key, for_=Needs(ice="force-relay"))
    await say(engine, WEB.replace(b"actpass", b"active"), "b", "a", ANSWER, key=key)
    await engine.give(MediaOrder(key, DROP))


async def _never_answered(engine: Engine, key: str) -> None:
    await say(engine, description("198.51.100.1", 4000), "a", key=key, branch="1", for_=FOR_WEB)
    await engine.give(MediaOrder(key, DROP_BRANCH, branch="1"))
    await say(engine, b"v=0\r\nm=nonsense\r\n", "a", key=key)


def test_after_a_thousand_calls_of_all_kinds_nothing_is_left(tmp_path):
    kinds = (_fork, _late_offer_and_moves, _more_media, _browsers, _never_answered)

    async def work(engine, address):
        for number in range(0, 1000, 10):
            await asyncio.gather(*(kinds[one % 5](engine, f"k{one}") for one in range(number, number + 10)))
        for _ in range(50):  # it answers before it has closed the sockets
            if (left := await used(engine)) == ([], 0):
                break
            await asyncio.sleep(0.1)
        assert left == ([], 0)
        assert len(engine.sessions) == engine.sessions.ports == 0

    counters = with_engine(tmp_path, work)
    # On a machine that is too busy it may not have answered in time; that leaves nothing either.
    assert counters["media_engine_silent"] or counters == {"media_description": 200}


def test_a_browser_is_offered_what_it_needs_and_a_phone_what_that_needs(tmp_path):
    async def work(engine, address):
        phone = (await say(engine, WEB, "a", for_=FOR_PHONE)).body
        assert b" RTP/AVP 0" in phone
        assert not any(word in phone for word in (b"a=ice", b"a=candidate", b"a=fingerprint", b"a=rtcp-mux"))
        for by, to, body in (
            ("b", "a", description("198.51.100.2", 4000)),
            ("b", "a", description("198.51.100.2", 4002)),
        ):
            role = ANSWER if body.endswith(b"4000") else OFFER
            web = (await say(engine, body, by, to, role)).body
            assert all(word in web for word in (b"UDP/TLS/RTP/SAVPF", b"a=fingerprint", b"a=candidate", b"a=rtcp-mux"))
            assert b"a=crypto" not in web
        unbridged = (await say(engine, WEB, "a", for_=FOR_PHONE, key="k2")).body
        assert b" RTP/AVP 0" in unbridged
        unbridged = (await say(engine, WEB, "a", for_=FOR_PHONE._replace(profile=""), key="k2")).body
        assert b" UDP/TLS/RTP/SAVPF 0" in unbridged
        again = (await say(engine, WEB + b"a=x:1\r\n", "a", "b")).body
        assert b"a=rtcp-mux" not in again
        assert b" RTP/AVP 0" in again

    with_engine(tmp_path, work)


def test_no_keys_are_logged(tmp_path):
    key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}"

    async def work(engine, address):
        good = description("198.51.100.1", 4000, crypto, profile="RTP/SAVP")
        bad = good.replace(b"AES_CM", b"none"), good.replace(b"c=", b"x="), good + b"m=\r\n", good[:-4] + b"\r\n"
        for number, body in enumerate((good, *bad)):
            await say(engine, body, "a", key=f"k{number}")
        await engine.client.ask({"command": "nonsense", "sdp": crypto})
        assert key not in (tmp_path / "engines" / f"{address}.log").read_text()

    with_engine(tmp_path, work)


def test_the_engine_is_started_again_when_it_dies(tmp_path):
    async def work(engine, address):
        await answered(engine)
        pid = int((tmp_path / "engines" / f"{address}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not engine.ready.is_set())
        assert (await asyncio.wait_for(say(engine, description("198.51.100.1", 4000), "a", key="k2"), 5)).body
        assert sorted(leg.key for leg in engine.sessions) == ["k", "k2"]
        assert len((await used(engine))[0]) == 2

    assert with_engine(tmp_path, work)["media_engine_ended"] == 1


_EDGE = """
import asyncio, sys
from collections import Counter
from pathlib import Path
from edge.media.orders import DESCRIBE, OFFER, MediaOrder
from edge.runtime.engine import Engine
from tests.support.media import alone, answered, description, place, settings

async def main(directory, address):
    keeper, _ = alone(directory, Counter())
    await keeper.open()
    engine = Engine(settings(directory, address), place(address), 1, keeper, Counter())
    running = asyncio.create_task(engine.run())
    *_, to_one, to_two = await answered(engine, int(sys.argv[3]), int(sys.argv[4]))
    await engine.give(MediaOrder("k2", DESCRIBE, "a", body=description("198.51.100.1", 4000), role=OFFER))
    print(to_one, to_two, flush=True)
    await running

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_the_death_of_the_edge_is_not_heard(tmp_path):
    """Its process is killed, and the one that is started anew knows the call, and can end it."""
    address = fresh_base()

    one, two = MediaEnd(address, 1), MediaEnd(address, 2)
    command = [sys.executable, "-c", _EDGE, str(tmp_path), address, str(one.port), str(two.port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as edge:
        assert edge.stdout is not None
        to_one, to_two = map(int, edge.stdout.readline().split())
        edge.kill()

    async def work():
        pid = (tmp_path / "engines" / f"{address}.pid").read_text()
        one.send(address, to_two)
        two.send(address, to_one)
        assert [await one.hears(), await two.hears()] == [2, 1]
        async with running(tmp_path, address) as engine:
            assert (tmp_path / "engines" / f"{address}.pid").read_text() == pid
            assert await used(engine) == (["k"], 4)
            (leg,) = engine.sessions
            assert (leg.key, leg.tenant, leg.began, leg.report, leg.counts) == ("k", "t1", 7, "L1", {"a@x": 5})
            two.send(address, to_one)
            assert await one.hears() == 2
            assert port_of((await say(engine, description(two.host, two.port), "b", "a")).body) == to_two
            await engine.give(MediaOrder("k", DROP, "b", "a"))
            assert await used(engine) == ([], 0)

    asyncio.run(work())
