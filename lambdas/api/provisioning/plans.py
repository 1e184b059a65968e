"""Dial plans: stored in versions, tried out, published and rolled back."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.bodies import YAML
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import (
    Flag,
    Input,
    ListingDep,
    ListPage,
    Paging,
    PagingDep,
    TenantQuery,
    chosen_tenant,
    found_or_404,
    room,
    slow_turn,
)
from lambdas.api.security import CallerDep, ServicesDep
from lambdas.calls.evaluation import ScriptError, evaluate_example, evaluate_plan
from lambdas.calls.script_world import ScriptWorld
from lambdas.calls.tenant_accounts import TenantAccounts
from lambdas.decisions import wizard
from lambdas.decisions.rules import Moment, Plan
from lambdas.decisions.wizard import DialledCall, Step
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.filters import alike
from lambdas.repositories.models import PlanItem
from lambdas.repositories.plans import Version
from lambdas.services.facts import StoredFacts
from lambdas.services.services import Services

router = APIRouter(prefix="/plans", tags=["dial plans"], route_class=AuditedRoute)

_MOST_TEXT = 200_000  # octets of JSON
_MOST_VERSIONS = 10**8 - 1

PlanName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", examples=["office"])]


class NewVersion(Input):
    plan: Plan
    note: Annotated[str, Field(max_length=200, description="What has changed, for those who read the history.")] = ""
    publish: Annotated[Flag, Field(description="Let it count at once.")] = False


class Publication(Input):
    version: Annotated[int, Field(ge=1, le=_MOST_VERSIONS, description="An older one rolls back.")]


class PlanShown(BaseModel):
    name: str
    tenant: str
    published: Annotated[int, Field(description="The version that counts; 0 if none does.")]
    published_by: Annotated[str, Field(description="The API key that published it.")]
    published_at: int
    latest: int


class VersionShown(BaseModel):
    version: int
    author: Annotated[str, Field(description="The API key that stored it.")]
    note: str
    at: int


class WholeVersion(VersionShown):
    plan: Plan


class Simulation(Input):
    """A call to try. Without ``version`` the published one is asked."""

    version: Annotated[int, Field(ge=1, le=_MOST_VERSIONS)] | None = None
    direction: Literal["incoming", "outgoing"] = "incoming"
    caller: Annotated[str, Field(max_length=200)]
    called: Annotated[str, Field(max_length=200)]
    provider: Annotated[str, Field(max_length=32)] = ""
    at: Moment | None = Field(default=None, description="Now, if left out.")
    registered: Annotated[
        list[str] | None, Field(description="Accounts that have a phone; as it is now, if left out.")
    ] = None
    function: Annotated[
        str, Field(max_length=100, description="The script's function to ask; by the direction, if left out.")
    ] = ""
    outcomes: Annotated[
        list[Annotated[int, Field(ge=300, le=699)]],
        Field(max_length=20, description="The statuses of what has been tried already."),
    ] = []


class LegShown(BaseModel):
    rings: str
    after: float


class StepShown(BaseModel):
    """Legs to ring, or an end: one of forward, status, redirect, as_dialled and ask_again."""

    legs: list[LegShown]
    timeout: float
    early_media: str
    max_duration: int
    after: Annotated[list[int], Field(description="Only if what was before had one of these statuses; any if empty.")]
    part_of: Annotated[int | None, Field(description="Only if that step was tried; the first is 0.")]
    forward: str | None
    status: int | None
    reason: str
    redirect: str | None
    as_dialled: bool
    ask_again: Annotated[str | None, Field(description="The script's function that is asked then.")]
    called: str
    caller_id: str


class RuleShown(BaseModel):
    rule: str
    outcome: Annotated[str, Field(description="`fired`, or the condition that didn't hold.")]


class Simulated(BaseModel):
    steps: Annotated[list[StepShown], Field(description="Tried one after the other, until somebody answers.")]
    rules: list[RuleShown]
    log: Annotated[list[str], Field(description="What the script has logged.")]
    error: Annotated[str | None, Field(description="Why the script has no result; the caller would hear 500.")]


@router.get("", responses=responses(400, 401, 404))
def list_plans(
    services: ServicesDep,
    who: CallerDep,
    listing: ListingDep,
    tenant: TenantQuery = None,
    published: Annotated[bool | None, Query(description="Only those of which a version counts, or none.")] = None,
) -> ListPage[PlanShown]:
    """A tenant's dial plans, by name."""
    owner = chosen_tenant(tenant, who, services)
    return listing.page(services, PlanItem, f"plans#{owner}", _shown, alike(PlanItem, published=published), f"{owner}/")


@router.get("/{name}", responses=responses(400, 401, 404))
def read_plan(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> PlanShown:
    """One plan: which version counts, and since when."""
    return _shown(_plan(name, tenant, services, who))


@router.post(
    "/{name}/versions",
    status_code=201,
    responses=responses(400, 401, 404, 409, 422),
    openapi_extra={"requestBody": {"content": {YAML: {"schema": {"$ref": "#/components/schemas/NewVersion"}}}}},
)
def add_plan_version(
    name: PlanName, body: NewVersion, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None
) -> PlanShown:
    """Store a version; the first one makes the plan. It counts once it is published."""
    owner = chosen_tenant(tenant, who, services)
    if len(body.plan.model_dump_json(exclude_defaults=True).encode()) > _MOST_TEXT:
        raise Problem(422, f"The plan is longer than {_MOST_TEXT} octets; shorten its lists.")
    if body.publish:
        _check_examples(body.plan, owner, name, services, who)
    try:
        new = services.tables.plans.item(f"{owner}/{name}") is None
        with room(owner, "plans", services, who) if new else contextlib.nullcontext():
            number = services.tables.plans.add(owner, name, body.plan, who.key, body.note)
    except Taken as error:
        raise Problem(409, "Somebody else has stored a version just now; read it, then try again.") from error
    item = _plan(name, tenant, services, who)
    if body.publish:
        _publish(item, number, services, who)
    return _shown(item)


@router.get("/{name}/versions", responses=responses(400, 401, 404))
def list_versions(
    name: str, services: ServicesDep, who: CallerDep, paging: PagingDep, tenant: TenantQuery = None
) -> ListPage[VersionShown]:
    """All versions, oldest first: who stored one when, and why. Read one for its plan."""
    item = _plan(name, tenant, services, who)
    page = services.tables.plans.versions(item, paging.limit, paging.after)
    return ListPage(items=[_version_shown(version) for version in page.items], next=Paging.following(page))


@router.get("/{name}/versions/{version}", responses=responses(400, 401, 404, 422))
def read_version(
    name: str,
    version: Annotated[int, Path(ge=1, le=_MOST_VERSIONS)],
    services: ServicesDep,
    who: CallerDep,
    tenant: TenantQuery = None,
) -> WholeVersion:
    """One version, with its plan."""
    found = _version(_plan(name, tenant, services, who), version, services)
    return WholeVersion(**_version_shown(found).model_dump(), plan=found.plan)


@router.post("/{name}/publish", responses=responses(400, 401, 404, 409, 422))
def publish_plan(
    name: str, body: Publication, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None
) -> PlanShown:
    """Let a version count, from the next call on. Its own examples are tried first."""
    item = _plan(name, tenant, services, who)
    _check_examples(_version(item, body.version, services).plan, item.tenant, name, services, who)
    _publish(item, body.version, services, who)
    return _shown(item)


@router.post("/{name}:simulate", responses=responses(400, 401, 404, 422))
def simulate_plan(
    name: str, body: Simulation, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None
) -> Simulated:
    """What would happen to a call, which rules fire, and why the others don't. Nobody is rung."""
    item = _plan(name, tenant, services, who)
    number = body.version or int(item.published)
    if not number:
        raise Problem(404, f"No version of {name!r} is published; say which one to try with `version`.")
    plan = _version(item, number, services).plan
    now = services.clock()

    facts = StoredFacts(services)
    accounts = TenantAccounts(facts, item.tenant)
    known = body.registered
    call = DialledCall(
        direction=body.direction,
        caller=body.caller,
        called=body.called,
        at=body.at.timestamp() if body.at is not None else now,
        registered=accounts.registered if known is None else known.__contains__,
        provider=body.provider,
        disturbing=accounts.disturbing,
        outcomes=tuple(body.outcomes),
    )
    hosts = services.tables.directory.settings(item.tenant).script_hosts
    world = ScriptWorld(item.tenant, facts, hosts, dry=True)
    try:
        with slow_turn(services, who):
            found = evaluate_plan(plan, call, world, services.sandbox, item.tenant, name, body.function, explain=True)
    except ScriptError as error:
        return Simulated(steps=[], rules=[], log=list(error.log), error=str(error))
    return Simulated(
        steps=[_step_shown(step) for step in found.verdict.steps],
        rules=[RuleShown(rule=rule, outcome=outcome) for rule, outcome in found.verdict.fired],
        log=list(found.log),
        error=None,
    )


def _step_shown(step: Step) -> StepShown:
    return StepShown(
        legs=[LegShown(rings=leg.who, after=leg.after) for leg in step.legs],
        timeout=step.timeout,
        early_media=step.early_media,
        max_duration=step.max_duration,
        after=list(step.statuses),
        part_of=step.part_of if step.part_of >= 0 else None,
        forward=step.forward or None,
        status=step.reject.status if step.reject is not None else None,
        reason=step.reject.reason if step.reject is not None else "",
        redirect=step.redirect or None,
        as_dialled=step.as_dialled,
        ask_again=step.again or None,
        called=step.called,
        caller_id=step.caller_id,
    )


@router.delete("/{name}", status_code=204, responses=responses(400, 401, 404))
def delete_plan(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> None:
    """Remove a plan and all its versions. What still names it goes on as if it had none."""
    try:
        item = _plan(name, tenant, services, who)
        services.tables.plans.delete(item, services.clock())
        services.tables.counts.note(item.tenant, "plans", -1)
    except Missing as error:
        raise Problem(404, f"There is no dial plan {name!r}.") from error


def check_plan(tenant: str, name: str | None, services: Services) -> None:
    """Raises Problem 404 if ``name`` ("" and None stand for none) isn't a plan of the tenant."""
    if name and services.tables.plans.item(f"{tenant}/{name}") is None:
        raise Problem(404, f"There is no dial plan {name!r}; store it under /v1/plans first.")


def _plan(name: str, tenant: str | None, services: Services, who: CallerDep) -> PlanItem:
    owner = chosen_tenant(tenant, who, services)
    item: PlanItem = found_or_404(services.tables.plans.item(f"{owner}/{name}"), who, f"dial plan {name!r}")
    return item


def _version(item: PlanItem, number: int, services: Services) -> Version:
    found = services.tables.plans.version(item, number)
    if found is None:
        raise Problem(404, f"Dial plan {item.name!r} has no version {number}; the latest is {int(item.latest)}.")
    return found


def _check_examples(plan: Plan, tenant: str, name: str, services: Services, who: CallerDep) -> None:
    """A script without examples is at least read. Raises Problem 422."""
    evaluated = evaluate_example(plan, services.sandbox, tenant, name) if plan.script else None
    try:
        if plan.script and not plan.examples:
            raise Problem(422, "A script needs at least one example that shows what it does; add `examples`.")
        with slow_turn(services, who):
            failures = wizard.failures(plan, evaluated)
    except ScriptError as error:
        raise Problem(422, f"The script fails on its examples, so it isn't published: {error}.") from error
    if failures:
        raise Problem(422, f"The plan doesn't do what its examples say, so it isn't published: {'; '.join(failures)}.")


def _publish(item: PlanItem, number: int, services: Services, who: CallerDep) -> None:
    try:
        services.tables.plans.publish(item, number, who.key, services.clock())
    except Missing as error:
        raise Problem(404, f"There is no dial plan {item.name!r}.") from error


def _shown(item: PlanItem) -> PlanShown:
    return PlanShown(
        name=item.name,
        tenant=item.tenant,
        published=int(item.published),
        published_by=item.published_by,
        published_at=int(item.published_at),
        latest=int(item.latest),
    )


def _version_shown(version: Version) -> VersionShown:
    return VersionShown(version=version.number, author=version.author, note=version.note, at=version.at)
