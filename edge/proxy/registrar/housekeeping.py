"""What the edge does by itself: pings that are due, phones that stay away, and what the control plane missed."""

from __future__ import annotations

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.location.keepalive import SLOT
from edge.proxy.registrar.binding_report import report
from edge.proxy.registrar.expiries import DURABLE, GRACE, SILENCE
from edge.proxy.stack.stack import Stack
from lambdas.contract import Decision, PushQuestion

SWEEP = 10.0  # seconds between looks for phones that stay away
_IDLE = 0.5  # seconds between looks for flows to ping while there are none
_STALL = 3.0  # seconds without a tick, after which it was us who didn't hear
_NEAR = 300.0  # seconds of durable expiry, below which it is renewed after an outage of the control plane
_BATCH, _PAUSE = 50, 0.25  # bindings and seconds: how fast that is reported


class Housekeeping:
    """Runs on the stack's timers from ``start`` on."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.timers: dict[str, int] = {}
        self._ticked = 0.0
        self._patient_until = 0.0
        self._to_renew: list[str] = []
        self._to_wake: list[str] = []

    def start(self, now: float) -> None:
        self._ticked = now
        self._stack.timers.start(self, "ping", now + SLOT)
        self._stack.timers.start(self, "sweep", now + SWEEP)

    def reconcile(self, now: float) -> None:
        """The control plane is back after an outage: tell it, bit by bit, which phones have stayed."""
        everybody = (*self._stack.bindings.all(), *self._stack.bindings.asleep.items())
        self._to_renew = [binding for binding, held in everybody if held.durable_until < now + _NEAR]
        if self._to_renew:
            self._stack.timers.start(self, "renew", now + _PAUSE)

    def on_timer(self, name: str, now: float) -> None:
        if name == "ping":
            self._ping(now)
        elif name == "sweep":
            self._sweep(now)
        elif name == "wake":
            self._wake(now)
        else:
            self._renew(now)

    def _ping(self, now: float) -> None:
        stack = self._stack
        if now - self._ticked > _STALL:
            self._patient_until = now + SILENCE
        self._ticked = now
        for flow in stack.keepalive.due(now):
            contact = stack.bindings.contact(flow)
            if contact:
                stack.transmit(flow, stack.pinger.make(flow, stack.fleet.places, contact), "")
                stack.counters["pings"] += 1
        for held in stack.bindings.closed.due(now, _BATCH):
            self._away(held, now)
        stack.timers.start(self, "ping", now + (SLOT if len(stack.keepalive) else _IDLE))

    def _sweep(self, now: float) -> None:
        stack = self._stack
        stack.timers.start(self, "sweep", now + SWEEP)
        if now >= self._patient_until:
            for binding, held in stack.bindings.lapsed(now - GRACE):
                stack.bindings.remove(binding)
                self._away(held, now)
        self._to_wake = [binding for binding, _ in stack.bindings.expiring(now)]
        if self._to_wake:
            stack.timers.start(self, "wake", now)
        for aor in self._stack.grants.unused_since(now - stack.static_seconds):
            stack.bindings.changed.add(aor)

    def _away(self, held: HeldBinding, now: float) -> None:
        """Its phone is gone: report that, if the control plane may believe otherwise."""
        stack = self._stack
        stack.counters["phones_away"] += 1
        if held.durable_until > now and held.tenant:
            stack.questions.journal(report(held, stack.wall(now), 0))

    def _renew(self, now: float) -> None:
        stack = self._stack
        batch, self._to_renew = self._to_renew[:_BATCH], self._to_renew[_BATCH:]
        for binding in batch:
            held = stack.bindings.get(binding) or stack.bindings.asleep.get(binding)
            if held is not None and held.tenant and held.durable_until < now + _NEAR:
                stack.questions.journal(report(held, stack.wall(now), DURABLE))
                held.durable_until = now + DURABLE
        if self._to_renew:
            stack.timers.start(self, "renew", now + _PAUSE)

    def _wake(self, now: float) -> None:
        """Have phones woken whose bindings are about to expire."""
        stack = self._stack
        batch, self._to_wake = self._to_wake[:_BATCH], self._to_wake[_BATCH:]
        for binding in batch:
            held = stack.bindings.get(binding) or stack.bindings.asleep.get(binding)
            if held is not None and held.nudged != held.granted_until:
                self._nudge(binding, held, now)
        if self._to_wake:
            stack.timers.start(self, "wake", now + _PAUSE)

    def _nudge(self, binding: str, held: HeldBinding, now: float) -> None:
        """Once for each time that it is about to expire; again where nobody could be asked."""
        address, epoch = self._stack.fleet.asking(held.flow.address)
        expiry = held.nudged = held.granted_until

        def decided(decision: Decision | None, at: float) -> None:
            if decision is None and held.nudged == expiry:
                held.nudged = 0.0

        def question(ask: str) -> PushQuestion:
            return PushQuestion(
                request=ask, address=address, epoch=epoch, aor=held.aor, binding=binding, why="refresh"
            )  # fmt: skip

        self._stack.counters["expiring_phones"] += 1
        self._stack.questions.ask(question, decided, now)
