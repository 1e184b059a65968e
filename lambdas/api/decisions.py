"""What edges ask: decisions."""

from __future__ import annotations

from fastapi import APIRouter

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
from lambdas.decisions import outbound, register, route
from lambdas.decisions.digest import refuse
from lambdas.decisions.provider import Way
from lambdas.repositories.models import EdgeItem

router = APIRouter(prefix="/edge", tags=["edges"])

_RACES = 8  # times that a REGISTER may be overtaken by another one of its AOR before it is told to come again


@router.post("/decisions")
def decide(envelope: QuestionEnvelope, edge: EdgeDep, services: ServicesDep) -> DecisionEnvelope:
    """Answer one question."""
    question = envelope.question
    _check_epoch(question, edge, services)
    return DecisionEnvelope(version=VERSION, decision=_decide(question, services))


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
        return _incoming(question, services)
    return _route(question, services)


def _incoming(question: IncomingQuestion, services: Services) -> Decision:
    provider = services.providers.get(question.provider)
    wanted = route.called_by(provider, question.method) if provider is not None else ()
    return route.incoming(provider, {aor: services.bindings.of(aor) for aor in wanted}, services.clock())


def _route(question: RouteQuestion, services: Services) -> Decision:
    credentials = question.credentials
    account = services.directory.account(f"{credentials.username}@{credentials.realm}")
    refusal = refuse(credentials, question.method, account, question.caller)
    if refusal is not None or account is None:
        return refusal or Reject(status=403)
    user, _, host = question.called.rpartition("@")
    ours = host in services.domains.get().names
    settings = services.directory.settings(account.tenant)
    choice = outbound.choose(user, "" if ours else host, settings)
    emergency = isinstance(choice, Reject) or (choice is not None and choice.number.emergency)
    called = services.directory.account(question.called) if ours and not emergency else None
    if called is not None or choice is None:
        return route.decide(account, called, services.bindings.of(question.called) if called else (), services.clock())
    if isinstance(choice, Reject):
        return choice
    if question.method != "INVITE":
        return Reject(status=405, reason="Method Not Allowed: only calls go to providers")
    ways = [_way(f"{account.tenant}/{name}", question.address, services) for name in choice.providers]
    return outbound.through(choice, [way for way in ways if way is not None], account)


def _way(name: str, here: str, services: Services) -> Way | None:
    """Calls leave from where the account is registered, if anybody is there; else from the caller's edge address."""
    provider = services.providers.get(name)
    if provider is None:
        return None
    assigned = services.assignments.get(name) if provider.registers else None
    if assigned is None or all(lease.address != assigned.address for lease in services.fleet.get()[0]):
        return Way(provider, here, {})
    state = services.providers.state(name)
    routes = state.routes if state is not None and state.state == "registered" else ()
    return Way(provider, assigned.address, assigned.ports or {}, routes)


def _register(question: RegisterQuestion, services: Services) -> Decision:
    """Decide, write, and where another REGISTER came between, read and decide again."""
    credentials = question.credentials
    account = services.directory.account(f"{credentials.username}@{credentials.realm}")
    for _ in range(_RACES):
        facts = register.RegisterFacts(account, services.bindings.of(question.aor))
        outcome = register.decide(question, facts, services.clock(), services.limits)
        if services.bindings.write(outcome.puts):
            return outcome.decision
    return Reject(status=503, retry_after=1)
