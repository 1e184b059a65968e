"""Waking a phone that a request is for (RFC 8599 §5.6.2).

Theory of operation. Whether a phone sleeps its flow shows: a stream that has ended, and nobody comes; a suspended
program, whose kernel keeps its stream open, says nothing; a UDP flow that nothing has been heard on for minutes. So

- where the flow is known to be dead nothing is sent, and the phone is woken at once, unless it has another flow that
  may not be;
- else the request goes there. A phone that is awake says something within a second, 100 at the least, and nobody is
  woken; one that hasn't been heard lately, or for whom a proxy of its own
  would answer, is woken all the same;
- a phone that is being woken has 20 s to register, here or at another edge, which tells all. The request goes where it
  is then, by whichever of its flows. If nobody comes it isn't reachable.

The push itself is the control plane's to send. Where that can't be reached nobody is woken.
"""

from __future__ import annotations

from typing import Literal, Protocol

from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from edge.sip.incoming import Incoming
from edge.sip.transaction import ClientTransaction
from lambdas.contract import Decision, Proceed, PushQuestion, Target

LONGEST = 20.0
"""Seconds that a request waits for its phone to wake."""
_SILENT = 1.0  # seconds for a phone that is awake to say something
_LATELY = 60.0  # seconds since it was heard, within which a UDP phone is taken to be awake
_NOT_THERE = 480


class Sleeping(Protocol):
    """The branch, as far as it matters here."""

    target: Target
    transaction: ClientTransaction | None

    @property
    def has_other_flow(self) -> bool:
        """Whether its phone may be reached by another one, if this one has failed."""

    def present_flow(self) -> Flow:
        """Where its phone is, as far as is known."""

    def try_there(self, phone: Target, now: float) -> None:
        """Send the request where the phone is now."""

    def fail(self, status: int, now: float) -> None: ...

    def lose(self, now: float) -> None:
        """Its flow is dead, and isn't waited for."""

    def abandon(self) -> None: ...


class WakingContext(Protocol):
    """What the branch is of."""

    incoming: Incoming
    caller: str

    def slept(self, now: float) -> None:
        """A phone has to be woken, or has been."""


class Waking:
    """Of one branch. ``waits``: nobody is rung, and the phone may still come. ``timers`` is read by the TimerHeap."""

    def __init__(self, stack: Stack, branch: Sleeping, context: WakingContext, withheld: bool) -> None:
        """``withheld``: whoever is called mustn't know who calls."""
        self._stack = stack
        self._branch = branch
        self._context = context
        self._withheld = withheld
        self._until = 0.0  # when it is too late to come; 0 before it was woken
        self.waits = False
        self.timers: dict[str, int] = {}

    def begin(self, now: float) -> bool:
        """Whether there is nobody to send to before the phone wakes."""
        stack, target = self._stack, self._branch.target
        flow = self._branch.present_flow()
        if stack.closed_flows.has(flow) or stack.bindings.asleep.get(target.binding) is not None:
            if self._branch.has_other_flow:
                self._branch.lose(now)
            else:
                self._wake(now)
            return True
        held = stack.bindings.get(target.binding)
        unheard = held is not None and not flow.reliable and now - held.heard_at > _LATELY
        if unheard or target.path:
            self._wake(now)
        else:
            stack.timers.start(self, "silent", now + _SILENT)
        return False

    def over(self) -> None:
        """It is awake, or nobody waits for it any more."""
        self.waits = False
        self.timers.clear()
        self._stack.sleepers.leave(self._branch.target, self)

    def lost(self, now: float) -> bool:
        """Its flow is dead. Whether it may come back: it is woken, unless it was, or has another flow."""
        self._branch.transaction = None
        if self.waits:
            return True
        if self._branch.has_other_flow or (self._until and now >= self._until):
            return False
        self._wake(now)
        return True

    def came(self, phone: Target, now: float) -> None:
        """It has registered. Where it is reached on the flow that it had, the request is there already, or lost."""
        transaction = self._branch.transaction
        self.over()
        self._context.slept(now)
        if transaction is None or transaction.flow != Flow(*phone.flow):
            self._branch.try_there(phone, now)
        elif not transaction.flow.reliable:
            transaction.send()

    def on_timer(self, name: str, now: float) -> None:
        if name == "silent":
            self._wake(now)
        else:
            self._branch.abandon()
            self._branch.fail(_NOT_THERE, now)

    def _wake(self, now: float) -> None:
        stack = self._stack
        self.timers.pop("silent", None)
        asked, self._until = bool(self._until), self._until or now + LONGEST
        self.waits = True
        stack.timers.start(self, "asleep", self._until)
        stack.sleepers.wait(self._branch.target, self)
        self._context.slept(now)
        if not asked:
            stack.counters["woken_phones"] += 1
            stack.questions.ask(self._question, self._asked, now)

    def _question(self, ask: str) -> PushQuestion:
        incoming, target = self._context.incoming, self._branch.target
        method = incoming.request.method
        why: Literal["call", "message"] = "call" if method == "INVITE" else "message"
        return PushQuestion(
            request=ask,
            address=incoming.flow.address,
            epoch=self._stack.fleet.epoch(incoming.flow.address),
            aor=target.aor,
            binding=target.binding,
            why=why,
            call_id=incoming.call_id,
            caller="" if self._withheld else self._context.caller[:320],
        )

    def _asked(self, decision: Decision | None, now: float) -> None:
        """Where it can't be woken, only what was sent on its flow may reach it still."""
        if isinstance(decision, Proceed) or not self.waits:
            return
        self.over()
        self._context.slept(now)
        if self._branch.transaction is None:
            self._branch.fail(_NOT_THERE, now)
