"""Call detail records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import responses
from lambdas.api.provisioning.common import Day, ListPage, Paging, PagingDep, Since, TenantQuery, chosen_tenant
from lambdas.api.security import CallerDep, ServicesDep
from lambdas.hooks.call_shown import Call, shown
from lambdas.repositories.calls import Wanted

router = APIRouter(prefix="/calls", tags=["calls"], route_class=AuditedRoute)


@router.get("", responses=responses(400, 401, 404))
def list_calls(
    services: ServicesDep,
    who: CallerDep,
    paging: PagingDep,
    day: Annotated[Day, Query(description="The day on which they were started, UTC.")],
    tenant: TenantQuery = None,
    since: Since = None,
    account: Annotated[str, Query(description="Only those that count to this account.")] = "",
    caller: Annotated[str, Query(description="Only those by this caller, like `alice@example.com`.")] = "",
    called: Annotated[str, Query(description="Only those to this, like `bob@example.com`.")] = "",
    call_id: Annotated[str, Query(description="Only the one with this SIP Call-ID.")] = "",
    answered: Annotated[bool | None, Query(description="Only those that somebody took, or nobody.")] = None,
) -> ListPage[Call]:
    """A tenant's calls of a day, oldest first. They are here within seconds of being answered, or of failing. Where few
    of many are asked for, a page may have fewer than `limit`: go on until `next` is null."""
    owner = chosen_tenant(tenant, who, services, gone=True)
    wanted = Wanted(since, account, caller, called, call_id, answered)
    calls, following = services.tables.calls.of(owner, day, paging.limit, paging.after, wanted)
    return ListPage(items=[shown(call, who.admin) for call in calls], next=Paging.cursor(following))
