"""Webhooks: a tenant's own server hears of calls and registrations as they happen."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import (
    Input,
    ListingDep,
    ListPage,
    TenantQuery,
    chosen_tenant,
    found_or_404,
    slow_turn,
)
from lambdas.api.security import CallerDep, ServicesDep
from lambdas.hooks.delivering import TIMEOUT, check
from lambdas.hooks.notices import NoticeKind
from lambdas.lookups.errors import OutsideError
from lambdas.lookups.outside import Outside
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.hooks import NotTold
from lambdas.repositories.models import HookItem
from lambdas.services.services import Services

router = APIRouter(prefix="/hooks", tags=["webhooks"], route_class=AuditedRoute)

Url = Annotated[str, Field(max_length=500, examples=["https://www.example.com/hook"])]
Kinds = Annotated[
    list[NoticeKind], Field(min_length=1, max_length=len(get_args(NoticeKind)), description="What it hears of.")
]


class NewHook(Input):
    tenant: Annotated[str | None, Field(description="Needed with an administration key.")] = None
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", examples=["crm"])]
    url: Url
    events: Annotated[Kinds, Field(description="What it hears of; all, if left out.")] = list(get_args(NoticeKind))


class HookChange(Input):
    url: Url | None = None
    events: Kinds | None = None


class Hook(BaseModel):
    name: str
    tenant: str
    url: str
    events: list[str]


class HookWithSecret(Hook):
    secret: Annotated[
        str, Field(description="Checks `webhook-signature`, as Standard Webhooks has it. Shown this once.")
    ]


def _shown(item: HookItem) -> Hook:
    return Hook(name=item.name, tenant=item.tenant, url=item.url, events=list(item.events))


@router.post("", status_code=201, responses=responses(400, 401, 404, 409, 412, 422))
def add_hook(body: NewHook, services: ServicesDep, who: CallerDep) -> HookWithSecret:
    """Have events told to a URL: each is a POST of JSON, signed, repeated for most of a day until the answer is 2xx."""
    tenant = chosen_tenant(body.tenant, who, services)
    if not services.tables.hooks.available:
        raise Problem(409, "This installation has no queue for webhooks; whoever runs it has to set HOOKS_QUEUE.")
    with slow_turn(services, who):
        _reachable(body.url)
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    try:
        item = services.tables.hooks.create(tenant, body.name, body.url, sorted(set(body.events)), secret)
    except Taken as error:
        raise Problem(409, f"There is a webhook {body.name!r} already.") from error
    except Missing as error:
        raise Problem(404, f"There is no tenant {tenant!r}.") from error
    return HookWithSecret(**_shown(item).model_dump(), secret=secret)


@router.get("", responses=responses(400, 401, 404))
def list_hooks(
    services: ServicesDep,
    who: CallerDep,
    listing: ListingDep,
    tenant: TenantQuery = None,
    event: Annotated[NoticeKind | None, Query(description="Only those that hear of this.")] = None,
) -> ListPage[Hook]:
    """A tenant's webhooks, by name."""
    owner = chosen_tenant(tenant, who, services)
    where = HookItem.events.contains(event) if event is not None else None
    return listing.page(services, HookItem, f"hooks#{owner}", _shown, where, f"{owner}/")


@router.get("/{name}", responses=responses(400, 401, 404))
def read_hook(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> Hook:
    """One webhook."""
    return _shown(_hook(name, tenant, services, who))


@router.patch("/{name}", responses=responses(400, 401, 404, 422))
def change_hook(name: str, body: HookChange, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> Hook:
    """Another URL, or other events; the secret stays."""
    item = _hook(name, tenant, services, who)
    if body.url is not None:
        with slow_turn(services, who):
            _reachable(body.url)
    url, events = body.url or item.url, sorted(set(body.events or item.events))
    try:
        services.tables.hooks.change(item, url, events)
    except Missing as error:
        raise Problem(404, f"There is no webhook {name!r}.") from error
    return _shown(item)


@router.post("/{name}/ping", status_code=202, responses=responses(400, 401, 404, 429, 503))
def ping_hook(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> None:
    """Have a `ping` delivered, to see that it arrives."""
    item = _hook(name, tenant, services, who)
    if not services.quotas.pings.take(item.tenant):
        raise Problem(429, "Too many pings; wait a minute.", {"Retry-After": "60"})
    try:
        services.notices.ping(item.tenant, item.name, services.clock())
    except NotTold as error:
        raise Problem(
            503, "The queue of webhooks doesn't take it just now; try again.", {"Retry-After": "5"}
        ) from error


@router.delete("/{name}", status_code=204, responses=responses(400, 401, 404))
def remove_hook(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> None:
    """Remove a webhook; what is waiting for it is dropped."""
    try:
        services.tables.hooks.delete(_hook(name, tenant, services, who))
    except Missing as error:
        raise Problem(404, f"There is no webhook {name!r}.") from error


def _reachable(url: str) -> None:
    """Raises Problem if nothing may be delivered there."""
    try:
        outside = Outside(TIMEOUT)
        outside.address(check(url, outside))
    except OutsideError as error:
        raise Problem(422, f"url: {error}.") from error


def _hook(name: str, tenant: str | None, services: Services, who: CallerDep) -> HookItem:
    owner = chosen_tenant(tenant, who, services)
    item: HookItem = found_or_404(services.tables.hooks.item(f"{owner}/{name}"), who, f"webhook {name!r}")
    return item
