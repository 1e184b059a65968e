"""Becoming an edge: by a token, or as the EC2 instance that the stack has started for an address."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lambdas.api.edges import probes
from lambdas.api.edges.places import AddressSides, sides_of
from lambdas.api.edges.route import read
from lambdas.api.problems import Problem
from lambdas.repositories.directory import Stale, Taken
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.items import edge_item
from lambdas.repositories.models import EdgeItem
from lambdas.services.services import Services

_INSTANCES = 50  # that are remembered; an instance's credentials outlive it by hours


def _public_key(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(raw) != 32:
        raise ValueError("a raw Ed25519 public key has 32 octets")
    return text


PublicKey = Annotated[
    str,
    AfterValidator(_public_key),
    Field(description="The raw Ed25519 public key in base64, as `python -m edge public-key --config FILE` prints."),
]


class Enrolled(BaseModel):
    """What an edge writes into its configuration."""

    id: str
    addresses: list[str]
    places: list[AddressSides]
    control: list[str]
    control_auth: Literal["none", "aws_iam"]
    certificate: Literal["files", "acme"]


class InstanceEnrolment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    public_key: PublicKey


def certificate(services: Services) -> Literal["files", "acme"]:
    """Where edges have their certificates from."""
    return "acme" if services.certificates.available else "files"


async def _enrol_instance(request: Request) -> Response:
    """Become the edge that the caller's instance role stands for (``EDGE_ROLES``). IAM has authenticated the caller,
    and Lambda says who it is in the event, where no header can: the role, and EC2 has added the instance's id."""
    services: Services = request.app.state.services
    asked = await read(request, InstanceEnrolment)
    context = request.scope.get("aws.event", {}).get("requestContext", {})
    caller = str(context.get("authorizer", {}).get("iam", {}).get("userArn", ""))
    for role, (name, *addresses) in json.loads(services.environment.edge_roles).items():
        if caller.startswith(role):
            instance = caller.removeprefix(role)
            await run_in_threadpool(become_instance, name, instance, asked.public_key, addresses, services)
            control = [str(request.base_url).rstrip("/"), *services.environment.other_control]
            enrolled = Enrolled(
                id=name,
                addresses=addresses,
                places=await run_in_threadpool(sides_of, addresses, services, True),
                control=control,
                control_auth="aws_iam",
                certificate=certificate(services),
            )
            return Response(enrolled.model_dump_json(), 201, media_type="application/json")
    raise Problem(403, f"No edge is meant for {caller or 'a caller without a role'}; enrol it with a token instead.")


ROUTE = Route("/edge/enrol", _enrol_instance, methods=["POST"])


def become(name: str, public_key: str, addresses: Sequence[str], services: Services) -> None:
    """Let an edge into the fleet, or let a machine take the place of the one of that name: its key is good no more."""
    item = edge_item(name, public_key, list(addresses))
    try:
        services.tables.directory.create(item)
    except Taken:
        services.tables.directory.update(item, public_key=public_key, addresses=list(addresses))
    probes.prepare(name, services)
    _note(f"edge {name} has enrolled", name, services)


def become_instance(name: str, instance: str, public_key: str, addresses: Sequence[str], services: Services) -> None:
    """The same for an instance, which may do so once: whoever has got hold of its credentials for a moment doesn't keep
    the edge. Asking again with the same key (the answer may have been lost) changes nothing. Raises Problem."""
    directory = services.tables.directory
    item = directory.get(EdgeItem, name)
    before = list(item.instances) if item is not None else []
    if item is not None and instance in before:
        if instance == before[-1] and item.public_key == public_key:
            return
        _note(f"instance {instance} has asked to be edge {name} with another key, and was refused", name, services)
        raise Problem(
            409, f"Instance {instance} has enrolled already, with another key; end it, and its group makes another one."
        )
    after = [*before, instance][-_INSTANCES:]
    try:
        if item is None:
            item = edge_item(name, public_key, list(addresses))
            item.instances = after
            directory.create(item)
        else:
            item.guarded = True
            directory.update(item, public_key=public_key, addresses=list(addresses), instances=after)
    except (Taken, Stale) as error:
        raise Problem(409, f"Somebody else has become {name} at the same time; try again.") from error
    probes.prepare(name, services)
    replaced = f" in the place of {before[-1]}" if before else ""
    _note(f"edge {name} has enrolled: instance {instance}{replaced}", name, services)


def _note(text: str, name: str, services: Services) -> None:
    services.tables.events.add("", StoredEvent("audit", services.clock(), text, name))
