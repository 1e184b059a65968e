"""What a call may do of what has been decided: where it may go, for how long, and whether one more is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from lambdas.calls.abuse import too_premium
from lambdas.calls.facts import BUSY, Facts
from lambdas.calls.request import CallRequest
from lambdas.contract import (
    RELAYED_OF_ACCOUNT,
    RELAYED_OF_TENANT,
    Decision,
    Reject,
    Route,
    ScopeLimits,
    Stage,
    Target,
)
from lambdas.decisions.barring import refusal
from lambdas.decisions.limits import EMERGENCY, Admitted, CallLimits, emergency_scope
from lambdas.decisions.numbers import read
from lambdas.decisions.values import StoredAccount

_Stage = TypeVar("_Stage", bound=Stage)


class Admission:
    """Of one call. Its payer has the limits that hold for it; whoever has it sent on to a provider pays for that, by
    limits of his own, which ``account`` knows."""

    def __init__(self, request: CallRequest, account: Callable[[str], StoredAccount | None], facts: Facts) -> None:
        self._question = request.question
        self._payer = request.payer
        self._settings = request.settings
        self._account = account
        self._facts = facts

    def admit(self, decision: Decision) -> Decision:
        """``decision`` as far as limits allow it."""
        if not isinstance(decision, Route):
            return decision
        route = decision
        for rule in (self._permitted, self._not_too_premium, self._counted):
            allowed = rule(route)
            if isinstance(allowed, Reject):
                return allowed
            route = allowed
        if route is not decision or self._longest() is not None:
            route = self._bounded(route)
        return route.model_copy(update={"relayed_calls": self._relayed_calls(route)})

    def admit_emergency(self, decision: Decision) -> Decision:
        """``decision`` with no limit but that of emergency calls, and told to the tenant."""
        if not isinstance(decision, Route):
            return decision
        scope, number = emergency_scope(self._payer.aor), next(map(_number, _targets(decision)), "")
        admitted = self._facts.admit(scope, EMERGENCY, self._attempt)
        if isinstance(admitted, str):
            return _refusal(admitted)
        self._facts.called_emergency(self._payer, number, self._question.call_id)
        limits = [_scope_limits(scope, EMERGENCY, admitted)]
        return decision.model_copy(update={"counted": [scope], "limits": limits})

    # Rules: each gives the route as far as it allows it, the same if that is all of it

    def _permitted(self, route: Route) -> Route | Reject:
        """Only numbers that may be called."""
        reasons = [self._barred(target) for target in _targets(route)]
        reason = next(filter(None, reasons), "")
        if not reason:
            return route
        left = _without(route, lambda target: bool(self._barred(target)))
        return left if any(_targets(left)) or _ends(left) else _refusal(reason)

    def _not_too_premium(self, route: Route) -> Route | Reject:
        """Nobody calls many premium numbers all of a sudden."""
        for payer, prefix in self._premium(route):
            if too_premium(payer, prefix, self._attempt, self._facts):
                return _refusal("suspended; ask whoever runs the service")
        return route

    def _counted(self, route: Route) -> Route | Reject:
        """One call more for everybody who pays for it, or for nobody."""
        counted: dict[str, ScopeLimits] = {}
        for scope, limits in self._scopes(route).items():
            admitted = self._facts.admit(scope, limits, self._attempt)
            if not isinstance(admitted, str):
                counted[scope] = _scope_limits(scope, limits, admitted)
                continue
            if scope not in (self._payer.aor, self._payer.tenant):
                # Only what is on that account can't be had.
                route = _without(route, _paid_by(scope))
                if any(_targets(route)) or _ends(route):
                    continue
            self._facts.withdraw(counted, self._attempt)
            return _refusal(admitted)
        if not counted:
            return route
        return route.model_copy(update={"counted": list(counted), "limits": list(counted.values())})

    def _bounded(self, route: Route) -> Route:
        """With an end to the call, and for this caller only."""
        keep = route.keep
        if keep is not None and self._payer.aor:  # another's limits are others
            keep = keep.model_copy(update={"caller": self._question.caller})
        stages = [self._shortened(stage) for stage in route.stages]
        return self._shortened(route).model_copy(update={"stages": stages, "keep": keep})

    # What the rules go by

    def _limits(self, account: str) -> CallLimits:
        """Those of whoever pays."""
        if account in ("", self._payer.aor):
            return self._payer.limits
        found = self._account(account)
        return found.limits.otherwise(self._settings.account_limits) if found is not None else self._payer.limits

    def _barred(self, target: Target) -> str:
        """Why it may not be called, or ""."""
        number = read(_number(target), self._settings.country)
        return refusal(number, self._settings, self._limits(target.account)) if number is not None else ""

    def _premium(self, route: Route) -> list[tuple[str, str]]:
        """Who calls premium numbers, and the prefixes of those: each once, in however many ways it is tried."""
        found = (
            (target.account or self._payer.aor, self._settings.rules.premium(_number(target)))
            for target in _targets(route)
        )
        return list(dict.fromkeys((payer, prefix) for payer, prefix in found if payer and prefix))

    def _scopes(self, route: Route) -> dict[str, CallLimits]:
        """Who has to be asked whether one more call is allowed."""
        payers = {self._payer.aor: self._payer.limits} if self._payer.aor else {}
        for target in _targets(route):
            if target.provider is not None and target.account:
                payers.setdefault(target.account, self._limits(target.account))
        found = {**payers, self._settings.tenant: self._settings.limits}
        return {scope: limits for scope, limits in found.items() if scope and limits.counting}

    def _relayed_calls(self, route: Route) -> dict[str, int]:
        """What edges hold everybody to, to whom it may count."""
        payers = dict.fromkeys(filter(None, [self._payer.aor, *(target.account for target in _targets(route))]))
        most = {aor: _otherwise(self._limits(aor).relayed_calls, RELAYED_OF_ACCOUNT) for aor in payers}
        together = _otherwise(self._settings.limits.relayed_calls, RELAYED_OF_TENANT)
        return {**most, self._settings.tenant: together} if self._settings.tenant else most

    @property
    def _attempt(self) -> str:
        return self._question.attempt or self._question.call_id

    def _longest(self) -> int | None:
        limits = (self._payer.limits.max_call_seconds, self._settings.limits.max_call_seconds)
        return min((limit for limit in limits if limit is not None), default=None)

    def _shortened(self, stage: _Stage) -> _Stage:
        payers = {target.account for target in _all(stage.targets)}
        longest = [self._limits(payer).max_call_seconds for payer in payers] + [self._longest(), stage.max_duration]
        limits = [limit for limit in longest if limit]
        return stage.model_copy(update={"max_duration": min(limits)}) if limits else stage


def _refusal(broken: str) -> Reject:
    if broken == BUSY:
        return Reject(status=503, reason=f"Service Unavailable: {BUSY}", retry_after=1)
    return Reject(status=403, reason=f"Forbidden: {broken}")


def _scope_limits(scope: str, limits: CallLimits, admitted: Admitted) -> ScopeLimits:
    return ScopeLimits(
        scope=scope,
        concurrent_calls=limits.concurrent_calls,
        calls_per_minute=limits.calls_per_minute,
        calls_per_day=limits.calls_per_day,
        daily_spend=limits.daily_spend,
        today=admitted.today,
        spent=admitted.spent,
    )


def _otherwise(limit: int | None, usual: int) -> int:
    return usual if limit is None else limit


def _number(target: Target) -> str:
    return target.provider.number if target.provider is not None else ""


def _paid_by(account: str) -> Callable[[Target], bool]:
    """Whether ``account`` has a call to a provider sent on."""
    return lambda target: target.provider is not None and target.account == account


def _all(targets: list[Target]) -> Iterator[Target]:
    for target in targets:
        yield target
        yield from _all(target.instead)


def _targets(route: Route) -> Iterator[Target]:
    for stage in (route, *route.stages):
        yield from _all(stage.targets)


def _ends(route: Route) -> bool:
    """Whether the plan says what becomes of a call that nobody takes."""
    return any(stage.end is not None or stage.again for stage in (route, *route.stages))


def _without(route: Route, unwanted: Callable[[Target], bool]) -> Route:
    """``route`` without some targets; a stage that has none left counts as tried and failed."""

    def kept(targets: list[Target]) -> list[Target]:
        found: list[Target] = []
        for target in targets:
            instead = kept(target.instead)
            if not unwanted(target):
                found.append(target.model_copy(update={"instead": instead}))
            elif instead:
                found.append(instead[0].model_copy(update={"instead": instead[1:], "after": target.after}))
        return found

    stages = [stage.model_copy(update={"targets": kept(stage.targets)}) for stage in route.stages]
    return route.model_copy(update={"targets": kept(route.targets), "stages": stages, "keep": None})
