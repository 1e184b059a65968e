"""The answer to an edge's question."""

from __future__ import annotations

from lambdas.calls.access import access
from lambdas.calls.dialog import in_dialog
from lambdas.calls.facts import Facts
from lambdas.calls.registering import registered
from lambdas.calls.routing import incoming, route
from lambdas.calls.transferring import transfer
from lambdas.calls.waking import woken
from lambdas.contract import (
    AccessQuestion,
    Decision,
    DialogQuestion,
    IncomingQuestion,
    LocateQuestion,
    PushQuestion,
    Question,
    RegisterQuestion,
    TransferQuestion,
)
from lambdas.decisions.route import locate
from lambdas.decisions.values import without_closed


def decide(question: Question, facts: Facts) -> Decision:
    """Whoever asks is known to be an edge, and to hold the address that it asks for."""
    if isinstance(question, RegisterQuestion):
        return registered(question, facts)
    if isinstance(question, LocateQuestion):
        return locate(question, without_closed(facts.binding(question.binding), question.closed), facts.clock())
    if isinstance(question, AccessQuestion):
        return access(question, facts)
    if isinstance(question, DialogQuestion):
        return in_dialog(question, facts)
    if isinstance(question, IncomingQuestion):
        return incoming(question, facts)
    if isinstance(question, PushQuestion):
        return woken(question, facts)
    if isinstance(question, TransferQuestion):
        return transfer(question, facts)
    return route(question, facts)
