"""What strangers and accounts have tried: failed authentications, and calls to new premium numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import responses
from lambdas.api.provisioning.common import Day
from lambdas.api.security import AdminDep, ServicesDep

router = APIRouter(prefix="/attempts", tags=["bans"], route_class=AuditedRoute)

_MOST = 10_000


class Attempts(BaseModel):
    kind: Annotated[
        Literal["account", "source", "premium"],
        Field(description="Failures as an account, failures from a source, or an account's calls to premium numbers."),
    ]
    name: Annotated[str, Field(description="The account, or the source's address.")]
    at: Annotated[int, Field(description="When the ten minutes began, Unix time.")]
    times: int
    others: Annotated[list[str], Field(description="From which sources, as which accounts, or which prefixes.")]


@router.get("", responses=responses(400, 401, 403))
def list_attempts(services: ServicesDep, _: AdminDep, day: Annotated[Day, Query(description="UTC.")]) -> list[Attempts]:
    """A day's, in stretches of ten minutes; 10,000 at most. Needs an administration key."""
    found = services.abuse.of(day.isoformat(), _MOST)
    return [Attempts(kind=one.kind, name=one.name, at=one.at, times=one.times, others=one.others) for one in found]
