"""Edges: which relays belong to the fleet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, Field

from lambdas.api import signed_tokens
from lambdas.api.audit import AuditedRoute
from lambdas.api.edges import probes
from lambdas.api.edges.enrolment import Enrolled, PublicKey, become, certificate
from lambdas.api.edges.places import (
    AddressSides,
    EdgePlaces,
    check_sides,
    edge_address,
    forget_sides,
    keep_sides,
    sides_of,
)
from lambdas.api.preconditions import check
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import Input, ListingDep, ListPage
from lambdas.api.security import AdminDep, Caller, ServicesDep
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.items import edge_item
from lambdas.repositories.models import EdgeItem
from lambdas.services.services import Services

router = APIRouter(prefix="/edges", tags=["edges"], route_class=AuditedRoute)


EdgeId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$", examples=["edge-a"])]
EdgeAddresses = Annotated[
    list[Annotated[str, AfterValidator(edge_address)]],
    Field(
        min_length=1,
        max_length=16,
        description="The edge addresses that it may hold, its own first.",
        examples=["203.0.113.11"],
    ),
]


class NewEdge(Input):
    id: EdgeId
    public_key: PublicKey
    addresses: EdgeAddresses
    places: EdgePlaces = []


class EdgeChange(Input):
    addresses: EdgeAddresses | None = None
    places: EdgePlaces = []


class Edge(BaseModel):
    id: str
    public_key: str
    addresses: list[str]
    places: Annotated[list[AddressSides], Field(description="Those of the addresses that have an IPv6 side or a name.")]
    holds: Annotated[list[str], Field(description="The addresses that it holds now; none if it isn't running.")]
    listen: Annotated[
        list[str], Field(description="Where it listens, like udp://203.0.113.11:5060; none if it isn't running.")
    ]
    media: Annotated[bool, Field(description="Whether it relays media, at the addresses that it holds now.")]


def _shown(item: EdgeItem, services: Services, fresh: bool = False) -> Edge:
    leases = [lease for lease in services.fleet.leases() if lease.holder == item.id]
    addresses = list(item.addresses)
    return Edge(
        id=item.id,
        public_key=item.public_key,
        addresses=addresses,
        places=sides_of(addresses, services, fresh),
        holds=sorted(lease.address for lease in leases),
        listen=services.fleet.listeners(item.id),
        media=any(lease.media for lease in leases),
    )


@router.post("", status_code=201, responses=responses(401, 403, 409, 422))
def register_edge(body: NewEdge, services: ServicesDep, _: AdminDep) -> Edge:
    """Let an edge into the fleet. Needs an administration key."""
    item = edge_item(body.id, body.public_key, list(dict.fromkeys(body.addresses)))
    check_sides(body.places, item.addresses, services)
    try:
        services.tables.directory.create(item)
    except Taken as error:
        raise Problem(409, f"Edge {body.id} is registered already; delete it first to give it a new key.") from error
    keep_sides(body.places, services)
    probes.prepare(item.id, services)
    return _shown(item, services, fresh=True)


class NewToken(Input):
    id: EdgeId
    addresses: EdgeAddresses
    places: EdgePlaces = []
    minutes: Annotated[int, Field(strict=True, ge=1, le=1440, description="How long it is good.")] = 15


class EnrolmentToken(BaseModel):
    token: Annotated[str, Field(description="For `scripts/enrol` on the edge's machine. Good once.")]


class Enrolment(Input):
    token: Annotated[str, Field(min_length=1, max_length=4000)]
    public_key: PublicKey


@router.post("/tokens", status_code=201, responses=responses(401, 403, 422))
def create_edge_token(body: NewToken, services: ServicesDep, _: AdminDep) -> EnrolmentToken:
    """A token with which a machine enrols itself as an edge; with the name of one that is there already, in its place.
    Needs an administration key."""
    addresses = tuple(dict.fromkeys(body.addresses))
    check_sides(body.places, addresses, services)
    sides = tuple((place.address, place.address6, place.name) for place in body.places)
    return EnrolmentToken(
        token=signed_tokens.issue("enrol", body.id, services, "", addresses, 60 * body.minutes, sides)
    )


@router.post("/enrol", status_code=201, responses=responses(403, 422))
def enrol_edge(body: Enrolment, request: Request, services: ServicesDep) -> Enrolled:
    """Become an edge. Needs a token instead of a key."""
    signed = signed_tokens.verify(body.token, "enrol", services)
    places = [AddressSides(address=address, address6=ipv6, name=name) for address, ipv6, name in signed.sides]
    check_sides(places, signed.addresses, services)  # again: time has passed
    signed_tokens.use_up(signed, services)
    become(signed.to, body.public_key, signed.addresses, services)
    keep_sides(places, services)
    control = list(services.environment.control_urls)
    return Enrolled(
        id=signed.to,
        addresses=list(signed.addresses),
        places=sides_of(signed.addresses, services, fresh=True),
        control=control or [str(request.base_url).rstrip("/")],
        control_auth="aws_iam" if control else "none",
        certificate=certificate(services),
    )


@router.get("", responses=responses(400, 401, 403))
def list_edges(services: ServicesDep, _: AdminDep, listing: ListingDep) -> ListPage[Edge]:
    """The fleet."""
    return listing.page(services, EdgeItem, "edges", lambda item: _shown(item, services))


@router.get("/{edge}", responses=responses(401, 403, 404))
def read_edge(edge: str, services: ServicesDep, who: AdminDep) -> Edge:
    """One edge."""
    return _shown(_edge(edge, services, who), services)


@router.patch("/{edge}", responses=responses(401, 403, 404, 409, 412, 422))
def change_edge(edge: str, body: EdgeChange, services: ServicesDep, who: AdminDep) -> Edge:
    """Let it hold other addresses, or give addresses other sides. It gives up what it may hold no longer within 10 s.
    Needs an administration key."""
    item = _edge(edge, services, who)
    addresses = list(dict.fromkeys(body.addresses or item.addresses))
    gone = set(item.addresses) - set(addresses)
    _check_accounts(edge, gone, services)
    check_sides(body.places, addresses, services)
    try:
        services.tables.directory.update(item, addresses=addresses)
    except Missing as error:
        raise Problem(404, f"There is no edge {edge!r}.") from error
    forget_sides(edge, gone, services)
    keep_sides(body.places, services)
    return _shown(item, services, fresh=True)


@router.delete("/{edge}", status_code=204, responses=responses(401, 403, 404, 409))
def remove_edge(edge: str, services: ServicesDep, who: AdminDep) -> None:
    """Take an edge out of the fleet: within 10 s nothing that it says is accepted, and its leases run out."""
    item = _edge(edge, services, who)
    _check_accounts(edge, item.addresses, services)
    try:
        services.tables.directory.delete(item)
    except Missing as error:
        raise Problem(404, f"There is no edge {edge!r}.") from error
    forget_sides(edge, item.addresses, services)


def _check_accounts(edge: str, addresses: Iterable[str], services: Services) -> None:
    """Raises Problem where provider accounts are registered from an address that nobody else may hold."""
    for address in addresses:
        left = services.tables.assignments.count(address) if services.fleet.edges_for(address) == [edge] else 0
        if left:
            detail = (
                f"{left} provider accounts are registered from {address}; stop the edge, they move within a minute."
            )
            raise Problem(409, detail)


def _edge(edge: str, services: Services, who: Caller) -> EdgeItem:
    item = services.tables.directory.get(EdgeItem, edge)
    if item is None:
        raise Problem(404, f"There is no edge {edge!r}.")
    check(item, who)
    return item
