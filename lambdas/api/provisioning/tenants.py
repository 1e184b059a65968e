"""Tenants: who domains, accounts and keys belong to."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, cast

import phonenumbers
from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.preconditions import check
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning import bounds
from lambdas.api.provisioning.common import Flag, Input, ListingDep, ListPage
from lambdas.api.provisioning.media import Site
from lambdas.api.provisioning.plans import check_plan
from lambdas.api.provisioning.providers import ProviderName, named_by
from lambdas.api.security import AdminDep, Caller, CallerDep, ServicesDep
from lambdas.contract import MediaPolicy
from lambdas.decisions.quotas import quotas
from lambdas.decisions.uris import hostport
from lambdas.repositories.directory import Missing
from lambdas.repositories.filters import alike
from lambdas.repositories.items import tenant_item
from lambdas.repositories.models import TenantItem, limit_attributes
from lambdas.services import suspension
from lambdas.services.services import Services

router = APIRouter(prefix="/tenants", tags=["tenants"], route_class=AuditedRoute)


TenantName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        examples=["Example Ltd"],
    ),
]


class NewTenant(Input):
    name: TenantName


class OutboundRoute(Input):
    prefix: Annotated[
        str,
        AfterValidator(bounds.prefix),
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


def _one_each(routes: list[OutboundRoute]) -> list[OutboundRoute]:
    prefixes = [route.prefix for route in routes]
    twice = next((prefix for prefix in prefixes if prefixes.count(prefix) > 1), None)
    if twice is not None:
        raise ValueError(f"two routes of prefix {twice!r}: name all providers in one")
    return routes


class TenantChange(Input):
    name: TenantName | None = None
    country: Annotated[_Country | None, Field(description="Tells what national numbers mean.")] = None
    emergency_providers: Annotated[
        list[ProviderName] | None,
        Field(max_length=4, description="Where emergency calls go; without any they are refused."),
    ] = None
    outbound_routes: Annotated[list[OutboundRoute], Field(max_length=100), AfterValidator(_one_each)] | None = None
    outgoing_plan: Annotated[
        str | None, Field(max_length=32, description="The dial plan of calls by its accounts; empty for none.")
    ] = None
    script_hosts: Annotated[
        list[Annotated[str, AfterValidator(_page_host), Field(max_length=255, examples=["www.example.com"])]] | None,
        Field(max_length=20, description="Hosts that scripts may get pages of."),
    ] = None
    account_limits: Annotated[
        bounds.Limits | None, Field(description="Of each account, where it has no limit of its own.")
    ] = None
    suspension_rules: bounds.SuspensionRules | None = None
    premium: Annotated[
        bool | None,
        Field(
            strict=True,
            description="Whether its accounts may call numbers that cost more than a telephone: premium rate, shared "
            "cost and personal numbers, satellites, and those of `premium_prefixes`. A new tenant's may not.",
        ),
    ] = None
    international: Annotated[
        bool | None,
        Field(
            strict=True,
            description="Whether they may call numbers of other countries and territories than its `country`; without "
            "a `country` that is every number. A new tenant's may not.",
        ),
    ] = None
    costly_without_control_plane: Annotated[
        bool | None,
        Field(
            strict=True,
            description="Whether they may call premium and international numbers that they have called before while "
            "edges can't reach the control plane, and so nobody counts what all of them do together.",
        ),
    ] = None
    media: Annotated[
        MediaPolicy | None,
        Field(
            description="Whether media of its calls go by the edges: `auto` has them do so unless both ends can surely "
            "reach each other, `relay` always, `direct` only where profiles or address families differ. It holds for "
            "accounts and providers that say nothing."
        ),
    ] = None
    site: Annotated[Site | None, Field(description="Of accounts that name none.")] = None


class TenantBounds(Input):
    """What whoever runs the service sets for a tenant. Fields left out stay as they are."""

    limits: Annotated[bounds.Limits | None, Field(description="Of all its accounts together.")] = None
    rates: Annotated[
        list[bounds.Rate] | None, Field(max_length=1000, description="What calls through providers cost.")
    ] = None
    quotas: Annotated[bounds.QuotaLimits | None, Field(description="How many of each it may make.")] = None
    outside: Annotated[
        Flag | None,
        Field(description="Whether its plans may call SIP addresses elsewhere; not at first for who has signed up."),
    ] = None


class Tenant(BaseModel):
    id: Annotated[str, Field(description="Made by the service; everything else names the tenant by it.")]
    name: str
    country: str
    emergency_providers: list[str]
    outbound_routes: list[OutboundRoute]
    outgoing_plan: str
    script_hosts: list[str]
    limits: bounds.Limits
    account_limits: bounds.Limits
    rates: list[bounds.Rate]
    quotas: Annotated[bounds.QuotaLimits, Field(description="How many of each it may make.")]
    suspension_rules: bounds.SuspensionRules
    outside: Annotated[bool, Field(description="Whether its plans may call SIP addresses elsewhere.")]
    premium: Annotated[bool, Field(description="Whether premium numbers may be called: not before it is asked for.")]
    international: Annotated[
        bool, Field(description="Whether numbers abroad may be called: not before it is asked for.")
    ]
    costly_without_control_plane: bool
    media: MediaPolicy
    site: str
    suspended: Annotated[str, Field(description="Why nobody of it may do anything; empty if they may.")]


def _shown(item: TenantItem) -> Tenant:
    return Tenant(
        id=item.id,
        name=item.name,
        country=item.country,
        emergency_providers=list(item.emergency_providers),
        outbound_routes=[OutboundRoute(**route) for route in item.outbound_routes],
        outgoing_plan=item.outgoing_plan,
        script_hosts=list(item.script_hosts),
        limits=bounds.shown(item.all_limits),
        account_limits=bounds.shown(item.all_account_limits),
        rates=[bounds.Rate(**rate) for rate in item.rates],
        quotas=bounds.QuotaLimits(**quotas(item.quotas, item.signed_up)),
        suspension_rules=bounds.SuspensionRules(**item.suspension_rules),
        outside=item.outside,
        premium=item.premium,
        international=item.international,
        costly_without_control_plane=item.costly_without_control_plane,
        media=cast(MediaPolicy, item.media),
        site=item.site,
        suspended=item.suspended,
    )


@router.post("", status_code=201, responses=responses(401, 403, 422))
def create_tenant(body: NewTenant, services: ServicesDep, _: AdminDep) -> Tenant:
    """Make a tenant. Its accounts may call neither premium nor international numbers until it is changed to
    `"premium": true` or `"international": true`. Needs an administration key."""
    item = tenant_item(f"t{secrets.token_hex(6)}", body.name)
    services.tables.directory.create(item)
    return _shown(item)


@router.get("", responses=responses(400, 401, 403))
def list_tenants(
    services: ServicesDep,
    _: AdminDep,
    listing: ListingDep,
    name: Annotated[str | None, Query(description="Only those of this name.")] = None,
    suspended: bool | None = None,
) -> ListPage[Tenant]:
    """All tenants, by id. Needs an administration key."""
    return listing.page(services, TenantItem, "tenants", _shown, alike(TenantItem, name=name, suspended=suspended))


@router.get("/{tenant}", responses=responses(401, 404))
def read_tenant(tenant: str, services: ServicesDep, who: CallerDep) -> Tenant:
    """One tenant; a tenant's key sees its own."""
    return _shown(_tenant(tenant, services, who))


@router.patch("/{tenant}", responses=responses(401, 404, 422))
def change_tenant(tenant: str, body: TenantChange, services: ServicesDep, who: CallerDep) -> Tenant:
    """Say how the tenant's calls go out. Fields left out stay as they are."""
    item = _tenant(tenant, services, who)
    changes = body.model_dump(exclude_none=True, exclude={"account_limits", "suspension_rules"})
    if body.account_limits is not None:
        changes |= limit_attributes(bounds.merged(item.all_account_limits, body.account_limits), "account_")
    if body.suspension_rules is not None:
        changes["suspension_rules"] = bounds.merged(item.suspension_rules, body.suspension_rules)
    for given in (body.account_limits, body.suspension_rules):
        if given is not None:
            item.guarded = True  # of two changes at once one mustn't undo the other
            prefixes = bounds.prefixes_of(given.model_dump(exclude_unset=True))
            bounds.check_prefixes(prefixes, changes.get("country", item.country))
    if body.country == "":
        _check_no_prefixes(item, changes, services)
    check_plan(tenant, body.outgoing_plan, services)
    named = named_by([route.model_dump() for route in body.outbound_routes or ()], body.emergency_providers or ())
    before = named_by(item.outbound_routes, item.emergency_providers)
    for name in sorted(named - before):
        if services.tables.providers.item(f"{tenant}/{name}") is None:
            raise Problem(404, f"There is no provider {name!r}; add it under /v1/providers first.")
    if changes:
        _change(item, services, changes)
    return _shown(item)


@router.patch("/{tenant}/bounds", responses=responses(401, 403, 404, 412, 422))
def change_bounds(tenant: str, body: TenantBounds, services: ServicesDep, who: AdminDep) -> Tenant:
    """Set what the tenant as a whole may do, and what its calls cost. Needs an administration key."""
    item = _tenant(tenant, services, who)
    changes: dict[str, Any] = {}
    if body.limits is not None:
        bounds.check_prefixes(bounds.prefixes_of(body.limits.model_dump(exclude_unset=True)), item.country)
        changes |= limit_attributes(bounds.merged(item.all_limits, body.limits))
        item.guarded = True  # of two changes at once one mustn't undo the other
    if body.quotas is not None:
        changes["quotas"] = bounds.merged(item.quotas, body.quotas)
        item.guarded = True
    if body.rates is not None:
        bounds.check_prefixes((rate.prefix for rate in body.rates), item.country)
        changes["rates"] = [rate.model_dump() for rate in body.rates]
    if body.outside is not None:
        changes["outside"] = body.outside
    if changes:
        _change(item, services, changes)
    return _shown(item)


@router.get("/{tenant}/usage", responses=responses(401, 404))
def tenant_usage(tenant: str, services: ServicesDep, who: CallerDep) -> bounds.Usage:
    """What counts for its limits just now."""
    return bounds.usage(_tenant(tenant, services, who).id, services)


@router.put("/{tenant}/suspension", responses=responses(401, 403, 404, 422))
def suspend_tenant(tenant: str, body: bounds.Suspension, services: ServicesDep, who: AdminDep) -> Tenant:
    """Nobody of it may register or call any more, and its calls end, within seconds. Needs an administration key."""
    item = _tenant(tenant, services, who)
    suspension.suspend_tenant(item, body.reason, services)
    return _shown(item)


@router.delete("/{tenant}/suspension", responses=responses(401, 403, 404))
def lift_tenant_suspension(tenant: str, services: ServicesDep, who: AdminDep) -> Tenant:
    """Let them again. Needs an administration key."""
    item = _tenant(tenant, services, who)
    suspension.suspend_tenant(item, "", services)
    return _shown(item)


@router.delete("/{tenant}", status_code=204, responses=responses(401, 403, 404, 409))
def delete_tenant(tenant: str, services: ServicesDep, who: AdminDep) -> None:
    """Remove a tenant that has no domains, accounts, providers, plans, push services, stored values or keys left."""
    directory = services.tables.directory
    item = _tenant(tenant, services, who)
    kinds = ("accounts", "hooks", "keys", "members", "plans", "providers", "push", "store")
    left = [name for name in kinds if directory.page(f"{name}#{tenant}", 1, None).items]
    if any(domain.tenant == tenant for domain in directory.all("domains")):
        left.append("domains")
    if left:
        raise Problem(409, f"Tenant {tenant} still has {' and '.join(sorted(left))}; delete those first.")
    try:
        directory.delete(item)
        services.tables.counts.forget(tenant)
    except Missing as error:
        raise Problem(404, f"There is no tenant {tenant!r}.") from error
    who.about = ""  # the trail of what is gone is the service's


def _check_no_prefixes(item: TenantItem, changes: dict[str, Any], services: Services) -> None:
    """Raises Problem where there are any: without a country nobody can tell which numbers they are of."""
    named = [rate["prefix"] for rate in item.rates]
    for name in ("limits", "account_limits", "suspension_rules"):
        named += bounds.prefixes_of(changes.get(name, getattr(item, name)))
    accounts = services.tables.directory.page(
        f"accounts#{item.id}", 1, None, wanted=lambda account: bool(bounds.prefixes_of(account.limits))
    )
    for account in accounts.items:
        named += bounds.prefixes_of(account.limits)
    if any(named):
        detail = f"Limits, rates or rules name numbers ({next(filter(None, named))}), which need the `country`."
        raise Problem(422, detail)


def _change(item: TenantItem, services: Services, changes: dict[str, Any]) -> None:
    try:
        services.tables.directory.change_tenant(item, services.clock(), **changes)
    except Missing as error:
        raise Problem(404, f"There is no tenant {item.id!r}.") from error


def _tenant(tenant: str, services: Services, who: Caller) -> TenantItem:
    item = services.tables.directory.get(TenantItem, tenant)
    if item is None or not who.owns(tenant):
        raise Problem(404, f"There is no tenant {tenant!r}.")
    check(item, who)
    return item
