"""One engine: kept running while its address is here, and given orders."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from ipaddress import ip_address

from edge.config import Config
from edge.media import ng
from edge.media.orders import DROP_BRANCH, ENGINE, MediaOrder, MediaReply
from edge.media.quality import count
from edge.media.sessions import MediaLeg, Sessions
from edge.runtime.engine_process import NG_HOST, EnginePlace, EngineProcess
from edge.runtime.media_keeper import MediaKeeper
from edge.runtime.ng_client import NgClient

log = logging.getLogger(__name__)

_STARTING = 10.0  # seconds for it to answer
_REST = 0.2  # seconds before it is started again
_LATER = 5.0  # seconds before that is tried again which this machine doesn't allow


class Engine:
    """``sessions`` are its; ``ready`` while it takes orders, since the Unix time ``since``."""

    def __init__(
        self, config: Config, place: EnginePlace, epoch: int, keeper: MediaKeeper, counters: Counter[str]
    ) -> None:
        low, high = config.media_range
        self.sessions = Sessions(high - low + 1, ip_address(place.host).is_loopback)
        self.ready = asyncio.Event()
        self.since = time.time()
        self.client = NgClient()
        self.address = place.address
        self._epoch = epoch
        self._keeper = keeper
        self._process = EngineProcess(config, place, keeper.redis(place.address))
        self._counters = counters
        self._orders: dict[str, asyncio.Task[MediaReply]] = {}  # the last one of each key

    async def run(self) -> None:
        """Keep it running until cancelled; it runs on then."""
        adopted = await self._keeper.gather(self.address, self._epoch) and await self._adopt()
        try:
            while True:
                try:
                    if adopted or await self._start():
                        if not await self._keeper.restored(self.address, self._process.port(), adopted):
                            await asyncio.sleep(_REST)
                            continue
                        adopted = False
                        await self.find()
                        self.since = time.time()
                        self.ready.set()
                        await self._process.ended()
                    log.error("the media engine of %s has ended; starting it again", self.address)
                    self._counters["media_engine_ended"] += 1
                except OSError as error:
                    log.error("the media engine of %s can't be started: %s", self.address, error)
                    await asyncio.sleep(_LATER)
                self.ready.clear()
                await asyncio.sleep(_REST)
        finally:
            self.ready.clear()
            self.client.close()

    async def stop(self) -> None:
        """End it: its address isn't here any more."""
        try:
            await self._process.stop()
        except OSError as error:
            log.error("the media engine of %s can't be stopped: %s", self.address, error)

    async def _adopt(self) -> bool:
        """Whether one runs already, as it should: an edge's process is started anew, and calls go on."""
        port = self._process.port()
        if not port:
            return False
        await self.client.open(NG_HOST, port)
        return await self.client.ask(ng.PING) is not None

    async def _start(self) -> bool:
        await self.client.open(NG_HOST, await self._process.start())
        end = time.monotonic() + _STARTING
        while time.monotonic() < end and not self._process.failed:
            if await self.client.ask(ng.PING) is not None:
                return True
        return False

    async def find(self) -> None:
        """What it has of sessions, where this process doesn't know. One that nobody has answered belonged to a call
        that died with the process."""
        answer = await self.client.ask(ng.LIST) or {}
        calls = answer.get("calls", [])
        for call in self.sessions.unknown(calls if isinstance(calls, list) else []):
            found = await self.client.ask(ng.query(call))
            if found is not None and not self.sessions.found(call, found):
                await self.client.ask(ng.delete(call))

    # Orders

    def give(self, order: MediaOrder) -> asyncio.Task[MediaReply]:
        """Carry ``order`` out, after those of its key that were given before."""
        task = asyncio.create_task(self._carry_out(order, self._orders.get(order.key)))
        self._orders[order.key] = task
        task.add_done_callback(lambda done: self._orders.get(order.key) is done and self._orders.pop(order.key))
        return task

    async def forget(self, leg: MediaLeg) -> None:
        """Of ``leg`` nothing is heard, and no call is known."""
        self._counters["media_sessions_forgotten"] += 1
        await self.give(MediaOrder(leg.key, DROP_BRANCH, branch=leg.branch))

    async def _carry_out(self, order: MediaOrder, before: asyncio.Task[MediaReply] | None) -> MediaReply:
        if before is not None:
            await asyncio.wait([before])
        await self.ready.wait()
        work = self.sessions.take(order, time.time())
        answers = []
        for command in work.commands:
            answer = await self.client.ask(command)
            if answer is None:
                self._counters["media_engine_silent"] += 1
                break
            answers.append(answer)
        reply = self.sessions.took(work, order, answers)
        for side in reply.quality:
            count(side, self._counters)
        if work.leg is not None and not self.sessions.has(work.leg):
            await self.client.ask(ng.delete(work.leg.call))  # it may have begun it, and nobody knows
        if reply.fault:
            self._counters[f"media_{reply.fault}"] += 1
            if reply.fault == ENGINE and answers:
                log.error("the media engine of %s: %s", self.address, answers[-1].get("error-reason"))
        return reply
