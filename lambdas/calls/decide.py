"""The answer to an edge's question."""

from __future__ import annotations

from lambdas.calls.access import access
from lambdas.calls.dialog import in_dialog
from lambdas.calls.facts import Facts
from lambdas.calls.registering import registered
from lambdas.calls.routing import incoming, route
from lambdas.calls.transferring import transfer
from lambdas.contract import (
    AccessQuestion,
    Decision,
    DialogQuestion,
    IncomingQuestion,
    LocateQuestion,
    Question,
    RegisterQuestion,
    Route,
    TransferQuestion,
)
from lambdas.decisions.route import locate
from lambdas.decisions.values import without_closed


def decide(question: Question, facts: Facts) -> Decision:
    """Whoever asks is known to be an edge, and to hold the address that it asks for."""
    if isinstance(question, RegisterQuestion):
        return registered(question, facts)
    if isinstance(question, LocateQuestion):
        return _located(question, facts)
    if isinstance(question, AccessQuestion):
        return access(question, facts)
    if isinstance(question, DialogQuestion):
        return in_dialog(question, facts)
    if isinstance(question, IncomingQuestion):
        return incoming(question, facts)
    if isinstance(question, TransferQuestion):
        return transfer(question, facts)
    return route(question, facts)


def _located(question: LocateQuestion, facts: Facts) -> Decision:
    now = facts.clock()
    items = facts.binding(question.binding)
    found = locate(question, without_closed(items, question.closed), now)
    if isinstance(found, Route) or not any(item.instance and item.reg_id for item in items):
        return found
    return locate(question, without_closed(facts.bindings(items[0].aor), question.closed), now)
