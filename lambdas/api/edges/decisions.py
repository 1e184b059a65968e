"""What edges ask: decisions."""

from __future__ import annotations

import logging

from lambdas.api.edges.route import edge_route
from lambdas.api.problems import Problem
from lambdas.calls import decide as policy
from lambdas.contract import (
    VERSION,
    AccessQuestion,
    Decision,
    DecisionEnvelope,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    Reject,
    RouteQuestion,
)
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.models import EdgeItem
from lambdas.services.facts import StoredFacts
from lambdas.services.services import Services
from lambdas.services.suspension import watch

log = logging.getLogger(__name__)


def decide(envelope: QuestionEnvelope, edge: EdgeItem, services: Services) -> DecisionEnvelope:
    """Answer one question."""
    question = envelope.question
    _check_epoch(question, edge, services)
    if isinstance(question, AccessQuestion):
        return DecisionEnvelope(version=VERSION, decision=_access(question, edge, services))
    decision = policy.decide(question, StoredFacts(services))
    if isinstance(question, RegisterQuestion | RouteQuestion):
        watch(question, decision, services)
    return DecisionEnvelope(version=VERSION, decision=decision)


def _access(question: AccessQuestion, edge: EdgeItem, services: Services) -> Decision:
    """Nobody gets many passwords at once, nor one without anybody hearing of it that isn't due."""
    if not services.quotas.passwords.take(edge.id):
        reason = "Service Unavailable: too many passwords at once"
        decision: Decision = Reject(status=503, reason=reason, retry_after=60)
    else:
        decision = policy.decide(question, StoredFacts(services))
    if isinstance(decision, Reject):
        log.warning("edge %s asked for the password of %s: %s", edge.id, question.provider, decision.reason)
        if services.quotas.logs.take(f"edge {edge.id}"):
            text = f"edge {edge.id} asked for the password of provider {question.provider[:100]}: {decision.reason}"
            services.tables.events.add("", StoredEvent("abuse", services.clock(), text, edge.id))
    return decision


def _check_epoch(question: Question, edge: EdgeItem, services: Services) -> None:
    """The edge must hold the address that it asks for, in the epoch that it names. What only reads may rely on what
    this process read a second ago; what writes may not."""
    writes = isinstance(question, RegisterQuestion)
    wanted = (question.address, edge.id, question.epoch)
    if not writes and any((held.address, held.holder, held.epoch) == wanted for held in services.fleet.leases()):
        return
    lease = services.tables.leases.get(question.address)
    if lease is not None and (lease.address, lease.holder, lease.epoch) == wanted:
        return
    raise Problem(409, f"Edge {edge.id} doesn't hold {question.address} in epoch {question.epoch}.")


ROUTE = edge_route("/edge/decisions", QuestionEnvelope, decide)
