"""Who gets the password of a provider account."""

from __future__ import annotations

from lambdas.calls.facts import CallWay, Facts
from lambdas.contract import Access, AccessQuestion, Decision, Reject

_DIALOG = 7 * 86_400  # seconds for which what leads to a provider is of use
_SKEW = 60  # seconds that an edge's clock may be ahead


def access(question: AccessQuestion, facts: Facts) -> Decision:
    """For whoever holds its registration, who has it anyway; and where there is a call through it, which has been
    challenged: the user part by which its phone reaches the provider is the proof."""
    provider = facts.provider(question.provider)
    if provider is None:
        return Reject(status=404, reason="Not Found")
    holds = provider.registers and facts.assigned(provider.id) == question.address
    if holds or _in_a_call(question, facts):
        return Access(secret=provider.secret, server=provider.server)
    reason = "Forbidden: the password of a provider is for who registers it, and for calls through it"
    return Reject(status=403, reason=reason, tenant=provider.tenant)


def _in_a_call(question: AccessQuestion, facts: Facts) -> bool:
    opened = facts.way_of_call(question.way, question.call_id, question.tag)
    if opened is None:
        return False
    return opened.provider == question.provider and lasts(opened, facts.clock())


def lasts(way: CallWay, now: float) -> bool:
    """Whether the call may still be under way."""
    return -_SKEW <= now - way.started <= _DIALOG
