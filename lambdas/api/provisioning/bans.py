"""Bans: networks that no edge takes anything from."""

from __future__ import annotations

import contextlib
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.preconditions import check
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import Input, ListingDep, ListPage, Network, network_of
from lambdas.api.security import AdminDep, Caller, ServicesDep
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.models import BanItem
from lambdas.services import suspension
from lambdas.services.services import Services

router = APIRouter(prefix="/bans", tags=["bans"], route_class=AuditedRoute)

_YEAR = 366 * 86_400


class NewBan(Input):
    network: Network
    reason: Annotated[str, Field(max_length=200)] = ""
    seconds: Annotated[int, Field(strict=True, ge=1, le=_YEAR, description="How long it lasts.")] = 3600


class Ban(BaseModel):
    network: str
    reason: str
    until: Annotated[int, Field(description="Unix time in seconds.")]


def _shown(item: BanItem) -> Ban:
    return Ban(network=item.network, reason=item.reason, until=int(item.until))


@router.post("", status_code=201, responses=responses(400, 401, 403, 409, 422))
def add_ban(body: NewBan, services: ServicesDep, _: AdminDep) -> Ban:
    """Have every edge drop what comes from a network, within seconds. Needs an administration key."""
    why = suspension.spared(body.network, services)
    if why:
        raise Problem(409, f"{why}; ban a narrower network.")
    try:
        return _shown(suspension.ban(body.network, body.reason, services.clock() + body.seconds, services))
    except Taken as error:
        raise Problem(409, f"{body.network} is banned already; lift that ban first.") from error


@router.get("", responses=responses(400, 401, 403))
def list_bans(services: ServicesDep, _: AdminDep, listing: ListingDep) -> ListPage[Ban]:
    """The bans that haven't run out, those of the service's own among them."""
    now = services.clock()
    return listing.page(services, BanItem, "bans", _shown, BanItem.until > int(now))


@router.get("/{network:path}", responses=responses(401, 403, 404))
def read_ban(network: str, services: ServicesDep, who: AdminDep) -> Ban:
    """One ban."""
    return _shown(_ban(network, services, who))


@router.delete("/{network:path}", status_code=204, responses=responses(401, 403, 404))
def lift_ban(network: str, services: ServicesDep, who: AdminDep) -> None:
    """Take from that network again."""
    item = _ban(network, services, who)
    try:
        services.tables.directory.delete(item)
    except Missing as error:
        raise Problem(404, f"{network!r} isn't banned.") from error


def _ban(network: str, services: Services, who: Caller) -> BanItem:
    with contextlib.suppress(ValueError):
        network = network_of(network)
    item = services.tables.directory.get(BanItem, network)
    if item is None or item.until <= services.clock():
        raise Problem(404, f"{network!r} isn't banned.")
    check(item, who)
    return item
