"""Looks at the sessions of one engine now and then: how well their ends hear each other, and whether they are there.

No command of rtpengine 10.5.3.5 tells of all calls at once: each is asked about by itself, and costs the edge and the
engine 0.1 to 0.15 ms each. So that neither is kept from its work, a few are asked about in a row, and then none for a
while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edge.media import ng
from edge.media.ghosts import LOOK, is_silent, is_unheard
from edge.media.sessions import MediaLeg
from edge.runtime.engine import Engine

IN_A_ROW = 20
PAUSE = 0.1
"""Seconds between such rows: 200 calls a second, so that all calls that an address has ports for are seen in 13 s."""


class MediaWatch:
    """``lost`` gets each answered call in which nothing was heard for ``patience`` seconds, once. Sessions that nobody
    knows to be a call's are forgotten then: they were early ones, of a process that has ended."""

    def __init__(self, engine: Engine, patience: float, lost: Callable[[MediaLeg], None]) -> None:
        self._engine = engine
        self._patience = patience
        self._lost = lost

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            if self._engine.ready.is_set():
                await self.look()

    async def look(self) -> None:
        """At all of them, one after the other."""
        engine = self._engine
        for number, leg in enumerate([leg for leg in engine.sessions if leg.report or leg.found]):
            if number and number % IN_A_ROW == 0:
                await asyncio.sleep(PAUSE)
            if not engine.sessions.has(leg):
                continue
            answer = await engine.client.ask(ng.query(leg.call))
            if answer is None:
                return  # it has ended, or has too much to do
            now = time.time()
            leg.quality.note(answer, now)
            if not leg.report:
                if is_unheard(answer, now, engine.since, self._patience):
                    await engine.forget(leg)
            elif not leg.lost and is_silent(answer, now, engine.since, self._patience):
                leg.lost = True
                self._lost(leg)
