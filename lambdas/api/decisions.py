"""What edges ask: decisions and heartbeats."""

from __future__ import annotations

from fastapi import APIRouter

from lambdas.api.problems import Problem
from lambdas.api.security import EdgeDep, ServicesDep
from lambdas.api.services import Services
from lambdas.contract import (
    VERSION,
    BindingChange,
    Decision,
    DecisionEnvelope,
    FleetEdge,
    Heartbeat,
    HeartbeatReply,
    HeldAddress,
    LocateQuestion,
    Question,
    QuestionEnvelope,
    RegisterQuestion,
    Reject,
)
from lambdas.decisions import register, route
from lambdas.repositories.leases import LEASE_SECONDS, Lease
from lambdas.repositories.models import EdgeItem

router = APIRouter(prefix="/edge", tags=["edges"])

_CHANGES = 500  # bindings in one heartbeat's reply
_RACES = 8  # times that a REGISTER may be overtaken by another one of its AOR before it is told to come again


@router.post("/decisions")
def decide(envelope: QuestionEnvelope, edge: EdgeDep, services: ServicesDep) -> DecisionEnvelope:
    """Answer one question."""
    question = envelope.question
    _check_epoch(question, edge, services)
    return DecisionEnvelope(version=VERSION, decision=_decide(question, services))


def _check_epoch(question: Question, edge: EdgeItem, services: Services) -> None:
    """The edge must hold the address that it asks for, in the epoch that it names."""
    for fresh in (False, True):
        for lease in services.fleet.get(fresh):
            if (lease.address, lease.holder, lease.epoch) == (question.address, edge.id, question.epoch):
                return
    raise Problem(409, f"Edge {edge.id} doesn't hold {question.address} in epoch {question.epoch}.")


def _decide(question: Question, services: Services) -> Decision:
    now = services.clock()
    if isinstance(question, RegisterQuestion):
        return _register(question, services)
    if isinstance(question, LocateQuestion):
        return route.locate(question, services.bindings.by_id(question.binding), now)
    credentials = question.credentials
    facts = route.RouteFacts(
        account=services.directory.account(f"{credentials.username}@{credentials.realm}"),
        called=services.directory.account(question.called),
        bindings=services.bindings.of(question.called),
    )
    return route.decide(question, facts, now)


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


@router.post("/heartbeat")
def heartbeat(beat: Heartbeat, edge: EdgeDep, services: ServicesDep) -> HeartbeatReply:
    """Renew the edge's leases and tell it what has changed."""
    now = services.clock()
    held: list[Lease] = []
    refused: dict[str, str] = {}
    for address in beat.addresses:
        if address not in edge.addresses:
            refused[address] = f"edge {edge.id} is not registered for {address}; see /v1/edges"
            continue
        wanted = Lease(address, edge.id, beat.boot, 0, 0.0, beat.mesh, beat.certificate)
        lease = services.leases.hold(wanted, now)
        if isinstance(lease, str):
            refused[address] = lease
        else:
            held.append(lease)
    domains = services.domains.get()
    leases = services.leases.all()
    changes: list[BindingChange] = []
    cursors: dict[str, int] = {}
    more = False
    for lease in held:
        found, cursors[lease.address], full = _changes(services, lease.address, beat, now)
        changes += found
        more = more or full
    return HeartbeatReply(
        version=VERSION,
        held=[_held(lease, now) for lease in held],
        refused=refused,
        fleet=_fleet([lease for lease in leases if lease.expires_at > now], now),
        addresses=sorted(lease.address for lease in leases),
        keys=services.keys(now),
        domains_version=domains.version,
        domains=None if beat.domains == domains.version else domains.names,
        default_domain=domains.default,
        changes=changes,
        cursors=cursors,
        more=more,
    )


def _changes(services: Services, address: str, beat: Heartbeat, now: float) -> tuple[list[BindingChange], int, bool]:
    since = beat.changes_since.get(address, 0)
    items, cursor, more = services.bindings.changes(address, since, _CHANGES)
    found = [
        BindingChange(
            id=item.id,
            aor=item.aor,
            contact=item.contact,
            expires=max(1, round(item.expires_at - now)) if item.live(now) else 0,
            flow=item.flow,
        )
        for item in items
        if since or item.live(now)
    ]
    return found, cursor, more


def _held(lease: Lease, now: float) -> HeldAddress:
    seconds = min(LEASE_SECONDS, lease.expires_at - now)
    return HeldAddress(address=lease.address, epoch=lease.epoch, seconds=seconds)


def _fleet(leases: list[Lease], now: float) -> list[FleetEdge]:
    edges: dict[str, FleetEdge] = {}
    for lease in sorted(leases, key=lambda lease: lease.expires_at):
        others = edges[lease.holder].held if lease.holder in edges else []
        edges[lease.holder] = FleetEdge(
            id=lease.holder,
            mesh=lease.mesh,
            certificate=lease.certificate,
            held=[*others, _held(lease, now)],
        )
    return list(edges.values())
