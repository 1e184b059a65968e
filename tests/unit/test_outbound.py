"""What is sent from an address that is on its way here waits for it; nothing fails in the meantime."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from edge.proxy.core import Core
from edge.proxy.stack.events import FleetChanged, Send, SendFailed
from edge.runtime.outbound import Outbound
from edge.sip.flow import Flow
from edge.transport.server_trust import ServerTrust
from tests.support.world import CountedIds, World

HERE, COMING = "203.0.113.11", "203.0.113.12"
FLOW = Flow(COMING, 5060, "udp", "198.51.100.7", 4000)


class Sockets:
    def __init__(self):
        self.sent = []

    def send(self, flow, data, until=0.0):
        self.sent.append((flow, data))
        return True


class Mesh:
    """No link to anybody."""

    def __init__(self):
        self.asked = []

    def send(self, flow, data, ref, ca=""):
        self.asked.append(flow)
        return False


class Follower:
    def __init__(self):
        self.watchers = []

    def next_change(self):
        self.watchers.append(asyncio.get_running_loop().create_future())
        return self.watchers[-1]

    def change(self):
        self.watchers.pop().set_result(None)


def nobody(posted):
    """The workers of an edge that has none."""
    return SimpleNamespace(failed=lambda ref: posted.append(SendFailed(ref)))


def moving(work, turns=1):
    """``work`` with an edge that has the lease on COMING, whose packets don't arrive yet."""

    async def run():
        core = Core("edge-a", "b1", CountedIds("x"))
        world = World()
        fleet = replace(world.fleet(world.nodes["edge-a"]), arriving=frozenset((COMING,)))
        core.handle(FleetChanged(fleet), 0.0)
        sockets, follower, posted, trust = Sockets(), Follower(), [], ServerTrust()
        addresses = SimpleNamespace(over=lambda address: False)
        outbound = Outbound(
            core, posted.append, addresses, follower, sockets, Mesh(), None, trust, None, nobody(posted), None,
            SimpleNamespace(wanted=False),
        )  # fmt: skip
        outbound.carry_out(Send(FLOW, b"one", "ref one"))
        outbound.carry_out(Send(FLOW, b"one", "ref one"))  # sent again meanwhile
        outbound.carry_out(Send(FLOW, b"two", ""))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert sockets.sent == posted == []
        await work(core, fleet, follower, sockets, posted)

    asyncio.run(run())


async def turn():
    for _ in range(3):
        await asyncio.sleep(0)


def test_it_is_sent_once_the_address_is_here():
    async def work(core, fleet, follower, sockets, posted):
        follower.change()  # news of something else
        await turn()
        assert sockets.sent == []
        core.handle(FleetChanged(replace(fleet, epochs={HERE: 1, COMING: 5}, arriving=frozenset())), 1.0)
        follower.change()
        await turn()
        assert sockets.sent == [(FLOW, b"one"), (FLOW, b"two")]
        assert posted == []

    moving(work)


def test_it_fails_where_the_address_does_not_come_after_all():
    async def work(core, fleet, follower, sockets, posted):
        core.handle(FleetChanged(replace(fleet, arriving=frozenset())), 1.0)
        follower.change()
        await turn()
        assert sockets.sent == []
        assert posted == [SendFailed("ref one")]

    moving(work)


def test_a_change_right_after_it_began_to_wait_is_not_missed():
    async def work(core, fleet, follower, sockets, posted):
        core.handle(FleetChanged(replace(fleet, epochs={HERE: 1, COMING: 5}, arriving=frozenset())), 1.0)
        follower.change()
        await turn()
        assert len(sockets.sent) == 2

    moving(work, turns=0)


def test_a_fault_in_sending_one_is_not_the_others():
    async def work(core, fleet, follower, sockets, posted):
        send = sockets.send
        faults = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))

        def fail_once(flow, data, until=0.0):
            if not faults:
                raise OSError("no buffer")
            return send(flow, data, until)

        sockets.send = fail_once
        core.handle(FleetChanged(replace(fleet, epochs={HERE: 1, COMING: 5}, arriving=frozenset())), 1.0)
        follower.change()
        await turn()
        assert len(faults) == 1
        assert sockets.sent == [(FLOW, b"two")]

    moving(work)


@pytest.mark.parametrize(
    ("server", "spoken", "asked"), [("", 8, 1), ("sip.example.net", 8, 0), ("sip.example.net", 9, 1)]
)
def test_an_edge_of_before_is_not_asked_to_go_to_a_named_server(server, spoken, asked):
    """It would close the link on a flow that it can't read, and with that everybody's calls."""
    world, mesh, posted = World(), Mesh(), []
    core = Core("edge-a", "b1", CountedIds("x"))
    core.handle(FleetChanged(replace(world.fleet(world.nodes["edge-a"]), spoken=spoken)), 0.0)
    outbound = Outbound(
        core, posted.append, SimpleNamespace(over=lambda address: False), None, Sockets(), mesh, None,
        ServerTrust(), None, nobody(posted), None, SimpleNamespace(wanted=False),
    )  # fmt: skip
    outbound.carry_out(Send(Flow("203.0.113.12", 5061, "tls", "198.51.100.7", 5061, 0, server), b"one", "ref one"))
    assert len(mesh.asked) == asked
    assert posted == [SendFailed("ref one")]
