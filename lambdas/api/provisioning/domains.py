"""SIP domains and their aliases."""

from __future__ import annotations

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.edges import probes
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.certificates import ShownCertificate, shown_certificate
from lambdas.api.provisioning.common import (
    DomainName,
    Flag,
    Input,
    ListingDep,
    ListPage,
    chosen_tenant,
    found_or_404,
    room,
    slow_turn,
)
from lambdas.api.security import Caller, CallerDep, ServicesDep
from lambdas.decisions.certificates import Certified
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.filters import alike
from lambdas.repositories.items import domain_item
from lambdas.repositories.models import DomainItem
from lambdas.services.services import Services

router = APIRouter(prefix="/domains", tags=["domains"], route_class=AuditedRoute)

_AT_ONCE = 21  # a domain and all its aliases

Aliases = Annotated[
    list[DomainName],
    Field(max_length=20, description="Other names that mean this domain. Accounts and the digest realm keep `name`."),
]


class NewDomain(Input):
    tenant: Annotated[str | None, Field(description="Needed with an administration key.")] = None
    name: Annotated[DomainName, Field(description="The canonical name; it can't be changed later.")]
    aliases: Aliases = []
    default: Annotated[
        Flag,
        Field(description="Phones that use an edge's IP address as domain mean this one. Administration keys only."),
    ] = False


class DomainChange(Input):
    aliases: Aliases


class Domain(BaseModel):
    name: str
    tenant: str
    aliases: list[str]
    default: bool
    certificates: Annotated[
        list[ShownCertificate] | None,
        Field(description="Its own and its aliases', which TLS phones are shown; null where the service gets none."),
    ]


def _shown(item: DomainItem, services: Services) -> Domain:
    certificates = None
    if services.certificates.available:
        known, names = services.certificates.all(), [item.name, *item.aliases]
        states = [known.get(name, Certified(name, item.tenant)) for name in names]
        certificates = [shown_certificate(replace(one, tenant=item.tenant), services) for one in states]
    return Domain(
        name=item.name,
        tenant=item.tenant,
        aliases=list(item.aliases),
        default=item.default,
        certificates=certificates,
    )


def _aliases(name: str, aliases: list[str]) -> list[str]:
    return sorted({alias for alias in aliases if alias != name})


@router.post("", status_code=201, responses=responses(400, 401, 403, 404, 409, 422))
def create_domain(body: NewDomain, services: ServicesDep, who: CallerDep) -> Domain:
    """Make a domain. Edges know it within seconds."""
    tenant = chosen_tenant(body.tenant, who, services)
    if body.default:
        if not who.admin:
            raise Problem(403, "Only an administration key may make a domain the default one.")
        other = next((item.name for item in services.tables.directory.all("domains") if item.default), None)
        if other:
            raise Problem(409, f"{other} is the default domain already; there can be one.")
    item = domain_item(tenant, body.name, _aliases(body.name, body.aliases), body.default)
    _prove([item.name, *item.aliases], tenant, services, who)
    try:
        with room(tenant, "domains", services, who):
            services.tables.directory.create_domain(item)
    except Taken as error:
        raise Problem(409, "That name, or one of the aliases, is in use as a domain or alias already.") from error
    if item.default:
        for edge in services.tables.directory.all("edges"):
            probes.prepare(edge.id, services)
    return _shown(item, services)


@router.get("", responses=responses(400, 401, 404))
def list_domains(
    services: ServicesDep,
    who: CallerDep,
    listing: ListingDep,
    tenant: Annotated[str | None, Query(description="Only this tenant's.")] = None,
) -> ListPage[Domain]:
    """The tenant's domains, by name; with an administration key, all."""
    owner = None if who.admin and tenant is None else chosen_tenant(tenant, who, services)
    shown = partial(_shown, services=services)
    return listing.page(services, DomainItem, "domains", shown, alike(DomainItem, tenant=owner))


@router.get("/{name}", responses=responses(401, 404))
def read_domain(name: str, services: ServicesDep, who: CallerDep) -> Domain:
    """One domain by its canonical name."""
    return _shown(_domain(name, services, who), services)


@router.patch("/{name}", responses=responses(401, 403, 404, 409, 422))
def change_domain(name: str, body: DomainChange, services: ServicesDep, who: CallerDep) -> Domain:
    """Replace the aliases."""
    item = _domain(name, services, who)
    _prove([alias for alias in body.aliases if alias not in item.aliases], item.tenant, services, who)
    try:
        services.tables.directory.change_domain(item, _aliases(item.name, body.aliases))
    except Taken as error:
        detail = "One of the aliases is in use as a domain or alias already, or the list has changed meanwhile."
        raise Problem(409, detail) from error
    return _shown(item, services)


@router.delete("/{name}", status_code=204, responses=responses(401, 404, 409))
def delete_domain(name: str, services: ServicesDep, who: CallerDep) -> None:
    """Remove a domain that has no accounts left, with its aliases."""
    item = _domain(name, services, who)
    if item.default and services.environment.sign_up:
        raise Problem(409, f"{item.name} is where people sign up; switch that off first.")
    still = Problem(409, f"{item.name} still has accounts; delete those first.")
    if services.tables.accounts.any_in(item):
        raise still
    try:
        services.tables.directory.close_domain(item, True)
        if services.tables.accounts.any_in(item):  # made just before
            services.tables.directory.close_domain(item, False)
            raise still
        try:
            services.tables.directory.delete_domain(item)
            services.tables.counts.note(item.tenant, "domains", -1)
        except Taken as error:
            services.tables.directory.close_domain(item, False)
            raise Problem(409, "Somebody has changed the domain meanwhile; try again.") from error
    except Missing as error:
        raise Problem(404, f"There is no domain {name!r}.") from error


def _prove(names: list[str], tenant: str, services: Services, who: Caller) -> None:
    """A tenant has to show that domains are its own, and none is an edge; whoever runs the service needn't. Raises
    Problem."""
    if who.admin:
        return
    ours = {place.name for place in services.fleet.places()}.intersection(names)
    if ours:
        raise Problem(409, f"{min(ours)} is the name of an edge.")
    if not services.lookups.proof.required:
        return
    secret = services.keys.derived("domains")
    digests = [hmac.new(secret, f"{tenant} {name}".encode(), hashlib.sha256).hexdigest()[:32] for name in names]
    wanted = [f"sipwizard={digest}" for digest in digests]
    with slow_turn(services, who), ThreadPoolExecutor(_AT_ONCE) as pool:  # name servers that are silent take their time
        given = list(pool.map(services.lookups.proof.given, names, wanted))
    faults = [
        {"field": services.lookups.proof.place(name), "fault": f"no TXT record says {text}"}
        for name, text, there in zip(names, wanted, given, strict=True)
        if not there
    ]
    if faults:
        detail = "Show that the domain is yours: make the TXT records that `errors` names, then try again."
        raise Problem(403, detail, errors=faults)


def _domain(name: str, services: ServicesDep, who: CallerDep) -> DomainItem:
    item: DomainItem = found_or_404(services.tables.directory.get(DomainItem, name.lower()), who, f"domain {name!r}")
    return item
