"""Orders for media engines: to the one here, or to the edge that holds the address; and answers in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest

from edge.config import Config
from edge.media.orders import DROP, ENGINE, GONE, MediaOrder, MediaReply
from edge.proxy.stack.events import MediaDone, OrderMedia
from edge.runtime import media as media_module
from edge.runtime.media import Media
from tests.support.media import alone, place, settings

HERE, THERE = "203.0.113.11", "203.0.113.12"
ORDER = MediaOrder("k", DROP, "a", "b")


class Mesh:
    """A link to who holds THERE."""

    def __init__(self):
        self.asked = []

    def ask_media(self, ref, address, data):
        self.asked.append((ref, address, MediaOrder.unpack(data)))
        return address == THERE


class Engine:
    """One that answers when it is told to."""

    def __init__(self):
        self.given = []
        self.answer = asyncio.get_running_loop().create_future()

    def give(self, order):
        self.given.append(order)
        return asyncio.ensure_future(self.answer)


def media_of(tmp_path, work):
    """``work`` with an edge that has an engine for HERE."""

    async def run():
        mesh, posted, counters = Mesh(), [], Counter()
        keeper, disk = alone(tmp_path, counters)
        media = Media(settings(tmp_path, HERE), mesh, counters, place, keeper, posted.append)
        engine = Engine()
        media._engines[HERE] = engine
        try:
            await work(SimpleNamespace(media=media, mesh=mesh, engine=engine, posted=posted, counters=counters))
        finally:
            await media.close()
            disk.close()

    asyncio.run(run())


async def turns():
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_engine_here_is_given_what_is_for_its_address(tmp_path):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", HERE, ORDER))
        await turns()
        assert (edge.engine.given, edge.posted) == ([ORDER], [])
        edge.engine.answer.set_result(MediaReply(b"body"))
        await turns()
        assert edge.posted == [MediaDone("r", MediaReply(b"body"))]
        assert edge.mesh.asked == []

    media_of(tmp_path, work)


def test_an_engine_that_takes_too_long_has_failed(tmp_path, monkeypatch):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", HERE, ORDER))
        await asyncio.sleep(0.05)
        assert edge.posted == [MediaDone("r", MediaReply(None, ENGINE))]
        assert not edge.engine.answer.done()  # it goes on with it
        edge.engine.answer.set_result(MediaReply(b"body"))
        await turns()
        assert len(edge.posted) == 1

    monkeypatch.setattr(media_module, "_PATIENCE", 0.01)
    media_of(tmp_path, work)


def test_a_fault_is_answered_all_the_same(tmp_path, caplog):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", HERE, ORDER))
        edge.engine.answer.set_exception(RuntimeError("a fault"))
        await turns()
        assert edge.posted == [MediaDone("r", MediaReply(None, ENGINE))]
        assert edge.counters["errors"] == 1

    media_of(tmp_path, work)
    assert "a fault in carrying out an order" in caplog.text


def test_an_engine_runs_on_while_its_address_is_held(tmp_path):
    """A lease that had run out and is had again has another epoch, and its address may have to be moved here anew."""

    async def work(edge):
        stopped = asyncio.Event()
        edge.engine.stop = lambda: asyncio.sleep(0, stopped.set())
        edge.media._running[HERE] = asyncio.create_task(asyncio.sleep(60))
        edge.media.follow({}, [HERE])
        edge.media.carry_out(OrderMedia("r", HERE, ORDER))
        await turns()
        assert edge.engine.given == [ORDER]
        assert not stopped.is_set()
        edge.media.follow({}, [])
        async with asyncio.timeout(1):
            await stopped.wait()
        edge.media.carry_out(OrderMedia("r", HERE, ORDER))
        assert edge.mesh.asked == [("r", HERE, ORDER)]

    media_of(tmp_path, work)


def test_who_holds_the_address_is_asked_over_the_mesh(tmp_path):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", THERE, ORDER))
        assert edge.mesh.asked == [("r", THERE, ORDER)]
        edge.media.answered_by_peer("r", MediaReply(b"body").pack())
        edge.media.answered_by_peer("r", MediaReply(b"again").pack())
        assert edge.posted == [MediaDone("r", MediaReply(b"body"))]

    media_of(tmp_path, work)


def test_a_peer_that_does_not_answer_is_gone(tmp_path, monkeypatch):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", THERE, ORDER))
        edge.media.carry_out(OrderMedia("", THERE, ORDER))  # nobody waits for that
        await asyncio.sleep(0.05)
        assert edge.posted == [MediaDone("r", MediaReply(None, GONE))]

    monkeypatch.setattr(media_module, "_PATIENCE", 0.01)
    media_of(tmp_path, work)


@pytest.mark.parametrize("data", [b"", b"{", b"[]"])
def test_an_answer_that_can_not_be_read_is_none(tmp_path, data):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", THERE, ORDER))
        edge.media.answered_by_peer("r", data)
        assert edge.posted == [MediaDone("r", MediaReply(None, GONE))]

    media_of(tmp_path, work)


def test_an_address_that_nobody_holds(tmp_path):
    async def work(edge):
        edge.media.carry_out(OrderMedia("r", "203.0.113.99", ORDER))
        edge.media.carry_out(OrderMedia("", "203.0.113.99", ORDER))
        assert edge.posted == [MediaDone("r", MediaReply(None, GONE))]
        assert edge.counters["media_unreachable"] == 2

    media_of(tmp_path, work)


def test_a_peers_order(tmp_path):
    async def work(edge):
        answers = []
        edge.media.for_peer(HERE, b"{", answers.append)
        assert (answers, edge.counters["unreadable_media_orders"]) == ([], 1)
        edge.media.for_peer(THERE, ORDER.pack(), answers.append)  # it isn't here any more
        assert [MediaReply.unpack(answer) for answer in answers] == [MediaReply(None, GONE)]
        edge.media.for_peer(HERE, ORDER.pack(), answers.append)
        edge.engine.answer.set_result(MediaReply(b"body"))
        await turns()
        assert edge.engine.given == [ORDER]
        assert MediaReply.unpack(answers[-1]) == MediaReply(b"body")
        assert edge.posted == edge.mesh.asked == []

    media_of(tmp_path, work)


@pytest.mark.parametrize(
    ("setting", "there", "state"),
    [("off", True, "off"), ("rtpengine", True, "on"), ("rtpengine", False, "off: rtpengine isn't installed")],
)
def test_without_the_program_it_is_off_and_says_so(tmp_path, monkeypatch, caplog, setting, there, state):
    monkeypatch.setattr(media_module, "installed", lambda: there)
    keeper, disk = alone(tmp_path, Counter())
    media = Media(settings(tmp_path, HERE, media=setting), Mesh(), Counter(), place, keeper, [].append)
    media.follow({HERE: 1} if not media.on else {}, [])
    disk.close()
    assert (media.on, media.state) == (state == "on", state)
    assert media.sizes()["media_engines"] == 0
    assert ("isn't installed" in caplog.text) == (not there)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("media_ports", "30000"),
        ("media_ports", "39999-30000"),
        ("media_ports", "80-90"),
        ("media_ports", "60000-70000"),
        ("media_interface", "eth0"),
        ("media_interface", "10.0.0.5!203.0.113.11!x"),
        ("media", "on"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, key, value):
    with pytest.raises(ValueError, match=key):
        settings(tmp_path, HERE, **{key: value})


def test_where_media_are_on_the_machine():
    assert place("10.0.0.5").interfaces() == ["media/10.0.0.5"]
    moved = place(HERE)._replace(host="10.0.0.5", address6="2001:db8::11", host6="2001:db8::11")
    assert moved.interfaces() == ["media/10.0.0.5!203.0.113.11", "media/2001:db8::11"]


def test_the_range_of_ports(tmp_path):
    assert settings(tmp_path, HERE).media_range == (40000, 40999)
    assert Config.model_fields["media_ports"].default == "30000-39999"
