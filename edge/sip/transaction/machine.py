"""The engine that runs a transaction's state table.

A table says, for a state and an event, the next state and the steps on the way, in RFC 3261's own figures'
terms. An event that a state doesn't list is ignored there: that is what the figures mean by leaving it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol, cast

from edge.sip.flow import Flow
from edge.sip.timers import TimerHeap


class TransactionState(Enum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


Timer = Literal[
    "timer_a", "timer_b", "timer_d", "timer_e", "timer_f", "timer_g", "timer_h", "timer_i", "timer_j", "timer_k",
    "timer_l", "timer_m", "timer_trying",
]  # fmt: skip
TransactionEvent = (
    Literal["1xx", "2xx", "final", "error", "request", "ack", "send_1xx", "send_2xx", "send_final"] | Timer
)
TransactionStep = Literal[
    "send", "resend", "pass_up", "ack", "inform_timeout", "inform_error", "double_a", "start_m", "start_d", "keep_f",
    "double_e", "start_e_slow", "start_k", "start_g", "double_g", "start_h", "start_i", "start_l", "start_j",
    "send_trying",
]  # fmt: skip
"""The name of a method to call."""
Table = Mapping[TransactionState, Mapping[TransactionEvent, tuple[TransactionState, tuple[TransactionStep, ...]]]]
"""state -> event -> (next state, steps on the way)."""


class TransactionUser(Protocol):
    """What a transaction needs from around it."""

    timers: TimerHeap

    def transmit(self, flow: Flow, data: bytes, ref: str) -> None:
        """Send; a failure comes back as the event ``error`` to the client transaction whose key, joined by a space, is
        ``ref``."""

    def terminated(self, transaction: Any) -> None:
        """The transaction is over: forget it."""


class Machine:
    """One transaction. ``timers`` is read by the TimerHeap."""

    table: ClassVar[Table]
    __slots__ = ("_message", "flow", "key", "now", "state", "timers", "user")

    def __init__(
        self, user: TransactionUser, key: tuple[str, ...], flow: Flow, state: TransactionState, now: float
    ) -> None:
        self.user = user
        self.key = key
        self.flow = flow
        self.state = state
        self.now = now
        self.timers: dict[str, int] = {}
        self._message: Any = None

    def fire(self, event: TransactionEvent, now: float, message: Any = None) -> None:
        """Let ``event`` happen; ``message`` is what the steps send or pass up."""
        transition = self.table.get(self.state, {}).get(event)
        if transition is None:
            return
        self.now = now
        self._message = message
        state, steps = transition
        if state is not self.state:
            self.state = state
            self.timers.clear()  # no timer outlives the state that set it, unless a step sets it again
        for step in steps:
            getattr(self, step)()
        if state is TransactionState.TERMINATED:
            self.user.terminated(self)

    def abandon(self) -> None:
        """End it from outside: nobody waits for it any more (§16.8, §9.1)."""
        self.state = TransactionState.TERMINATED
        self.timers.clear()
        self.user.terminated(self)

    def on_timer(self, name: str, now: float) -> None:
        self.fire(cast(TransactionEvent, name), now)

    def start(self, timer: Timer, delay: float) -> None:
        self.user.timers.start(self, timer, self.now + delay)
