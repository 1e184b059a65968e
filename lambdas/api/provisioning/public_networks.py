"""Public networks: who is at an address there is reached from anywhere, without a NAT or a firewall that keeps media
out."""

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
from lambdas.repositories.items import public_network_item
from lambdas.repositories.models import PublicNetworkItem
from lambdas.services.services import Services

router = APIRouter(prefix="/public-networks", tags=["public networks"], route_class=AuditedRoute)

MOST = 200
"""Every edge looks through all of them for each call."""


class NewPublicNetwork(Input):
    network: Network
    note: Annotated[str, Field(max_length=200)] = ""


class PublicNetwork(BaseModel):
    network: str
    note: str


def _shown(item: PublicNetworkItem) -> PublicNetwork:
    return PublicNetwork(network=item.network, note=item.note)


@router.post("", status_code=201, responses=responses(400, 401, 403, 409, 422))
def add_public_network(body: NewPublicNetwork, services: ServicesDep, _: AdminDep) -> PublicNetwork:
    """Have edges know within a minute that media from and to this network needn't be relayed, where the other end is in
    such a one, too. Needs an administration key."""
    item = public_network_item(body.network, body.note)
    if len(services.tables.directory.public_networks()) >= MOST:
        raise Problem(409, f"There are {MOST} public networks already; remove one, or add a wider one.")
    try:
        services.tables.directory.create(item)
    except Taken as error:
        raise Problem(409, f"{body.network} is known already.") from error
    services.cache.public_networks(fresh=True)  # whoever tells edges in this process, too, knows it at once
    return _shown(item)


@router.get("", responses=responses(400, 401, 403))
def list_public_networks(services: ServicesDep, _: AdminDep, listing: ListingDep) -> ListPage[PublicNetwork]:
    """All of them."""
    return listing.page(services, PublicNetworkItem, "public-networks", _shown)


@router.get("/{network:path}", responses=responses(401, 403, 404))
def read_public_network(network: str, services: ServicesDep, who: AdminDep) -> PublicNetwork:
    """One of them."""
    return _shown(_item(network, services, who))


@router.delete("/{network:path}", status_code=204, responses=responses(401, 403, 404))
def remove_public_network(network: str, services: ServicesDep, who: AdminDep) -> None:
    """Media from and to there are relayed again unless something else says that they needn't be."""
    item = _item(network, services, who)
    try:
        services.tables.directory.delete(item)
    except Missing as error:
        raise _unknown(network) from error
    services.cache.public_networks(fresh=True)


def _item(network: str, services: Services, who: Caller) -> PublicNetworkItem:
    with contextlib.suppress(ValueError):
        network = network_of(network)
    item = services.tables.directory.get(PublicNetworkItem, network)
    if item is None:
        raise _unknown(network)
    check(item, who)
    return item


def _unknown(network: str) -> Problem:
    return Problem(404, f"{network!r} is no public network.")
