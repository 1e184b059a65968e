"""The sides of edge addresses: what is told of them when edges are let in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lambdas.api.problems import Problem
from lambdas.decisions.domain_names import domain_name
from lambdas.repositories.items import edge_place_item
from lambdas.services.services import Services


def edge_address(text: str) -> str:
    """As it is stored. Raises ValueError."""
    return str(ipaddress.IPv4Address(text))


def _address6(text: str) -> str:
    if not text:
        return ""
    address = ipaddress.IPv6Address(text)
    if address.is_multicast or address.is_unspecified or address.is_link_local or address.ipv4_mapped or "%" in text:
        raise ValueError("not an address that others can send to, like 2001:db8::11")
    return str(address)


def _name(text: str) -> str:
    return domain_name(text) if text else ""


class AddressSides(BaseModel):
    """An edge address as phones see it."""

    model_config = ConfigDict(extra="forbid")

    address: Annotated[str, AfterValidator(edge_address), Field(examples=["203.0.113.11"])]
    address6: Annotated[
        str, AfterValidator(_address6), Field(max_length=45, description="Its IPv6 side.", examples=["2001:db8::11"])
    ] = ""
    name: Annotated[
        str,
        AfterValidator(_name),
        Field(max_length=253, description="The host name that leads to it.", examples=["edge-a.example.net"]),
    ] = ""


EdgePlaces = Annotated[
    list[AddressSides],
    Field(
        max_length=16,
        description="The IPv6 side and the host name of addresses among those, whichever edge holds them. Without both"
        " an address has neither any more; one that isn't named stays as it is.",
    ),
]


def check_sides(places: Sequence[AddressSides], addresses: Iterable[str], services: Services) -> None:
    """Raises Problem where a side is somebody else's, or the address none of ``addresses``."""
    if not places:
        return
    told, allowed = {place.address for place in places}, set(addresses)
    whose = {
        side: place.address
        for place in services.fleet.places(fresh=True)
        for side in (place.address6, place.name)
        if place.address not in told
    }
    for place in places:
        if place.address not in allowed:
            raise Problem(422, f"places: {place.address} is none of the addresses that this edge may hold.")
        for side in filter(None, (place.address6, place.name)):
            if whose.setdefault(side, place.address) != place.address:
                raise Problem(409, f"{side} is a side of {whose[side]} already.")


def keep_sides(places: Sequence[AddressSides], services: Services) -> None:
    """Edges hear of it with their next heartbeats."""
    for place in places:
        item = edge_place_item(place.address, place.address6, place.name)
        if place.address6 or place.name:
            item.save()
        else:
            item.delete()


def forget_sides(edge: str, addresses: Iterable[str], services: Services) -> None:
    """``edge`` may hold these no more: those that nobody else may hold are no places any longer."""
    for address in addresses:
        if services.fleet.edges_for(address) in ([edge], []):
            edge_place_item(address, "", "").delete()


def sides_of(addresses: Sequence[str], services: Services, fresh: bool = False) -> list[AddressSides]:
    """Those of ``addresses`` that have any."""
    return [
        AddressSides(address=place.address, address6=place.address6, name=place.name)
        for place in services.fleet.places(fresh)
        if place.address in addresses
    ]
