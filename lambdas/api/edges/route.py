"""Routes for edges: a signed request with a model of the contract in its body, answered with another. Edges wait for
the first answer of a function that isn't warm, so nothing is imported here that writes documents for people."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
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

    def answered(headers: Headers, data: bytes, services: Services) -> str:
        edge = _signing_edge(path, headers, data, services)
        return answer(_parsed(data, body), edge, services).model_dump_json()

    async def endpoint(request: Request) -> Response:
        services: Services = request.app.state.services
        reply = await run_in_threadpool(answered, request.headers, await request.body(), services)
        return Response(reply, media_type="application/json")

    return Route(path, endpoint, methods=["POST"])


async def read(request: Request, body: type[_Body]) -> _Body:
    """What is asked. Raises Problem."""
    return _parsed(await request.body(), body)


def _parsed(data: bytes, body: type[_Body]) -> _Body:
    try:
        return body.model_validate_json(data)
    except ValidationError as error:
        raise unusable(error.errors()) from error


def _signing_edge(path: str, headers: Headers, data: bytes, services: Services) -> EdgeItem:
    """The edge whose Ed25519 key signed (label, method, path, time, SHA-256 of the body). Otherwise 401."""
    edge = headers.get("x-edge", "")
    stamp = headers.get("x-edge-time", "")
    item = services.fleet.edge(edge) if edge else None
    refusal = Problem(401, "The request isn't signed by a registered edge. Register its public key under /v1/edges.")
    if item is None:
        raise refusal
    signed = signed_text("POST", path, edge, stamp, data)
    try:
        signature = base64.b64decode(headers.get("x-edge-signature", ""), validate=True)
        _key(item.public_key).verify(signature, signed)
        late = abs(services.clock() - float(stamp))
    except (ValueError, InvalidSignature) as error:
        raise refusal from error
    if not late <= _WINDOW:
        raise Problem(401, f"The edge's clock is {late:.0f} s off; at most {_WINDOW} s are accepted. Run NTP on it.")
    return item


@lru_cache(maxsize=1000)
def _key(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text))
