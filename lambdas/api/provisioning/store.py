"""The store: small values that a tenant's scripts read and write."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import Input, ListingDep, ListPage, TenantQuery, chosen_tenant
from lambdas.api.security import CallerDep, ServicesDep
from lambdas.decisions.store import KEY, LONGEST_VALUE
from lambdas.repositories.directory import Missing
from lambdas.repositories.models import StoreItem
from lambdas.repositories.store import Stored, stored

router = APIRouter(prefix="/store", tags=["dial plans"], route_class=AuditedRoute)

_Key = Annotated[str, Path(pattern=KEY)]


class NewValue(Input):
    value: Annotated[str, Field(max_length=LONGEST_VALUE)]


class Value(BaseModel):
    key: str
    value: str
    changed_at: Annotated[int, Field(description="Unix time in seconds.")]


@router.get("", responses=responses(400, 401, 404))
def list_values(
    services: ServicesDep, who: CallerDep, listing: ListingDep, tenant: TenantQuery = None
) -> ListPage[Value]:
    """What is stored, by key."""
    owner = chosen_tenant(tenant, who, services)
    return listing.page(services, StoreItem, f"store#{owner}", lambda item: _shown(stored(item)), within=f"{owner}/")


@router.get("/{key}", responses=responses(400, 401, 404, 422))
def read_value(key: _Key, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> Value:
    """One value, as scripts have it from `get(key)`."""
    found = services.tables.store.get(chosen_tenant(tenant, who, services), key)
    if found is None:
        raise _none(key)
    return _shown(found)


@router.put("/{key}", status_code=204, responses=responses(400, 401, 404, 409, 422))
def write_value(key: _Key, body: NewValue, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> None:
    """Set a value; the next call sees it."""
    services.tables.store.put(chosen_tenant(tenant, who, services), key, body.value)


@router.delete("/{key}", status_code=204, responses=responses(400, 401, 404, 422))
def delete_value(key: _Key, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> None:
    """Remove a value."""
    try:
        services.tables.store.delete(chosen_tenant(tenant, who, services), key)
    except Missing as error:
        raise _none(key) from error


def _none(key: str) -> Problem:
    return Problem(404, f"Nothing is stored as {key!r}.")


def _shown(found: Stored) -> Value:
    return Value(key=found.key, value=found.value, changed_at=found.at)
