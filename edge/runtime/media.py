"""The media engines of the addresses held here, and orders to those of others."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping

from edge.config import Config
from edge.media.orders import ENGINE, GONE, MediaOrder, MediaReply
from edge.media.sessions import MediaLeg
from edge.mesh.peers import Mesh
from edge.proxy.stack.events import CoreEvent, MediaDone, MediaSilent, OrderMedia
from edge.runtime.engine import Engine
from edge.runtime.engine_process import PROGRAM, EnginePlace, installed
from edge.runtime.media_keeper import MediaKeeper
from edge.runtime.media_watch import MediaWatch

log = logging.getLogger(__name__)

_PATIENCE = 1.9  # seconds after which an order has failed; the core waits 2 s


class Media:
    """``on``: whether there are engines, ``state`` the same for people. ``place`` tells where an address is on this
    machine."""

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        counters: Counter[str],
        place: Callable[[str], EnginePlace | None],
        keeper: MediaKeeper,
        post: Callable[[CoreEvent], None],
    ) -> None:
        self._config = config
        self._mesh = mesh
        self._counters = counters
        self._place = place
        self._keeper = keeper
        self._post = post
        self._engines: dict[str, Engine] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on = config.media == PROGRAM and installed()
        self.state = "on" if self.on else "off"
        if config.media == PROGRAM and not self.on:
            self.state = f"off: {PROGRAM} isn't installed"
            log.warning('%s isn\'t installed: no media are relayed, as with media = "off"', PROGRAM)

    def follow(self, served: Mapping[str, int], held: Collection[str]) -> None:
        """The addresses in ``served`` are here now, in these epochs. One in ``held`` that was here may be on its way in
        another epoch, since the lease had run out for a while: its engine runs on."""
        if not self.on:
            return
        for address in [address for address in self._engines if address not in served and address not in held]:
            engine, running = self._engines.pop(address), self._running.pop(address)
            self._keeper.lost(address)
            running.cancel()
            self._later(self._stop(engine, running))
        for address, epoch in served.items():
            place = self._place(address)
            if place is None or (address in self._engines and self._keeper.renew(address, epoch)):
                continue
            if address in self._running:
                self._running.pop(address).cancel()  # another edge had it meanwhile: what this engine has is old
            engine = self._engines[address] = Engine(self._config, place, epoch, self._keeper, self._counters)
            self._running[address] = asyncio.create_task(self._run(engine))

    async def _run(self, engine: Engine) -> None:
        watch = asyncio.create_task(MediaWatch(engine, self._config.media_silence, self._silent).run())
        try:
            await engine.run()
        finally:
            watch.cancel()

    def _silent(self, leg: MediaLeg) -> None:
        self._post(MediaSilent(leg.tenant, leg.report, leg.began, self._config.media_silence))

    async def _stop(self, engine: Engine, running: asyncio.Task[None]) -> None:
        await asyncio.wait([running])
        await engine.stop()

    # Orders

    def carry_out(self, action: OrderMedia) -> None:
        """Give it to the engine here, or to the edge that holds the address."""
        ref, address, order = action
        engine = self._engines.get(address)
        if engine is not None:
            self._later(self._give(engine, order, lambda reply: self._done(ref, reply)))
        elif not self._mesh.ask_media(ref, address, order.pack()):
            self._counters["media_unreachable"] += 1
            self._done(ref, MediaReply(None, GONE))
        elif ref:
            later = asyncio.get_running_loop().call_later
            self._asked[ref] = later(_PATIENCE, self._answered, ref, MediaReply(None, GONE))

    async def _give(self, engine: Engine, order: MediaOrder, done: Callable[[MediaReply], None]) -> None:
        """It may take longer than whoever asked can wait, and is carried out all the same."""
        task, reply = engine.give(order), MediaReply(None, ENGINE)
        await asyncio.wait([task], timeout=_PATIENCE)
        try:
            if task.done():
                reply = task.result()
        except Exception:
            self._counters["errors"] += 1
            log.exception("a fault in carrying out an order")
        done(reply)

    def _done(self, ref: str, reply: MediaReply) -> None:
        if ref:
            self._post(MediaDone(ref, reply))

    def for_peer(self, address: str, data: bytes, answer: Callable[[bytes], None]) -> None:
        """A peer's order; ``answer`` gets what has become of it."""
        engine = self._engines.get(address)
        try:
            order = MediaOrder.unpack(data)
        except ValueError:
            self._counters["unreadable_media_orders"] += 1
            return
        if engine is None:
            answer(MediaReply(None, GONE).pack())
        else:
            self._later(self._give(engine, order, lambda reply: answer(reply.pack())))

    def answered_by_peer(self, ref: str, data: bytes) -> None:
        try:
            reply = MediaReply.unpack(data)
        except ValueError:
            reply = MediaReply(None, GONE)
        self._answered(ref, reply)

    def _answered(self, ref: str, reply: MediaReply) -> None:
        timer = self._asked.pop(ref, None)
        if timer is not None:
            timer.cancel()
            self._done(ref, reply)

    # What there is

    @property
    def ready(self) -> bool:
        """Whether the engine of each address takes orders."""
        return all(engine.ready.is_set() for engine in self._engines.values())

    def sizes(self) -> dict[str, int]:
        """How many engines, sessions and ports there are."""
        sessions = [engine.sessions for engine in self._engines.values()]
        return {
            "media_engines": sum(engine.ready.is_set() for engine in self._engines.values()),
            "media_sessions": sum(len(of) for of in sessions),
            "media_ports": sum(of.ports for of in sessions),
            "media_ports_possible": sum(of.capacity for of in sessions),
            **self._keeper.sizes(),
        }

    async def close(self) -> None:
        """The engines run on."""
        tasks = [*self._running.values(), *self._tasks]
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for timer in self._asked.values():
            timer.cancel()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
