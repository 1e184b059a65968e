"""What a decision rests on: whether an edge may use it again when none can be had, for whom and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lambdas.contract import CallQuestion, Decision, Keep, Route, RouteQuestion, TransferQuestion
from lambdas.decisions.wizard import Inputs

_KEEP = 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class CacheKey:
    """``caller``: another caller may get another decision; it holds ``until`` then (Unix time); ``volatile``: it may be
    otherwise at any moment; ``plans`` have been read for it."""

    caller: bool = False
    until: float = float("inf")
    volatile: bool = False
    plans: tuple[str, ...] = ()

    def __add__(self, other: CacheKey) -> CacheKey:
        """Of a decision with parts that rest on both."""
        return CacheKey(
            self.caller or other.caller,
            min(self.until, other.until),
            self.volatile or other.volatile,
            self.plans + other.plans,
        )

    @classmethod
    def of_plan(cls, plan: str, inputs: Inputs) -> CacheKey:
        return cls(inputs.caller, inputs.until, inputs.volatile, (plan,))


ALWAYS = CacheKey()
BY_CALLER = CacheKey(caller=True)
VOLATILE = CacheKey(volatile=True)


@dataclass(frozen=True, slots=True)
class KeyedDecision:
    """A decision, or a part of one, and what it rests on."""

    decision: Decision
    key: CacheKey = ALWAYS

    def resting_on(self, key: CacheKey) -> KeyedDecision:
        """On ``key``, too."""
        return replace(self, key=key + self.key)

    def kept(self, question: CallQuestion, now: float) -> Decision:
        """The decision with how far it may be used when none can be had; of calls only, and of those not at all that
        were diverted before they came here, or are put through."""
        key, decision = self.key, self.decision
        seconds = int(min(_KEEP, key.until - now))
        if not isinstance(decision, Route) or key.volatile or question.diversions or seconds < 1:
            return decision
        if question.method != "INVITE" or isinstance(question, TransferQuestion):
            return decision
        if isinstance(question, RouteQuestion) and question.withheld and key.plans:
            return decision  # a plan may have other plans for those who don't say who they are
        keep = Keep(caller=question.caller if key.caller else "", seconds=seconds, plans=list(key.plans))
        return decision.model_copy(update={"keep": keep})
