"""Call detail records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import responses
from lambdas.api.provisioning.common import Day, ListPage, Paging, PagingDep, Since, TenantQuery, chosen_tenant
from lambdas.api.security import CallerDep, ServicesDep
from lambdas.repositories.calls import Call as StoredCall
from lambdas.repositories.calls import Wanted

router = APIRouter(prefix="/calls", tags=["calls"], route_class=AuditedRoute)

Time = Annotated[float, Field(description="Unix time in seconds.")]


class Leg(BaseModel):
    to: Annotated[str, Field(description="The account, or the URI at the provider.")]
    provider: str
    edge: Annotated[str, Field(description="The edge address that it left from.")]
    number: Annotated[str, Field(description="What was called there, in E.164 form if it has one.")]
    status: Annotated[int, Field(description="Of its final response; 0 if there was none, or it was never tried.")]


class Call(BaseModel):
    id: str
    call_id: Annotated[str, Field(description="The SIP Call-ID.")]
    caller: str
    called: str
    started: Time
    ringing: Time | None
    answered: Annotated[float | None, Field(description="Unix time in seconds; null if nobody took the call.")]
    ended: Annotated[float | None, Field(description="Null while the call lasts, or if nobody saw its end.")]
    status: Annotated[int, Field(description="Of the final response: 200, or why nobody took the call.")]
    reason: Annotated[str, Field(description="What was said of its end (a Reason value, RFC 3326).")]
    ended_by: Annotated[
        str, Field(description='"caller", "called", "service" (a limit was reached), or "" if it isn\'t known.')
    ]
    edges: Annotated[tuple[str, str], Field(description="The edge addresses of the caller and of the called phone.")]
    account: Annotated[str, Field(description="The account that it counts to: who called, or had it sent on.")]
    providers: Annotated[
        tuple[str, str], Field(description="The provider accounts that it came from and went to; empty for none.")
    ]
    user_agents: Annotated[tuple[str, str], Field(description="The caller's and the called phone's.")]
    codecs: Annotated[list[str], Field(description="As answered, by medium, like `audio PCMA/8000`.")]
    legs: Annotated[list[Leg], Field(description="Who was tried; first whoever answered.")]


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
    owner = chosen_tenant(tenant, who, services)
    wanted = Wanted(since, account, caller, called, call_id, answered)
    calls, following = services.calls.of(owner, day, paging.limit, paging.after, wanted)
    return ListPage(items=[_shown(call) for call in calls], next=Paging.cursor(following))


def _shown(call: StoredCall) -> Call:
    return Call(
        id=call.id,
        call_id=call.call_id,
        caller=call.caller,
        called=call.called,
        started=call.started,
        ringing=call.ringing,
        answered=call.answered,
        ended=call.ended,
        ended_by=call.ended_by,
        edges=call.edges,
        account=call.account,
        status=call.status,
        reason=call.reason,
        providers=_names(call.providers),
        user_agents=call.user_agents,
        codecs=list(call.codecs),
        legs=[
            Leg(to=leg.to, provider=_name(leg.provider), edge=leg.address, number=leg.number, status=leg.status)
            for leg in call.legs
        ],
    )


def _name(provider: str) -> str:
    return provider.rpartition("/")[2]


def _names(providers: tuple[str, str]) -> tuple[str, str]:
    one, other = providers
    return _name(one), _name(other)
