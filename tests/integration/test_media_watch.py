"""What an edge hears of its calls through a real rtpengine: their quality, their silence, and the echo."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest

from edge.media.ghosts import LOOK
from edge.media.orders import ANSWER, DESCRIBE, DROP, OFFER, MediaOrder, SideQuality
from edge.media.sessions import LINE_PORTS, Sessions
from edge.proxy.echo.mirror import mirrored
from edge.runtime.media_watch import IN_A_ROW, PAUSE, MediaWatch
from tests.support.fleets import fresh_base
from tests.support.media import MediaEnd, answered, description, port_of, running, used

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("rtpengine") is None, reason="rtpengine isn't installed"),
]


def with_engine(tmp_path, work):
    address = fresh_base()

    async def run():
        async with running(tmp_path, address) as engine:
            await work(engine, address)

    asyncio.run(run())


async def echo(engine, address, by="a", **more):
    """A call of phone ``by`` with whoever answers as the echo number does: its end of media, and where it sends."""
    end = MediaEnd(address, 7)
    call = MediaOrder("k", DESCRIBE, by, tenant="t1", began=7)
    offer = await engine.give(call._replace(body=description(address, end.port), role=OFFER))
    body = mirrored(offer.body, 1, 1)
    answer = await engine.give(call._replace(by="echo", to=by, body=body, role=ANSWER, leg="L1", **more))
    return end, port_of(answer.body)


def test_who_calls_the_echo_hears_himself(tmp_path):
    async def work(engine, address):
        end, port = await echo(engine, address)
        for _ in range(40):
            end.send(address, port)
            assert await end.hears() == 7
        stranger = MediaEnd(address, 9)
        stranger.send(address, port)
        assert await end.hears(0.2) == 0

    with_engine(tmp_path, work)


def test_a_dialogs_end_tells_how_well_each_side_has_heard(tmp_path):
    async def work(engine, address):
        one, two, to_one, to_two = await answered(engine)
        for _ in range(5):
            one.send(address, to_two)
            assert await two.hears() == 1
        two.send(address, to_one)
        assert await one.hears() == 2
        reply = await engine.give(MediaOrder("k", DROP, "b", "a"))
        assert reply.quality == (SideQuality(1, 0.0), SideQuality(5, 0.0))
        assert (await engine.give(MediaOrder("k", DROP, "b", "a"))).quality == ()

    with_engine(tmp_path, work)


def test_a_silent_call_is_told_of_once(tmp_path):
    lost = []

    async def work(engine, address):
        one, _, _, to_two = await answered(engine)
        one.send(address, to_two)
        watch = MediaWatch(engine, 60.0, lambda leg: lost.append((leg.tenant, leg.began, leg.report)))
        await watch.look()
        assert not lost
        impatient = MediaWatch(engine, 0.0, lambda leg: lost.append((leg.tenant, leg.began, leg.report)))
        await impatient.look()
        await impatient.look()
        assert lost == [("t1", 7, "L1")]

    with_engine(tmp_path, work)


def test_an_early_session_that_is_found_is_kept_as_long_as_something_is_heard(tmp_path):
    """Its edge's process has ended before anybody answered, or has said nothing new by answering: nobody knows which."""
    lost = []

    async def work(engine, address):
        one, two = MediaEnd(address, 1), MediaEnd(address, 2)
        call = MediaOrder("k", DESCRIBE, "a", tenant="t1", began=7)
        await engine.give(call._replace(body=description(address, one.port), role=OFFER))
        await engine.give(call._replace(by="b", to="a", body=description(address, two.port), role=ANSWER))
        watch, impatient = (MediaWatch(engine, patience, lost.append) for patience in (60.0, 0.0))
        await impatient.look()
        assert await used(engine) == (["k"], 4), "its own process knows when it is over"
        engine.sessions = Sessions(1000, near=True)
        await engine.find()
        await watch.look()
        assert await used(engine) == (["k"], 4)
        await impatient.look()
        assert await used(engine) == ([], 0)
        assert len(engine.sessions) == 0
        assert not lost

    with_engine(tmp_path, work)


def test_a_look_at_many_calls_is_cheap_and_leaves_pauses(tmp_path, monkeypatch):
    calls, paused = 200, []

    async def pause(seconds):
        paused.append((seconds, asked))

    async def work(engine, address):
        nonlocal asked
        for number in range(calls):
            call = MediaOrder(f"k{number}", DESCRIBE, "a", body=description("198.51.100.1", 4000), role=OFFER)
            await engine.give(call)
            await engine.give(call._replace(by="b", to="a", role=ANSWER, leg=f"L{number}"))
        ask = engine.client.ask

        def counted(command):
            nonlocal asked
            asked += 1
            return ask(command)

        monkeypatch.setattr(engine.client, "ask", counted)
        watch = MediaWatch(engine, 60.0, lambda leg: None)
        monkeypatch.setattr("edge.runtime.media_watch.asyncio.sleep", pause)
        begun = time.process_time()
        await watch.look()
        cost = (time.process_time() - begun) / calls
        monkeypatch.undo()
        print(f"{1000 * cost:.2f} ms of CPU for each call")
        assert asked == calls
        assert paused == [(PAUSE, row * IN_A_ROW) for row in range(1, calls // IN_A_ROW)]
        assert cost < 0.001
        assert 10_000 / LINE_PORTS / IN_A_ROW * PAUSE < LOOK

    asked = 0
    with_engine(tmp_path, work)
