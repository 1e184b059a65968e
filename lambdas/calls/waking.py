"""Having a phone woken: the push is sent beside the answer, which nobody's service delays."""

from __future__ import annotations

from lambdas.calls.facts import Facts
from lambdas.contract import Decision, PushQuestion
from lambdas.decisions.push import answered, awaited


def woken(question: PushQuestion, facts: Facts) -> Decision:
    """Whether a push is on its way, this one or one of a moment ago."""
    item = awaited(question, facts.bindings(question.aor), facts.clock())
    if item is None or item.push is None:
        return answered(False)
    account = facts.account(question.aor)
    if account is None or not account.enabled or account.tenant != item.tenant:
        return answered(False)
    service = next((one for one in facts.push_services(item.tenant) if one.serves(item.push)), None)
    if service is None:
        return answered(False)
    shown = question.model_copy(update={"caller": question.caller if service.shows else ""})
    return answered(facts.push(item, shown))
