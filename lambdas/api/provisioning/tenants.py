"""Tenants: who domains, accounts and keys belong to."""

from __future__ import annotations

import secrets
from typing import Annotated

import phonenumbers
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.preconditions import check
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import Input, ListPage, Paging, PagingDep
from lambdas.api.provisioning.plans import check_plan
from lambdas.api.provisioning.providers import ProviderName
from lambdas.api.security import AdminDep, Caller, CallerDep, ServicesDep
from lambdas.api.services import Services
from lambdas.decisions.uris import hostport
from lambdas.repositories.directory import Missing, tenant_item
from lambdas.repositories.models import TenantItem

router = APIRouter(prefix="/tenants", tags=["tenants"], route_class=AuditedRoute)


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


def _prefix(text: str) -> str:
    if set(text) - set("+0123456789*#") or "+" in text[1:]:
        raise ValueError("not the beginning of a number, like +44 or 0")
    return text


class OutboundRoute(Input):
    prefix: Annotated[
        str,
        AfterValidator(_prefix),
        Field(max_length=20, description="Of E.164 numbers, or of what is dialled; the longest one counts."),
    ] = ""
    providers: Annotated[list[ProviderName], Field(min_length=1, max_length=4, description="Tried in this order.")]


def _country(text: str) -> str:
    code = text.upper()
    if code and code not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("not an ISO 3166 country code, like GB")
    return code


_Country = Annotated[str, AfterValidator(_country), Field(max_length=2)]


def _page_host(text: str) -> str:
    try:
        host, port = hostport(text.strip().lower())
    except ValueError as error:
        raise ValueError("not like www.example.com or www.example.com:8443") from error
    return host + (f":{port}" if port else "")


class TenantChange(Input):
    country: Annotated[_Country | None, Field(description="Tells what national numbers mean.")] = None
    emergency_providers: Annotated[
        list[ProviderName] | None,
        Field(max_length=4, description="Where emergency calls go; without any they are refused."),
    ] = None
    outbound_routes: Annotated[list[OutboundRoute] | None, Field(max_length=100)] = None
    outgoing_plan: Annotated[
        str | None, Field(max_length=32, description="The dial plan of calls by its accounts; empty for none.")
    ] = None
    script_hosts: Annotated[
        list[Annotated[str, AfterValidator(_page_host), Field(max_length=255, examples=["www.example.com"])]] | None,
        Field(max_length=20, description="Hosts that scripts may get pages of."),
    ] = None


class Tenant(BaseModel):
    id: Annotated[str, Field(description="Made by the service; everything else names the tenant by it.")]
    name: str
    country: str
    emergency_providers: list[str]
    outbound_routes: list[OutboundRoute]
    outgoing_plan: str
    script_hosts: list[str]


def _shown(item: TenantItem) -> Tenant:
    return Tenant(
        id=item.id,
        name=item.name,
        country=item.country,
        emergency_providers=list(item.emergency_providers),
        outbound_routes=[OutboundRoute(**route) for route in item.outbound_routes],
        outgoing_plan=item.outgoing_plan,
        script_hosts=list(item.script_hosts),
    )


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
    return _shown(_tenant(tenant, services, who))


@router.patch("/{tenant}", responses=responses(401, 404, 422))
def change_tenant(tenant: str, body: TenantChange, services: ServicesDep, who: CallerDep) -> Tenant:
    """Say how the tenant's calls go out. Fields left out stay as they are."""
    item = _tenant(tenant, services, who)
    changes = body.model_dump(exclude_none=True)
    check_plan(tenant, body.outgoing_plan, services)
    named = {
        *(body.emergency_providers or ()),
        *(name for route in body.outbound_routes or () for name in route.providers),
    }
    for name in sorted(named):
        if services.providers.item(f"{tenant}/{name}") is None:
            raise Problem(404, f"There is no provider {name!r}; add it under /v1/providers first.")
    if changes:
        try:
            services.directory.change_tenant(item, services.clock(), **changes)
        except Missing as error:
            raise Problem(404, f"There is no tenant {tenant!r}.") from error
    return _shown(item)


@router.delete("/{tenant}", status_code=204, responses=responses(401, 403, 404, 409))
def delete_tenant(tenant: str, services: ServicesDep, who: AdminDep) -> None:
    """Remove a tenant that has no domains, accounts, providers, plans, stored values or keys left."""
    directory = services.directory
    item = _tenant(tenant, services, who)
    kinds = ("accounts", "keys", "plans", "providers", "store")
    left = [name for name in kinds if directory.page(f"{name}#{tenant}", 1, None).items]
    if any(domain.tenant == tenant for domain in directory.all("domains")):
        left.append("domains")
    if left:
        raise Problem(409, f"Tenant {tenant} still has {' and '.join(sorted(left))}; delete those first.")
    directory.delete(item)


def _tenant(tenant: str, services: Services, who: Caller) -> TenantItem:
    item = services.directory.get(TenantItem, tenant)
    if item is None or not who.owns(tenant):
        raise Problem(404, f"There is no tenant {tenant!r}.")
    check(item, who)
    return item
