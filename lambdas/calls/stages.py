"""Stages: what a plan says step by step becomes the targets that are tried one stage after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lambdas.calls.budget import MOST_DIVERSIONS, Budget
from lambdas.calls.cache_key import ALWAYS, CacheKey, KeyedDecision
from lambdas.calls.destinations import Destinations
from lambdas.calls.diversion import divert_stage
from lambdas.calls.request import CallRequest, PlanCall
from lambdas.contract import Reject, Route, Stage
from lambdas.decisions.continuation import MOST, Continuation
from lambdas.decisions.values import StoredAccount
from lambdas.decisions.wizard import Step, Verdict

_LOOP = Reject(status=482, reason=f"Loop Detected: the call was diverted {MOST_DIVERSIONS} times")
_NOWHERE = Reject(status=404, reason="Not Found: the dial plan doesn't say where this call goes")

_NOT_ALLOWED = (403, 404)

Forward = Callable[[str, StoredAccount], KeyedDecision]
"""Where a call to an AOR or number goes, and who pays for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of one step: its stages, whose ``part_of`` counts within them."""

    stages: list[Stage]
    key: CacheKey = ALWAYS


class Stages:
    """Of one request."""

    def __init__(self, request: CallRequest, destinations: Destinations, budget: Budget) -> None:
        self._request = request
        self._destinations = destinations
        self._budget = budget

    def compose(self, verdict: Verdict, by: PlanCall, again: Continuation, forward: Forward) -> KeyedDecision:
        """The decision that a plan's ``verdict`` is. ``again`` is how it would go on, its function left out."""
        parts = [self._part(step, by, again, forward) for step in verdict.steps]
        stages = _renumbered(verdict.steps, parts)
        key = sum((part.key for part in parts), ALWAYS)
        if not stages:
            return KeyedDecision(_NOWHERE, key)
        first, *others = stages
        tenant = self._request.payer.tenant
        return KeyedDecision(Route(**_values(first), stages=others, tenant=tenant, transfers=by.transfers), key)

    def redirected(self, to: str, by: PlanCall, forward: Forward) -> Route | Reject:
        """The decision for a call that a phone has sent on ``to`` an AOR, a number or a SIP address, as if the plan
        ``by`` forwarded it; a refusal if nobody may be called there. That somebody who may doesn't answer, or that it
        goes round in circles, is the call's end."""
        decision = self._forwarded(Step(forward=to), by, forward).decision
        tenant = self._request.payer.tenant
        if isinstance(decision, Reject) and decision.status not in _NOT_ALLOWED:
            return Route(targets=[], end=decision, tenant=tenant)
        if not isinstance(decision, Route):
            return decision if isinstance(decision, Reject) else _NOWHERE
        first, *others = (
            divert_stage(stage, by, self._request.payer.aor) for stage in (Stage(**_values(decision)), *decision.stages)
        )
        if not any(stage.targets or stage.end is not None or stage.again for stage in (first, *others)):
            return _NOWHERE
        return Route(**_values(first), stages=others, tenant=tenant, transfers=by.transfers)

    def _part(self, step: Step, by: PlanCall, again: Continuation, forward: Forward) -> Part:
        if step.legs:
            rung = self._destinations.rung(step, by)
            stage = Stage(
                targets=rung.targets,
                absent=rung.absent,
                timeout=step.timeout,
                status=rung.status,
                early_media="ringing" if step.early_media == "ringing" else "pass",
            )
            return Part([stage], rung.key)
        if step.again:
            # A call that is sent outside later counts what comes before: the steps are made in their order.
            return Part([_again(replace(again, function=step.again, outside=self._budget.outside))])
        if step.reject is not None:
            return Part([_end(Reject(status=step.reject.status, reason=step.reject.reason))])
        if step.redirect:
            return Part([_end(Reject(status=302, reason="Moved Temporarily", contact=step.redirect))])
        decided = self._forwarded(step, by, forward) if step.forward else by.as_dialled(step)
        route = decided.decision
        if not isinstance(route, Route):
            return Part([_end(route if isinstance(route, Reject) else _NOWHERE)], decided.key)
        stages = [Stage(**_values(route)), *route.stages]
        if step.forward:
            stages = [divert_stage(stage, by, self._request.payer.aor) for stage in stages]
        return Part(stages, decided.key)

    def _forwarded(self, step: Step, by: PlanCall, forward: Forward) -> KeyedDecision:
        """To an account by its own plan, to a number by the routes, or to a SIP address."""
        if not self._budget.may_divert:
            return KeyedDecision(_LOOP)
        payer, to = self._request.payer_of(step), step.forward
        if to.startswith("sip:"):
            found = self._destinations.address(to, by)
            return KeyedDecision(Route(targets=found.targets, tenant=payer.tenant), found.key)
        return forward(to if "@" in to else f"{to}@{self._destinations.home(by)}", payer)


def _renumbered(steps: Sequence[Step], parts: Sequence[Part]) -> list[Stage]:
    """All stages in a row, numbered through. A part's first stage comes when, and belongs where, its step does; what
    belongs to the step goes with that stage."""
    stages: list[Stage] = []
    begins: list[int] = []  # the first stage of each step
    for step, part in zip(steps, parts, strict=True):
        begin = len(stages)
        begins.append(begin)
        for number, stage in enumerate(part.stages):
            if number:
                place: dict[str, object] = {"part_of": begin + max(0, stage.part_of)}
            else:
                place = {"when": list(step.statuses), "part_of": begins[step.part_of] if step.part_of >= 0 else -1}
            stages.append(stage.model_copy(update={**place, "max_duration": _shorter(stage, step)}))
    return stages


def _end(reject: Reject) -> Stage:
    return Stage(targets=[], end=reject)


def _again(continuation: Continuation) -> Stage:
    if continuation.times > MOST:
        reason = f"Server Internal Error: the dial plan asks to be asked again more than {MOST} times"
        return _end(Reject(status=500, reason=reason))
    return Stage(targets=[], again=str(continuation))


def _values(stage: Stage) -> dict[str, Any]:
    """Those of the stage alone, where it is a Route too."""
    return {name: getattr(stage, name) for name in Stage.model_fields}


def _shorter(stage: Stage, step: Step) -> int:
    """The shorter limit counts, if there are two; 0 for none."""
    return min((limit for limit in (stage.max_duration, step.max_duration) if limit), default=0)
