"""What an edge of several processes may be set to, and which of them gets what comes in."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from edge.config import Config
from edge.control.store import StateStore
from edge.proxy.core import Core
from edge.proxy.stack.call_counts import ScopeUse, together
from edge.proxy.stack.events import Fed, SendFailed
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.runtime.handing import Handing
from edge.runtime.worker_link import ForDisk, Handle, Remember, TellKept, whole
from edge.runtime.workers import Workers
from edge.sip.flow import Flow
from edge.sip.partition import Partition, process_of
from edge.transport import sockets
from edge.transport.sockets import Listener, ListenError, Sockets
from edge.transport.streams import StreamLimits
from lambdas.contract import Change
from tests.support.world import CountedIds

HERE = "203.0.113.11"
VALUES = {
    "id": "edge-a",
    "address": HERE,
    "listen": [f"udp://{HERE}:5060"],
    "mesh": f"{HERE}:5070",
    "control": ["http://203.0.113.30:8080"],
    "key_file": "edge-a.key",
}
MINE, OTHERS = (next(f"192.0.2.{n}" for n in range(1, 99) if process_of(f"192.0.2.{n}", 2) == at) for at in (1, 0))


def test_one_process_is_the_default():
    assert Config(**VALUES).workers == 1
    assert Config(**VALUES, workers=4).workers == 4


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"takeover": "hook", "takeover_hook": "/bin/true"}, "takeover"),
        ({"media": "rtpengine"}, "media"),
        ({"certificate": "acme"}, "certificate"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(settings, key):
    with pytest.raises(ValidationError, match=f"workers: with 2 of them {key} can only be"):
        Config(**VALUES, workers=2, **settings)
    Config(**VALUES, **settings)


def test_processes_share_what_all_sources_have_together():
    whole = StreamLimits()
    assert whole.shared(1) == whole
    half = whole.shared(2)
    assert (half.streams, half.unproven, half.of_source) == (10_000, 2_000, whole.of_source)
    assert half.handshakes_per_second == whole.handshakes_per_second / 2


def test_what_processes_have_counted_is_one_edges():
    uses = [ScopeUse(1, 2, 3, 0.5, 10, 1.0, 100.0), ScopeUse(2, 0, 1, 0.25, 12, 1.5, 200.0)]
    assert together(uses) == ScopeUse(3, 2, 4, 0.75, 12, 1.5, 200.0)


@pytest.fixture
def taken():
    """(who took it, data) of what comes in at process 1 of 2."""
    return []


@pytest.fixture
def handing(taken):
    core = Core("edge-a", "b1", CountedIds("x"), partition=Partition(1, 2))
    core.stack.note_providers(ProviderAddresses({MINE: frozenset(("t1",))}, {}))
    inbound = SimpleNamespace(
        message=lambda flow, data: taken.append((1, data)), closed=None, kept=None, may_answer=None, proven=None
    )

    def hand(process, flow, data):
        taken.append((process, data))
        return True

    return Handing(inbound, core.stack, hand)


@pytest.mark.parametrize(
    ("host", "connection", "data", "process"),
    [
        (OTHERS, 0, b"INVITE", 0),
        (OTHERS, 7, b"INVITE", 1),  # on a connection that was accepted here
        (MINE, 0, b"INVITE", 0),  # a provider's: its accounts are known there
        (MINE, 0, b"sip/2.0 200 OK", 1),
        (HERE, 0, b"INVITE", 1),  # from ourselves
    ],
)
def test_what_comes_in_is_for_the_process_that_has_its_source(handing, taken, host, connection, data, process):
    transport = "tcp" if connection else "udp"
    handing.message(Flow(HERE, 5060, transport, host, 5060, connection), data)
    assert taken == [(process, data)]


def test_a_port_that_somebody_has_is_waited_for_and_then_refused(monkeypatch):
    """Sockets that share ports would join those of another program of the same user."""
    monkeypatch.setattr(sockets, "_LET_GO", 0.2)

    async def run():
        opened = Sockets(SimpleNamespace(message=None), None, partition=Partition(0, 2))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            listener = Listener("udp", "127.0.0.1", other.getsockname()[1], "127.0.0.1")
            with pytest.raises(ListenError, match="Address already in use"):
                await opened.open([listener])
            asyncio.get_running_loop().call_later(0.1, other.close)
            await opened.open([listener])
        assert [len(others) for others in opened.for_others] == [1]
        opened.close()

    asyncio.run(run())


class Link:
    """A worker that does what it is asked, unless it is ``deaf``."""

    def __init__(self, workers):
        self.workers = workers
        self.sent = []
        self.deaf = False

    def send(self, frame):
        self.sent.append(frame)
        if isinstance(frame, TellKept) and not self.deaf:
            self.workers._take(1, ForDisk([("alice@example.com", b"record")], [("call", b"route")]))


@pytest.fixture
def holder(tmp_path):
    """The holder's side of a worker, with its store, and what it posts."""
    store, posted = StateStore(tmp_path / "kept.sqlite", b"k" * 32), []
    core = Core("edge-a", "b1", CountedIds("x"), partition=Partition(0, 2))
    nothing = SimpleNamespace()
    workers = Workers(Config(**VALUES, workers=2), core, posted.append, nothing, store, nothing, nothing, lambda: None)
    (worker,) = workers._workers
    worker.link, worker.boot = Link(workers), "b2"
    yield workers, worker, store, posted
    store.close()


def told(worker):
    return [whole(frame.event) for frame in worker.link.sent if isinstance(frame, Handle)]


def test_a_revocation_counts_as_heard_once_it_is_on_the_disk(holder, monkeypatch):
    monkeypatch.setattr("edge.runtime.workers._KEEPING", 0.05)
    workers, worker, store, posted = holder
    revoked = Fed([Change(version=2, aor="alice@example.com")], False)

    async def run():
        workers.fed(revoked)
        assert told(worker) == posted == [revoked]
        link, worker.link.deaf = worker.link, True
        assert not await workers.keep()
        worker.link = None  # it has died
        assert not await workers.keep()
        assert workers._fed == [revoked]  # for whoever is started in its place
        worker.link, link.deaf = link, False
        assert await workers.keep()
        assert workers._fed == []

    asyncio.run(run())
    assert store.load("record.1") == [("alice@example.com", b"record")]
    assert store.load("route") == [("call", b"route")]
    assert workers.leftover() == []


def test_records_of_processes_that_are_no_more_are_found(holder):
    workers, worker, store, _ = holder
    store.keep("record.3", [("bob@example.com", b"record")])
    assert workers.leftover() == [("record.3", ["bob@example.com"])]
    asyncio.run(workers.recall(worker.link))
    assert Remember([("bob@example.com", b"record")], [], True) in worker.link.sent


@pytest.mark.parametrize(("boot", "process"), [("b1", 0), ("b2", 1), ("b0", 0)])
def test_a_failure_goes_to_the_process_whose_transaction_it_is(holder, boot, process):
    workers, worker, _, posted = holder
    failed = SendFailed(f"z9hG4bKedge-a.{boot}.x INVITE")
    workers.failed(failed.ref)
    assert (posted, told(worker)) == (([], [failed]) if process else ([failed], []))


def test_what_a_peer_wanted_sent_on_a_workers_stream_comes_back_if_it_is_lost(holder):
    workers, worker, _, posted = holder
    lost = []
    flow = Flow(HERE, 5060, "tcp", "192.0.2.1", 4711, 7)
    workers.send_for_peer(flow, b"INVITE", lambda: lost.append(1))
    (send,) = told(worker)
    assert (send.flow, send.data, lost) == (flow, b"INVITE", [])
    workers.failed(send.ref)
    worker.link = None
    workers.send_for_peer(flow, b"INVITE", lambda: lost.append(2))
    assert (lost, posted) == ([1, 2], [])
