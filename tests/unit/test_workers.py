"""What an edge of several processes may be set to, and which of them gets what comes in."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from edge.config import Config
from edge.proxy.core import Core
from edge.proxy.stack.call_counts import ScopeUse, together
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.runtime.handing import Handing
from edge.sip.flow import Flow
from edge.sip.partition import Partition, process_of
from edge.transport import sockets
from edge.transport.sockets import Listener, ListenError, Sockets
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
