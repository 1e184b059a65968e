"""Routes for edges: a signed request with a model of the contract in its body, answered with another. Edges wait for
the first answer of a function that isn't warm, so nothing is imported here that writes documents for people."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lambdas.api.problems import Problem, unusable
from lambdas.contract import signed_text
from lambdas.repositories.models import EdgeItem
from lambdas.services.services import Services

_WINDOW = 60  # seconds that an edge's clock may be off, and in which a captured request could be sent again
_Body = TypeVar("_Body", bound=BaseModel)


def edge_route(path: str, body: type[_Body], answer: Callable[[_Body, EdgeItem, Services], BaseModel]) -> Route:
    """POST to ``path``, by edges only."""

    async def endpoint(request: Request) -> Response:
        services: Services = request.app.state.services
        edge = await _signing_edge(request, services)
        reply = await run_in_threadpool(answer, await read(request, body), edge, services)
        return Response(reply.model_dump_json(), media_type="application/json")

    return Route(path, endpoint, methods=["POST"])


async def read(request: Request, body: type[_Body]) -> _Body:
    """What is asked. Raises Problem."""
    try:
        return body.model_validate_json(await request.body())
    except ValidationError as error:
        raise unusable(error.errors()) from error


async def _signing_edge(request: Request, services: Services) -> EdgeItem:
    """The edge whose Ed25519 key signed (label, method, path, time, SHA-256 of the body). Otherwise 401."""
    edge = request.headers.get("x-edge", "")
    stamp = request.headers.get("x-edge-time", "")
    item = await run_in_threadpool(services.fleet.edge, edge) if edge else None
    refusal = Problem(401, "The request isn't signed by a registered edge. Register its public key under /v1/edges.")
    if item is None:
        raise refusal
    signed = signed_text(request.method, request.url.path, edge, stamp, await request.body())
    try:
        signature = base64.b64decode(request.headers.get("x-edge-signature", ""), validate=True)
        Ed25519PublicKey.from_public_bytes(base64.b64decode(item.public_key)).verify(signature, signed)
        late = abs(services.clock() - float(stamp))
    except (ValueError, InvalidSignature) as error:
        raise refusal from error
    if not late <= _WINDOW:
        raise Problem(401, f"The edge's clock is {late:.0f} s off; at most {_WINDOW} s are accepted. Run NTP on it.")
    return item
