"""What the edge does by itself: pings that are due, phones that stay away, and what the control plane missed.

Nothing here goes through all bindings at once, however many there are: each has a time at which it is looked at
(``location/agenda``), and what concerns all of them is done bit by bit, with a bound for each step.
"""

from __future__ import annotations

from collections import deque

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.location.keepalive import SLOT
from edge.proxy.registrar.binding_report import report
from edge.proxy.registrar.expiries import DURABLE, GRACE, SILENCE
from edge.proxy.stack.stack import Stack
from lambdas.contract import Decision, PushQuestion

_LOOK = 0.25  # seconds between looks for phones that stay away
LOOKS = 100
"""What is looked at in one step, of each kind: a millisecond or two. While there is more, steps follow by SLOT."""
_IDLE = 0.5  # seconds between looks for flows to ping while there are none
_STALL = 3.0  # seconds without a tick, after which it was us who didn't hear
_NEAR = 300.0  # seconds of durable expiry, below which it is renewed after an outage of the control plane
_AGAIN = 10.0  # seconds after which a phone is to be woken again where nobody could be asked
_BATCH, _PAUSE = 50, 0.25  # bindings and seconds: how fast that is reported, and phones are woken


class Housekeeping:
    """Runs on the stack's timers from ``start`` on."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.timers: dict[str, int] = {}
        self._ticked = 0.0
        self._patient_until = 0.0
        self._to_renew: list[str] = []
        self._to_wake: deque[str] = deque()

    def start(self, now: float) -> None:
        self._ticked = now
        self._stack.timers.start(self, "ping", now + SLOT)
        self._stack.timers.start(self, "look", now + _LOOK)

    def reconcile(self, now: float) -> None:
        """The control plane is back after an outage: tell it, bit by bit, which phones have stayed."""
        self._to_renew = self._stack.bindings.ids()
        if self._to_renew:
            self._stack.timers.start(self, "renew", now + _PAUSE)

    def on_timer(self, name: str, now: float) -> None:
        if now - self._ticked > _STALL:
            self._patient_until = now + SILENCE
        self._ticked = now
        if name == "ping":
            self._ping(now)
        elif name == "look":
            self._look(now)
        elif name == "wake":
            self._wake(now)
        else:
            self._renew(now)

    def _ping(self, now: float) -> None:
        stack = self._stack
        for flow in stack.keepalive.due(now):
            contact = stack.bindings.contact(flow)
            if contact and stack.bindings.here(flow):  # whoever holds an address now pings there, and nobody else
                stack.transmit(flow, stack.pinger.make(flow, stack.fleet.places, contact), "")
                stack.counters["pings"] += 1
        for held in stack.bindings.closed.due(now, _BATCH):
            self._away(held, now)
        stack.timers.start(self, "ping", now + (SLOT if len(stack.keepalive) else _IDLE))

    def _look(self, now: float) -> None:
        stack = self._stack
        due = stack.bindings.due(now, LOOKS)
        for binding, held in due:
            self._look_at(binding, held, now)
        more = stack.bindings.forget_left(LOOKS)
        more = stack.grants.forget_void(LOOKS, stack.bindings.changed) or more
        stack.bindings.changed.update(stack.grants.unused_since(now - stack.static_seconds, now, LOOKS))
        stack.timers.start(self, "look", now + (SLOT if more or len(due) == LOOKS else _LOOK))

    def _look_at(self, binding: str, held: HeldBinding, now: float) -> None:
        bindings = self._stack.bindings
        lapses = max(held.granted_until + GRACE, self._patient_until)
        if lapses <= now and bindings.here(held.flow):
            bindings.remove(binding)
            self._away(held, now)
            return
        at = lapses if now >= held.granted_until else held.granted_until
        if held.push is not None and held.nudged != held.granted_until:
            if held.refreshes_itself and bindings.get(binding) is held:
                pass  # an open page
            elif now >= held.granted_until - held.notice:
                self._to_wake.append(binding)
                if "wake" not in self.timers:
                    self._stack.timers.start(self, "wake", now)
            else:
                at = held.granted_until - held.notice
        bindings.look_by(binding, held, at)

    def _away(self, held: HeldBinding, now: float) -> None:
        """Its phone is gone: report that, if the control plane may believe otherwise."""
        stack = self._stack
        stack.counters["phones_away"] += 1
        if held.durable_until > now and held.tenant:
            stack.questions.journal(report(held, stack.wall(now), 0))

    def _renew(self, now: float) -> None:
        stack = self._stack
        renewed = 0
        for _ in range(min(LOOKS, len(self._to_renew))):
            binding = self._to_renew.pop()
            held = stack.bindings.get(binding) or stack.bindings.asleep.get(binding)
            if held is not None and held.tenant and held.durable_until < now + _NEAR:
                stack.questions.journal(report(held, stack.wall(now), DURABLE))
                held.durable_until = now + DURABLE
                renewed += 1
                if renewed == _BATCH:
                    break
        if self._to_renew:
            stack.timers.start(self, "renew", now + (_PAUSE if renewed else SLOT))

    def _wake(self, now: float) -> None:
        """Have phones woken whose bindings are about to expire."""
        stack = self._stack
        for _ in range(min(_BATCH, len(self._to_wake))):
            binding = self._to_wake.popleft()
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
                self._stack.bindings.look_by(binding, held, at + _AGAIN)

        def question(ask: str) -> PushQuestion:
            return PushQuestion(
                request=ask, address=address, epoch=epoch, aor=held.aor, binding=binding, why="refresh"
            )  # fmt: skip

        self._stack.counters["expiring_phones"] += 1
        self._stack.questions.ask(question, decided, now)
