"""The loop: events to the core, in order, and the core's actions to whoever carries them out. Here the core meets the
clock."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edge.proxy.core import Core
from edge.proxy.stack.events import Action, CoreEvent, JournalChanged, Tick

log = logging.getLogger(__name__)


class RandomIds:
    """Identifiers from the operating system's randomness."""

    def token(self) -> str:
        return os.urandom(9).hex()

    def salt(self) -> bytes:
        return os.urandom(2)


class Reports(Protocol):
    """Where reports are written."""

    @property
    def possible(self) -> bool:
        """Whether they can be."""


class Loop:
    """Handles what is posted once it has been started; what comes before waits."""

    def __init__(self, core: Core, journal: Reports) -> None:
        self._core = core
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._events: deque[CoreEvent] = deque()
        self._carry_out: Callable[[Action], None] | None = None
        self._possible = True  # to write reports, as the core knows
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def start(self, carry_out: Callable[[Action], None]) -> None:
        """``carry_out`` gets every action from now on."""
        self._carry_out = carry_out
        self._run(carry_out)

    def post(self, event: CoreEvent) -> None:
        """Handle ``event``, and what follows from carrying out its actions, in order. Within that it only queues."""
        self._events.append(event)
        if self._carry_out is not None and not self._busy:
            self._run(self._carry_out)

    def _run(self, carry_out: Callable[[Action], None]) -> None:
        events = self._events
        self._busy = True
        try:
            if self._possible != self._journal.possible:
                self._possible = self._journal.possible
                events.appendleft(JournalChanged(self._possible))
            while events:
                for action in self._handle(events.popleft()):
                    try:
                        carry_out(action)
                    except Exception:
                        self._core.stack.counters["errors"] += 1
                        log.exception("a fault in carrying out %s", type(action).__name__)
        finally:
            self._busy = False
        self._arm()

    def _handle(self, event: CoreEvent) -> list[Action]:
        try:
            return self._core.handle(event, time.monotonic())
        except Exception:
            # One message's trouble must not become everybody's. What it had to say already still goes out.
            self._core.stack.counters["errors"] += 1
            log.exception("a fault in the core")
            return self._core.take_actions()

    def _arm(self) -> None:
        deadline = self._core.deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.post(Tick())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
