"""Handing addresses on: all of them when this edge is drained, and a surplus one to an edge that came back for it."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from edge.control.holdings import Holdings
from edge.control.identity import Identity
from edge.control.journal import Journal
from edge.mesh.frames import Offer
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.proxy.stack.events import CoreEvent, Leaving, StreamsEnd
from edge.runtime.addresses import AddressMover
from edge.runtime.follower import Follower
from edge.runtime.inbound import Inbound
from edge.runtime.inquiries import Inquiries
from edge.runtime.media_keeper import MediaKeeper
from edge.runtime.waiting import Waiting
from edge.transport.sockets import Sockets
from lambdas.contract import consent_text

log = logging.getLogger(__name__)

_TAKING = 15.0  # seconds for an edge to take an address
_ENDING = 240.0  # seconds for transactions to end: an INVITE may ring for Timer C
_SETTLED = 4.0  # seconds that an edge must have been linked before an address is given back to it
_LAST_CALLS = 20.0  # seconds for what is under way on streams, which end before the address moves
_LAST_QUESTIONS = 1.0  # seconds for what has been asked to be answered, before an address is offered
_PATIENCE = 2.0  # seconds that messages wait for another edge to take their address


class Draining:
    """At most one address at a time."""

    def __init__(
        self,
        identity: Identity,
        core: Core,
        post: Callable[[CoreEvent], None],
        follower: Follower,
        holdings: Holdings,
        addresses: AddressMover,
        sockets: Sockets,
        mesh: Mesh,
        inbound: Inbound,
        inquiries: Inquiries,
        keeper: MediaKeeper,
        waiting: Waiting,
        journal: Journal,
    ) -> None:
        self._identity = identity
        self._core = core
        self._post = post
        self._follower = follower
        self._holdings = holdings
        self._addresses = addresses
        self._sockets = sockets
        self._mesh = mesh
        self._inbound = inbound
        self._inquiries = inquiries
        self._keeper = keeper
        self._waiting = waiting
        self._journal = journal
        self._busy = asyncio.Lock()
        self._declined: dict[str, asyncio.Future[str]] = {}

    async def run(self) -> None:
        """Give addresses back to edges that ask for them."""
        since: dict[str, float] = {}
        while True:
            await asyncio.sleep(0.5)
            news, now = self._follower.last_news, time.monotonic()
            linked = self._mesh.connected()
            since = {edge: since.get(edge, now) for edge in linked}
            if news is None or self._busy.locked():
                continue
            for edge in news.reply.fleet:
                if edge.held or now - since.get(edge.id, now) < _SETTLED:
                    continue
                address = self._holdings.surplus(edge.wants)
                if address:
                    try:
                        why = await self._hand(address, edge.id)
                    except Exception:
                        log.exception("a fault in giving %s back", address)
                        why = "see above"
                    if why:
                        log.warning("%s isn't given back: %s", address, why)
                        since[edge.id] = now

    async def drain(self) -> AsyncIterator[str]:
        """Hand everything over and wait until nothing is under way; a line for each step. Raises RuntimeError where no
        other edge can take an address: this one then goes on as before."""
        if self._core.stack.partition.processes > 1:
            raise RuntimeError("an edge with workers can't hand its address over: stop it, or set workers = 1")
        self._holdings.leave(True)
        try:
            async for line in self._drain():
                yield line
        except Exception:
            self._holdings.leave(False)
            raise

    async def _drain(self) -> AsyncIterator[str]:
        for address in sorted(self._holdings.held()):
            whys = []
            for edge in self._mesh.connected():
                why = await self._hand(address, edge)
                if not why:
                    yield f"{address} is with edge {edge} now"
                    break
                whys.append(why)
            else:
                raise RuntimeError(f"{address} stays: {'; '.join(whys) or 'no other edge is linked'}")
        end = time.monotonic() + _ENDING
        told = 0
        while time.monotonic() < end:
            left = self._core.unanswered
            if not left and not self._core.stack.questions:
                break
            if left != told:
                told = left
                yield f"{left} requests are under way"
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)  # retransmissions of what was answered last
        await self._journal.delivered(10.0)
        if len(self._journal):
            yield f"{len(self._journal)} reports wait in the journal for the next start"
        yield "drained"

    async def _hand(self, address: str, to: str) -> str:
        """Have edge ``to`` take ``address``; why it didn't, "" if it did."""
        async with self._busy:
            epoch = self._holdings.epoch(address)
            consent = self._identity.key.sign(consent_text(address, epoch, to, self._mesh.boot_of(to)))
            log.info("handing %s over to edge %s", address, to)
            declined = self._declined[address] = asyncio.get_running_loop().create_future()
            try:
                await self._end_streams(address)
                self._waiting.leave(address)
                begun = time.monotonic()
                await self._inquiries.settle(_LAST_QUESTIONS)
                await self._keeper.hand(address, to)
                if not self._mesh.tell(to, Offer(address, epoch, base64.b64encode(consent).decode())):
                    return f"there is no link to edge {to}"
                self._post(Leaving(address, to))
                return await self._taken(address, epoch, to, declined, begun)
            finally:
                self._stop_waiting(address)
                if self._holdings.epoch(address) == epoch:
                    self._addresses.reopen(address)
                del self._declined[address]
                self._post(Leaving(address, ""))

    async def _end_streams(self, address: str) -> None:
        """Phones whose connection ends make another one, and find who takes the address. It has to end while its last
        packet still gets to them: nobody could tell them afterwards."""
        end = time.monotonic() + _LAST_CALLS
        while time.monotonic() < end:
            if not self._sockets.busy(address):
                break
            await asyncio.sleep(0.1)
        self._post(StreamsEnd())
        self._mesh.tell_streams_end(address)
        self._sockets.turn_away(address)
        await self._sockets.finish(address)

    async def _taken(self, address: str, epoch: int, to: str, declined: asyncio.Future[str], begun: float) -> str:
        """Wait for edge ``to`` to take ``address``; its messages wait as well, for a while."""
        for until in (begun + _PATIENCE, begun + _TAKING):
            while (left := until - time.monotonic()) > 0:
                changed = self._follower.next_change()
                if self._holdings.epoch(address) != epoch:
                    self._stop_waiting(address, to)
                    return ""
                either: set[asyncio.Future[Any]] = {declined, changed}
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if declined.done():
                    return f"edge {to} can't take {address}: {declined.result()}"
            self._stop_waiting(address)
        return f"edge {to} hasn't taken {address} within {_TAKING:.0f} s"

    def declined(self, address: str, why: str) -> None:
        """The edge that was to take it says so."""
        future = self._declined.get(address)
        if future is not None and not future.done():
            future.set_result(why)

    def _stop_waiting(self, address: str, to: str = "") -> None:
        """What came meanwhile is for edge ``to``, or for this one."""
        self._waiting.settle(address)
        for flow, data in self._waiting.due():
            if not (to and flow.address == address and self._mesh.pass_on(to, flow, data)):
                self._inbound.deliver(flow, data)
