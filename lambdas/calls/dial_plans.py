"""Dial plans in calls: the version that counts is found, evaluated, logged, and what it says becomes a decision."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from lambdas.calls.budget import TIME, Budget
from lambdas.calls.cache_key import VOLATILE, CacheKey, KeyedDecision
from lambdas.calls.evaluation import Evaluated, ScriptError, evaluate_plan
from lambdas.calls.facts import Facts
from lambdas.calls.request import CallRequest, PlanCall
from lambdas.calls.script_world import ScriptWorld
from lambdas.calls.stages import Forward, Stages
from lambdas.contract import Reject
from lambdas.decisions.continuation import Continuation
from lambdas.decisions.rules import Plan

log = logging.getLogger(__name__)


class DialPlans:
    """Of one request. What plans forward goes where ``forward``, given with each call, says."""

    def __init__(self, request: CallRequest, facts: Facts, budget: Budget, stages: Stages) -> None:
        self._request = request
        self._facts = facts
        self._budget = budget
        self._stages = stages
        self.before = Continuation.parse(request.question.again)

    def decide(self, call: PlanCall, forward: Forward, otherwise: Callable[[], KeyedDecision]) -> KeyedDecision:
        """What the published version says; ``otherwise`` if there is none."""
        name = f"{self._request.payer.tenant}/{call.plan}"
        found = self._facts.published(name)
        if found is None:
            return otherwise().resting_on(CacheKey(plans=(name,)))  # one may be published
        plan, version = found
        return self._decided(plan, call, Continuation(call.plan, version, "", call.owner, 0), forward)

    def go_on(self, call: PlanCall, before: Continuation, forward: Forward) -> KeyedDecision | None:
        """What the script that the call began by says now, all that it said before having failed; None if it is
        gone."""
        plan = self._facts.earlier(f"{self._request.payer.tenant}/{before.plan}", before.version)
        return self._decided(plan, call, before, forward) if plan is not None else None

    def _decided(self, plan: Plan, call: PlanCall, at: Continuation, forward: Forward) -> KeyedDecision:
        if call.owner:
            self._budget.visit(call.owner)
        name = f"{at.plan} v{at.version}"
        try:
            evaluated = self._evaluated(plan, call, name, at.function)
            times = self.before.times if self.before is not None else 0
            again = Continuation(at.plan, at.version, "", call.owner, times + 1)
            decided = self._stages.compose(evaluated.verdict, call, again, forward)
        except ScriptError as error:
            return self._failed(name, str(error), error.log)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            # Whatever a plan makes of us is its own call's trouble, and nobody else's.
            log.exception("dial plan %s of %s can't be followed", name, self._request.payer.tenant)
            return self._failed(name, f"it can't be followed: {type(error).__name__}", ())
        return decided.resting_on(CacheKey.of_plan(f"{self._request.payer.tenant}/{at.plan}", evaluated.verdict.inputs))

    def _evaluated(self, plan: Plan, call: PlanCall, name: str, function: str) -> Evaluated:
        tenant = self._request.payer.tenant
        seconds = self._budget.seconds
        if seconds <= 0:
            raise ScriptError(f"the plans of this call took more than {TIME} s", ())
        world = ScriptWorld(tenant, self._facts, self._request.settings.script_hosts)
        sandbox = self._facts.sandbox
        evaluated = evaluate_plan(plan, call.call, world, sandbox, tenant, name, function, seconds=seconds)
        self._note(name, evaluated.log)
        return evaluated

    def _failed(self, name: str, why: str, lines: Iterable[str]) -> KeyedDecision:
        self._note(name, lines, f"error: {why}")
        reason = "".join(char if " " <= char <= "~" else "?" for char in f"dial plan {name}: {why}")
        return KeyedDecision(Reject(status=500, reason=f"Server Internal Error: {reason[:200]}"), VOLATILE)

    def _note(self, name: str, lines: Iterable[str], error: str = "") -> None:
        """Into the tenant's log."""
        text = "\n".join([*([error] if error else []), *lines])
        if text:
            self._facts.log_plan(self._request.payer.tenant, name, text, self._request.question.call_id)
