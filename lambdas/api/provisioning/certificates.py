"""Certificates of edges' names and of domains, which the control plane gets and renews by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import ListPage, Paging, PagingDep, chosen_tenant
from lambdas.api.security import Caller, CallerDep, ServicesDep
from lambdas.decisions.certificates import (
    TENANT_WISHES_AN_HOUR,
    WISHES_AN_HOUR,
    Certified,
    alias_target,
    challenge,
    next_attempt,
)
from lambdas.services.services import Services

router = APIRouter(prefix="/certificates", tags=["certificates"], route_class=AuditedRoute)


class DnsRecord(BaseModel):
    name: str
    type: Literal["CNAME"] = "CNAME"
    value: str


class ShownCertificate(BaseModel):
    name: str
    tenant: Annotated[str, Field(description="Whose domain it is; empty for an edge's name.")]
    state: Annotated[
        Literal["valid", "expired", "waiting", "ordered", "failed"],
        Field(
            description="`valid` and `expired`: there is one, and edges show it; the others say why there is none, and "
            "phones are shown that of the edge: `waiting` for the record in DNS, `ordered` from the authority, "
            "or `failed`."
        ),
    ]
    not_after: Annotated[float | None, Field(description="When it ends, Unix time in seconds.")]
    error: Annotated[str, Field(description="Why there is none, or why the last attempt to renew it has failed.")]
    next_attempt: Annotated[
        float | None, Field(description="When something is done next, Unix time in seconds; null: within minutes.")
    ]
    records: Annotated[
        list[DnsRecord],
        Field(description="What DNS has to say, unless the name is in a zone that this service writes to."),
    ]


def shown_certificate(state: Certified, services: Services) -> ShownCertificate:
    """As it is, whether or not anybody has seen to it yet."""
    now, zone = services.clock(), services.environment.certificate_zone
    at = next_attempt(state)
    records = [DnsRecord(name=challenge(state.name), value=alias_target(state.name, zone))]
    return ShownCertificate(
        name=state.name,
        tenant=state.tenant,
        state=state.shown(now),
        not_after=state.not_after if state.version else None,
        error=state.error or services.certificates.trouble(state, now),
        next_attempt=at if at > now else None,
        records=records if zone else [],
    )


@router.get("", responses=responses(400, 401, 404))
def list_certificates(
    services: ServicesDep,
    who: CallerDep,
    paging: PagingDep,
    tenant: Annotated[str | None, Query(description="Only this tenant's.")] = None,
) -> ListPage[ShownCertificate]:
    """Those of the tenant's domains and aliases, by name; with an administration key, of all, and of edges."""
    owner = None if who.admin and tenant is None else chosen_tenant(tenant, who, services)
    known = services.certificates.all()
    names = sorted(name for name in known if name > (paging.after or "") and owner in (None, known[name].tenant))
    page = names[: paging.limit]
    return ListPage(
        items=[shown_certificate(known[name], services) for name in page],
        next=Paging.cursor(page[-1] if len(names) > len(page) else None),
    )


@router.get("/{name}", responses=responses(401, 404))
def read_certificate(name: str, services: ServicesDep, who: CallerDep) -> ShownCertificate:
    """One of them."""
    return shown_certificate(_certificate(name, services, who), services)


@router.post("/{name}/renewal", status_code=202, responses=responses(401, 403, 404, 429))
def renew_certificate(name: str, services: ServicesDep, who: CallerDep) -> ShownCertificate:
    """Look at its records and get another one within minutes, however long it lasts; what is in use stays so until
    then. Three times an hour for a name, and six for a tenant, since authorities take so many orders and no more."""
    state, now, rations = _certificate(name, services, who), services.clock(), services.tables.rations
    if not rations.take(f"renewal of {state.name}", WISHES_AN_HOUR, now):
        detail = f"{state.name} has been renewed by hand {WISHES_AN_HOUR} times in this hour; wait for the next."
        raise Problem(429, detail, {"Retry-After": "3600"})
    if not (who.admin or rations.take(f"renewals of {state.tenant}", TENANT_WISHES_AN_HOUR, now)):
        detail = f"{TENANT_WISHES_AN_HOUR} certificates have been renewed by hand in this hour; wait for the next."
        raise Problem(429, detail, {"Retry-After": "3600"})
    services.tables.certificates.wish(state.name, now)
    return shown_certificate(state, services)


def _certificate(name: str, services: Services, who: Caller) -> Certified:
    state = services.tables.certificates.get(name.lower())
    if state is None or not who.owns(state.tenant):
        raise Problem(404, f"There is no certificate of {name!r}, nor is one being got.")
    return state
