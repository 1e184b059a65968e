"""The log: what a tenant's dial plans had to say and why they failed, and who changed what."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import responses
from lambdas.api.provisioning.common import Day, ListPage, Paging, PagingDep, Since, chosen_tenant
from lambdas.api.security import CallerDep, ServicesDep

router = APIRouter(prefix="/events", tags=["events"], route_class=AuditedRoute)

ShownEventKind = Literal["plan", "audit", "abuse", "hook", "emergency", "provider", "certificate", "push", "media"]


class Event(BaseModel):
    kind: Annotated[
        ShownEventKind,
        Field(
            description="`plan`: what a dial plan has logged, or why it failed; `audit`: what was changed; "
            "`abuse`: who was suspended or banned, and why; `hook`: what a webhook hasn't taken; "
            "`emergency`: who has called for help; `provider`: a call for a number that no account has; "
            "`certificate`: which couldn't be had, or ends soon; "
            "`push`: a phone that couldn't be woken, and why; `media`: a call that was ended since its media couldn't "
            "go on."
        ),
    ]
    at: Annotated[float, Field(description="Unix time in seconds.")]
    about: Annotated[
        str, Field(description="A plan and its version, an API key, who is suspended, or has called, a name.")
    ]
    call_id: Annotated[str, Field(description="The SIP Call-ID.")]
    text: str


@router.get("", responses=responses(400, 401, 404))
def list_events(
    services: ServicesDep,
    who: CallerDep,
    paging: PagingDep,
    day: Annotated[Day, Query(description="UTC.")],
    tenant: Annotated[str | None, Query(description="With an administration key: whose, or the service's own.")] = None,
    kind: Annotated[ShownEventKind | None, Query(description="Only these.")] = None,
    about: Annotated[str, Query(description="Only those about this, or with this key.")] = "",
    since: Since = None,
) -> ListPage[Event]:
    """A tenant's events of a day, oldest first. They are kept for 30 days."""
    owner = "" if who.admin and tenant is None else chosen_tenant(tenant, who, services, gone=True)
    events, following = services.tables.events.of(
        owner, day.isoformat(), paging.limit, paging.after, kind, about, since
    )
    items = [
        Event(kind=event.kind, at=event.at, about=event.about, call_id=event.call_id, text=event.text)
        for event in events
    ]
    return ListPage(items=items, next=Paging.cursor(following))
