"""With the driver "l2" only the clock keeps two holders apart: it is asked right before each send."""

from __future__ import annotations

import asyncio
import time

from edge.control import drivers
from edge.control.holdings import Holdings
from edge.runtime.addresses import AddressMover, served_here
from lambdas.contract import HeartbeatReply, HeldAddress
from tests.support.pace import slowness

X = "203.0.113.11"


class Config:
    id, address, takeover, takeover_interface, takeover_device = "edge-a", X, "l2", "wan", ""
    listens = spare_listens = ()


class NoSockets:
    async def open(self, places):
        pass

    def stop_accepting(self, address):
        pass

    def leave(self, address):
        pass

    def listens(self, address):
        return True


def reply():
    return HeartbeatReply(
        version=2,
        held=[HeldAddress(address=X, epoch=5, seconds=10)],
        fleet=[],
        addresses=[X],
        keys=[],
        domains_version="",
    )


def holding(monkeypatch, sent_at):
    """The address here, by a heartbeat that had left at ``sent_at``; what is set when it is there, and when it is gone."""
    here, gone = asyncio.Event(), asyncio.Event()

    async def add(address, interface):
        return True

    async def remove(address, interface):
        gone.set()

    monkeypatch.setattr(drivers, "add_to_interface", add)
    monkeypatch.setattr(drivers, "remove_from_interface", remove)
    holdings, sockets = Holdings(X, "", "l2", []), NoSockets()
    addresses = AddressMover(Config, holdings, sockets, lambda address, epoch: here.set(), lambda: None)
    addresses.follow(holdings.learn(reply(), sent_at, sent_at))
    return addresses, lambda: served_here(holdings, sockets, sent_at), here, gone


def test_a_stopped_process_sends_nothing_more_once_it_wakes_up(monkeypatch):
    async def run():
        now = time.monotonic()
        addresses, served, here, gone = holding(monkeypatch, now)
        await here.wait()
        assert not addresses.over(X)
        monkeypatch.setattr(time, "monotonic", lambda: now + 9.01)  # the loop hasn't had its turn yet
        assert addresses.over(X)
        assert not addresses.over("203.0.113.99")  # another edge's: sent by it
        assert served() == {}
        await gone.wait()
        await addresses.close()

    asyncio.run(run())


def test_the_deadline_is_kept_without_a_heartbeat(monkeypatch):
    async def run():
        now = time.monotonic() - 8.9  # when the last heartbeat that was answered had left
        addresses, served, here, gone = holding(monkeypatch, now)
        await here.wait()
        await asyncio.wait_for(gone.wait(), 5)
        assert 0 <= time.monotonic() - (now + 9) < 1 * slowness()
        await addresses.close()

    asyncio.run(run())
