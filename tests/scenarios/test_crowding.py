"""While more waits in the sockets than can be done, new calls are refused, and nothing else is."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.proxy.stack.events import Received
from edge.runtime.bans import Bans
from edge.runtime.crowding import CROWDED, FULL, Crowding
from edge.runtime.inbound import Inbound
from edge.runtime.shedding import BESIEGED
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.transport.sockets import Listener, Sockets
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.world import DOMAIN, World


class Crowded:
    """A world whose edge's messages come as its sockets bring them, of which so many octets ``wait``."""

    def __init__(self) -> None:
        self.wait = 0
        self.world = World(1)
        node = self.world.nodes["edge-a"]
        handle = node.handle
        trace = cast(Trace, SimpleNamespace(wanted=False))
        crowding = Crowding(lambda: self.wait)
        inbound = Inbound(handle, node.core.stack, Bans(), trace, Waiting(), lambda flow: False, crowding)
        self.shedding = inbound._shedding
        self.shedding.message = lambda flow, data, deliver: deliver(flow, data)
        node.handle = partial(self._handle, handle, inbound)
        self.alice, self.bob = self.world.phone("alice"), self.world.phone("bob")
        assert (self.alice.register(), self.bob.register()) == (200, 200)
        self.counters = node.core.stack.counters

    def _handle(self, handle, inbound, event) -> None:
        if isinstance(event, Received):
            inbound.message(event.flow, event.data)
        else:
            handle(event)


@pytest.fixture
def crowded() -> Crowded:
    return Crowded()


def test_a_new_call_is_refused_and_may_come_again(crowded):
    crowded.wait = CROWDED + 1
    invite = crowded.alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    crowded.alice.send(invite.to_bytes())
    refusal = crowded.world.wait(lambda: crowded.alice.agent.final(invite))
    assert refusal.status == 503
    assert 5 <= int(refusal.get("retry-after")) <= 20
    assert not crowded.bob.agent.requests("INVITE")
    assert crowded.counters["crowded"] == 1
    crowded.alice.ack_refusal(invite, refusal)
    crowded.wait = 0
    answered_call(crowded.world, crowded.alice, crowded.bob)


@pytest.mark.parametrize(("wait", "taken"), [(CROWDED + 1, True), (FULL + 1, False)])
def test_one_that_has_been_challenged_is_refused_later(crowded, wait, taken):
    invite = crowded.alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    crowded.alice.send(invite.to_bytes())
    challenge = crowded.world.wait(lambda: crowded.alice.agent.final(invite))
    crowded.alice.ack_refusal(invite, challenge)
    crowded.wait = wait
    crowded.alice.send(crowded.alice.agent.authorize(invite, challenge).to_bytes())
    crowded.world.run(1)
    assert bool(crowded.bob.agent.requests("INVITE")) is taken


def test_calls_and_registrations_that_there_are_go_on(crowded):
    dialog, called = answered_call(crowded.world, crowded.alice, crowded.bob)
    crowded.wait = FULL + 1
    crowded.bob.agent.received.clear()
    crowded.alice.send(crowded.alice.agent.in_dialog(dialog, "INVITE").to_bytes())
    incoming = crowded.world.wait(lambda: next(iter(crowded.bob.agent.requests("INVITE")), None))
    crowded.bob.send(crowded.bob.agent.response(incoming, 200).to_bytes())
    crowded.world.run(1)
    assert crowded.alice.register() == 200
    hang_up(crowded.world, crowded.alice, dialog, crowded.bob)
    assert crowded.counters["crowded"] == 0


def test_strangers_who_fill_the_sockets_keep_nobody_from_calling(crowded):
    now = 1000.0
    crowded.shedding._clock = lambda: now
    crowded.wait = FULL + 1
    for _ in range(BESIEGED):
        assert not crowded.shedding.besieged()
        crowded.shedding.drop(now)
    answered_call(crowded.world, crowded.alice, crowded.bob)
    now = 1001.9
    assert crowded.shedding.besieged()
    now = 1002.0
    assert not crowded.shedding.besieged()
    assert crowded.counters["crowded"] == 0


def test_what_nobody_has_read_yet_is_known():
    async def run() -> None:
        user = cast(Any, SimpleNamespace(message=lambda *_: None))
        sockets = Sockets(user, lambda *_: None)
        await sockets.open([Listener("udp", "127.0.0.1", 0, "127.0.0.1")])
        ((_, sock),) = sockets._udp.values()
        assert sockets.waiting() == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(50):
                sender.sendto(bytes(1000), sock.getsockname())
        assert sockets.waiting() >= 50_000
        await asyncio.sleep(0.1)
        assert sockets.waiting() == 0
        sockets.close()

    asyncio.run(run())
