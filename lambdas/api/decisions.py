"""What edges ask: decisions."""

from __future__ import annotations

from fastapi import APIRouter

from lambdas.api import routing
from lambdas.api.abuse import watch
from lambdas.api.problems import Problem
from lambdas.api.security import EdgeDep, ServicesDep
from lambdas.api.services import Services
from lambdas.contract import (
    VERSION,
    Access,
    AccessQuestion,
    Decision,
    DecisionEnvelope,
    IncomingQuestion,
    LocateQuestion,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    Reject,
    RouteQuestion,
)
from lambdas.decisions import register, route
from lambdas.decisions.digest import refuse
from lambdas.decisions.values import Account
from lambdas.repositories.models import EdgeItem
from lambdas.repositories.transactions import pause

router = APIRouter(prefix="/edge", tags=["edges"])

_RACES = 8  # times that a REGISTER may be overtaken by another one of its AOR before it is told to come again


@router.post("/decisions")
def decide(envelope: QuestionEnvelope, edge: EdgeDep, services: ServicesDep) -> DecisionEnvelope:
    """Answer one question."""
    question = envelope.question
    _check_epoch(question, edge, services)
    decision = _decide(question, services)
    if isinstance(question, RegisterQuestion | RouteQuestion):
        watch(question, decision, services)
    return DecisionEnvelope(version=VERSION, decision=decision)


def _check_epoch(question: Question, edge: EdgeItem, services: Services) -> None:
    """The edge must hold the address that it asks for, in the epoch that it names. What only reads may rely on what
    this process read a second ago; what writes may not."""
    writes = isinstance(question, RegisterQuestion)
    wanted = (question.address, edge.id, question.epoch)
    if not writes and any((held.address, held.holder, held.epoch) == wanted for held in services.fleet.get()[0]):
        return
    lease = services.leases.get(question.address)
    if lease is not None and (lease.address, lease.holder, lease.epoch) == wanted:
        return
    raise Problem(409, f"Edge {edge.id} doesn't hold {question.address} in epoch {question.epoch}.")


def _decide(question: Question, services: Services) -> Decision:
    now = services.clock()
    if isinstance(question, RegisterQuestion):
        return _register(question, services)
    if isinstance(question, LocateQuestion):
        return route.locate(question, services.bindings.by_id(question.binding), now)
    if isinstance(question, AccessQuestion):
        provider = services.providers.get(question.provider)
        return Access(secret=provider.secret) if provider is not None else Reject(status=404, reason="Not Found")
    if isinstance(question, IncomingQuestion):
        return routing.incoming(question, services)
    return routing.route(question, services)


def _register(question: RegisterQuestion, services: Services) -> Decision:
    """Decide, write, and where another REGISTER came between, read and decide again."""
    credentials = question.credentials
    account, _ = services.directory.member(f"{credentials.username}@{credentials.realm}")
    refusal = refuse(credentials, "REGISTER", account, question.aor)
    if refusal is not None:  # strangers don't hold up those who may
        return refusal
    with services.turns.of(question.aor):
        return _registered(question, account, services)


def _registered(question: RegisterQuestion, account: Account | None, services: Services) -> Decision:
    for tries in range(_RACES):
        facts = register.RegisterFacts(account, services.bindings.of(question.aor))
        outcome = register.decide(question, facts, services.clock(), services.limits)
        if services.bindings.write(outcome.puts):
            if account is not None and account.limits.registrations is not None and outcome.puts:
                now, bindings = services.clock(), services.bindings.of(question.aor)
                too_many = register.crowd(question, facts, outcome.puts, bindings, now)
                if too_many:
                    services.bindings.write(too_many)  # if it has been changed meanwhile, somebody else has seen to it
                    return Reject(status=503, retry_after=1)
            if account is not None and outcome.puts:
                services.notices.moved(account.aor, account.tenant, facts.bindings, outcome.puts, services.clock())
            return outcome.decision
        pause(tries)
    return Reject(status=503, retry_after=1)
