"""Tenants: who domains, accounts and keys belong to."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import Input, ListPage, Paging, PagingDep
from lambdas.api.security import AdminDep, CallerDep, ServicesDep
from lambdas.repositories.directory import tenant_item
from lambdas.repositories.models import TenantItem

router = APIRouter(prefix="/tenants", tags=["tenants"])


class NewTenant(Input):
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
            examples=["Example Ltd"],
        ),
    ]


class Tenant(BaseModel):
    id: Annotated[str, Field(description="Made by the service; everything else names the tenant by it.")]
    name: str


def _shown(item: TenantItem) -> Tenant:
    return Tenant(id=item.id, name=item.name)


@router.post("", status_code=201, responses=responses(401, 403, 422))
def create_tenant(body: NewTenant, services: ServicesDep, _: AdminDep) -> Tenant:
    """Make a tenant. Needs an administration key."""
    item = tenant_item(f"t{secrets.token_hex(6)}", body.name)
    services.directory.create(item)
    return _shown(item)


@router.get("", responses=responses(400, 401, 403))
def list_tenants(services: ServicesDep, _: AdminDep, paging: PagingDep) -> ListPage[Tenant]:
    """All tenants. Needs an administration key."""
    page = services.directory.page("tenants", paging.limit, paging.after)
    return ListPage(items=[_shown(item) for item in page.items], next=Paging.following(page))


@router.get("/{tenant}", responses=responses(401, 404))
def read_tenant(tenant: str, services: ServicesDep, who: CallerDep) -> Tenant:
    """One tenant; a tenant's key sees its own."""
    item = services.directory.get(TenantItem, tenant)
    if item is None or not who.owns(tenant):
        raise Problem(404, f"There is no tenant {tenant!r}.")
    return _shown(item)


@router.delete("/{tenant}", status_code=204, responses=responses(401, 403, 404, 409))
def delete_tenant(tenant: str, services: ServicesDep, _: AdminDep) -> None:
    """Remove a tenant that has no domains, accounts or keys left."""
    directory = services.directory
    item = directory.get(TenantItem, tenant)
    if item is None:
        raise Problem(404, f"There is no tenant {tenant!r}.")
    left = [name for name in ("accounts", "keys") if directory.page(f"{name}#{tenant}", 1, None).items]
    if any(domain.tenant == tenant for domain in directory.all("domains")):
        left.append("domains")
    if left:
        raise Problem(409, f"Tenant {tenant} still has {' and '.join(sorted(left))}; delete those first.")
    directory.delete(item)
