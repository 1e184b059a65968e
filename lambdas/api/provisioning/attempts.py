"""What strangers and accounts have tried: failed authentications, and calls to new premium numbers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import responses
from lambdas.api.provisioning.common import Day, ListPage, Paging, PagingDep
from lambdas.api.security import AdminDep, ServicesDep
from lambdas.repositories.abuse import AttemptKind

router = APIRouter(prefix="/attempts", tags=["bans"], route_class=AuditedRoute)


class Attempts(BaseModel):
    kind: Annotated[
        AttemptKind,
        Field(description="Failures as an account, failures from a source, or an account's calls to premium numbers."),
    ]
    name: Annotated[str, Field(description="The account, or the source's address.")]
    at: Annotated[int, Field(description="When the ten minutes began, Unix time.")]
    times: int
    others: Annotated[list[str], Field(description="From which sources, as which accounts, or which prefixes.")]


@router.get("", responses=responses(400, 401, 403))
def list_attempts(
    services: ServicesDep,
    _: AdminDep,
    paging: PagingDep,
    day: Annotated[Day, Query(description="UTC.")],
    kind: Annotated[AttemptKind | None, Query(description="Only these.")] = None,
    name: Annotated[str, Query(description="Only those of this account or source.")] = "",
) -> ListPage[Attempts]:
    """A day's, in stretches of ten minutes. Needs an administration key."""
    found, following = services.tables.abuse.of(day.isoformat(), paging.limit, paging.after, kind, name)
    items = [Attempts(kind=one.kind, name=one.name, at=one.at, times=one.times, others=one.others) for one in found]
    return ListPage(items=items, next=Paging.cursor(following))
