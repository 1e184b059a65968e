"""What the core does by itself: pings that are due, and forgetting what has run out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.proxy.keepalive import SLOT, Keepalive
from edge.proxy.pinger import Pinger

if TYPE_CHECKING:
    from edge.proxy.core import Core

_SWEEP = 60.0  # seconds between looks for bindings to forget
_IDLE = 0.5  # seconds between looks for flows to ping while there are none


class Housekeeping:
    """Runs on the core's timers from ``start`` on."""

    def __init__(self, core: Core, keepalive: Keepalive, pinger: Pinger) -> None:
        self._core = core
        self._keepalive = keepalive
        self.pinger = pinger
        self.timers: dict[str, int] = {}

    def start(self, now: float) -> None:
        self._core.timers.start(self, "ping", now + SLOT)
        self._core.timers.start(self, "sweep", now + _SWEEP)

    def on_timer(self, name: str, now: float) -> None:
        if name == "ping":
            self._ping(now)
        else:
            self._core.bindings.sweep(now, self._core.fleet_now.epochs)
            self._core.timers.start(self, "sweep", now + _SWEEP)

    def _ping(self, now: float) -> None:
        core = self._core
        for flow in self._keepalive.due(now):
            if core.bindings.expire(flow, now):
                core.transmit(flow, self.pinger.make(flow, core.bindings.contact(flow)), "")
                core.counters["pings"] += 1
        core.timers.start(self, "ping", now + (SLOT if len(self._keepalive) else _IDLE))
