"""API keys."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import Flag, Input, ListingDep, ListPage, chosen_tenant, found_or_404, room
from lambdas.api.security import Caller, CallerDep, OwnerDep, Role, ServicesDep, new_key
from lambdas.repositories.directory import Missing
from lambdas.repositories.filters import alike
from lambdas.repositories.models import ApiKeyItem
from lambdas.services.services import Services

router = APIRouter(prefix="/keys", tags=["API keys"], route_class=AuditedRoute)


class NewKey(Input):
    tenant: Annotated[
        str | None, Field(description="Whose; a tenant's key makes keys of its own tenant without naming it.")
    ] = None
    administration: Annotated[Flag, Field(description="A key for everything. Needs such a key.")] = False
    note: Annotated[str, Field(max_length=100, description="What it is for.")] = ""
    role: Annotated[
        Role,
        Field(description="`owner`: everything; `admin`: everything but API keys; `read-only`: nothing is changed."),
    ] = "owner"


class Key(BaseModel):
    id: str
    tenant: Annotated[str | None, Field(description="null: administration")]
    note: str
    role: Role
    member: Annotated[str | None, Field(description="Whose it is, if it is a member's own.")]


class KeyWithSecret(Key):
    key: Annotated[str, Field(description="Send it as `Authorization: Bearer KEY`. Shown this once.")]


def key_shown(item: ApiKeyItem) -> Key:
    return Key(
        id=item.id, tenant=item.tenant or None, note=item.note, role=cast(Role, item.role), member=item.member or None
    )


@router.post("", status_code=201, responses=responses(400, 401, 403, 404, 422))
def create_key(body: NewKey, services: ServicesDep, who: OwnerDep) -> KeyWithSecret:
    """Make a key."""
    if body.administration:
        if not who.admin:
            raise Problem(403, "Only an administration key can make administration keys.")
        if body.tenant is not None:
            raise Problem(400, "An administration key belongs to no tenant: leave `tenant` out.")
        tenant = ""
    else:
        tenant = chosen_tenant(body.tenant, who, services)
    with room(tenant, "keys", services, who):
        item, text = new_key(services, tenant, body.note, body.role)
    return KeyWithSecret(**key_shown(item).model_dump(), key=text)


@router.get("", responses=responses(400, 401, 404))
def list_keys(
    services: ServicesDep,
    who: CallerDep,
    listing: ListingDep,
    tenant: Annotated[str | None, Query(description="With an administration key: whose, or its own kind.")] = None,
    role: Role | None = None,
    member: Annotated[str | None, Query(description="Only this member's own.")] = None,
) -> ListPage[Key]:
    """The keys of a tenant, without their secrets."""
    owner = "" if who.admin and tenant is None else chosen_tenant(tenant, who, services)
    return listing.page(services, ApiKeyItem, f"keys#{owner}", key_shown, alike(ApiKeyItem, role=role, member=member))


@router.get("/{key}", responses=responses(401, 404))
def read_key(key: str, services: ServicesDep, who: CallerDep) -> Key:
    """One key by its id, without its secret."""
    return key_shown(_key(key, services, who))


@router.delete("/{key}", status_code=204, responses=responses(401, 403, 404, 409))
def delete_key(key: str, services: ServicesDep, who: OwnerDep) -> None:
    """Revoke a key, at once."""
    item = _key(key, services, who)
    if item.id == who.key:
        raise Problem(409, "This is the key you are using; revoke it with another one.")
    try:
        services.tables.directory.delete(item)
        if not item.member:
            services.tables.counts.note(item.tenant, "keys", -1)
    except Missing as error:
        raise Problem(404, f"There is no key {key!r}.") from error


def _key(key: str, services: Services, who: Caller) -> ApiKeyItem:
    item: ApiKeyItem = found_or_404(services.tables.directory.get(ApiKeyItem, key), who, f"key {key!r}")
    return item
