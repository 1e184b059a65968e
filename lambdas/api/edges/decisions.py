"""What edges ask: decisions."""

from __future__ import annotations

from lambdas.api.edges.route import edge_route
from lambdas.api.problems import Problem
from lambdas.calls import decide as policy
from lambdas.contract import (
    VERSION,
    DecisionEnvelope,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    RouteQuestion,
)
from lambdas.repositories.models import EdgeItem
from lambdas.services.facts import StoredFacts
from lambdas.services.services import Services
from lambdas.services.suspension import watch


def decide(envelope: QuestionEnvelope, edge: EdgeItem, services: Services) -> DecisionEnvelope:
    """Answer one question."""
    question = envelope.question
    _check_epoch(question, edge, services)
    decision = policy.decide(question, StoredFacts(services))
    if isinstance(question, RegisterQuestion | RouteQuestion):
        watch(question, decision, services)
    return DecisionEnvelope(version=VERSION, decision=decision)


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
