"""What the core does by itself: pings that are due, phones that stay away, and what the control plane missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.proxy.location.keepalive import SLOT, Keepalive
from edge.proxy.registrar.pinger import Pinger
from edge.proxy.registrar.registration import DURABLE, GRACE, SILENCE, report

if TYPE_CHECKING:
    from edge.proxy.core import Core

SWEEP = 10.0  # seconds between looks for phones that stay away
_IDLE = 0.5  # seconds between looks for flows to ping while there are none
_STALL = 3.0  # seconds without a tick, after which it was us who didn't hear
_NEAR = 300.0  # seconds of durable expiry, below which it is renewed after an outage of the control plane
_BATCH, _PAUSE = 50, 0.25  # bindings and seconds: how fast that is reported


class Housekeeping:
    """Runs on the core's timers from ``start`` on."""

    def __init__(self, core: Core, keepalive: Keepalive, pinger: Pinger) -> None:
        self._core = core
        self._keepalive = keepalive
        self.pinger = pinger
        self.timers: dict[str, int] = {}
        self._ticked = 0.0
        self._patient_until = 0.0
        self._to_renew: list[str] = []

    def start(self, now: float) -> None:
        self._ticked = now
        self._core.timers.start(self, "ping", now + SLOT)
        self._core.timers.start(self, "sweep", now + SWEEP)

    def reconcile(self, now: float) -> None:
        """The control plane is back after an outage: tell it, bit by bit, which phones have stayed."""
        self._to_renew = [binding for binding, held in self._core.bindings.all() if held.durable_until < now + _NEAR]
        if self._to_renew:
            self._core.timers.start(self, "renew", now + _PAUSE)

    def on_timer(self, name: str, now: float) -> None:
        if name == "ping":
            self._ping(now)
        elif name == "sweep":
            self._sweep(now)
        else:
            self._renew(now)

    def _ping(self, now: float) -> None:
        core = self._core
        if now - self._ticked > _STALL:
            self._patient_until = now + SILENCE
        self._ticked = now
        for flow in self._keepalive.due(now):
            contact = core.bindings.contact(flow)
            if contact:
                core.transmit(flow, self.pinger.make(flow, contact), "")
                core.counters["pings"] += 1
        core.timers.start(self, "ping", now + (SLOT if len(self._keepalive) else _IDLE))

    def _sweep(self, now: float) -> None:
        core = self._core
        core.timers.start(self, "sweep", now + SWEEP)
        if now >= self._patient_until:
            for binding, held in core.bindings.lapsed(now - GRACE):
                core.bindings.remove(binding)
                core.counters["phones_away"] += 1
                if held.durable_until > now and held.tenant:
                    core.journal(report(held, core.wall(now), 0))
        for aor in core.registrar.grants.unused_since(now - core.static_seconds):
            core.bindings.changed.add(aor)

    def _renew(self, now: float) -> None:
        core = self._core
        batch, self._to_renew = self._to_renew[:_BATCH], self._to_renew[_BATCH:]
        for binding in batch:
            held = core.bindings.get(binding)
            if held is not None and held.tenant and held.durable_until < now + _NEAR:
                core.journal(report(held, core.wall(now), DURABLE))
                held.durable_until = now + DURABLE
        if self._to_renew:
            core.timers.start(self, "renew", now + _PAUSE)
