"""Where does this request go?"""

from __future__ import annotations

from dataclasses import dataclass

from lambdas.contract import Decision, LocateQuestion, Reject, Route, RouteQuestion, Target
from lambdas.decisions.digest import refuse
from lambdas.decisions.values import Account, StoredBinding, present


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """``account`` is the one that the credentials name; ``bindings`` are those of ``called``."""

    account: Account | None
    called: Account | None
    bindings: tuple[StoredBinding, ...]


def decide(question: RouteQuestion, facts: RouteFacts, now: float) -> Decision:
    """To all bindings of an account of the same tenant. What another tenant has looks like what nobody has."""
    refusal = refuse(question.credentials, question.method, facts.account, question.caller)
    if refusal is not None:
        return refusal
    called = facts.called
    if called is None or facts.account is None or called.tenant != facts.account.tenant:
        return Reject(status=404, reason="Not Found")
    targets = _targets(facts.bindings, now) if called.enabled else []
    if not targets:
        return Reject(status=480, reason="Temporarily Unavailable: not registered")
    return Route(targets=targets, tenant=facts.account.tenant)


def locate(question: LocateQuestion, bindings: tuple[StoredBinding, ...], now: float) -> Decision:
    """Where a binding is now (RFC 5626 §5.3: 430 if nowhere)."""
    targets = _targets(bindings, now)
    return Route(targets=targets[:1]) if targets else Reject(status=430)


def _targets(bindings: tuple[StoredBinding, ...], now: float) -> list[Target]:
    found = [Target(uri=item.contact, flow=item.flow, binding=item.id, q=item.q) for item in present(bindings, now)]
    return sorted(found, key=lambda target: -target.q)
