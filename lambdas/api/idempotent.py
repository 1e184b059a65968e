"""``Idempotency-Key``: a POST whose answer got lost can be sent again, and is done once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from lambdas.api.problems import Problem
from lambdas.api.security import allowed, known_key, too_many
from lambdas.repositories.idempotency import LONGEST, Answer, IdempotencyConflict
from lambdas.services.services import Services

_HEADER = "idempotency-key"
_LONGEST_KEY = 200


async def once(request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
    """Handle ``request``, unless it has been handled before. Raises Problem."""
    key = request.headers.get(_HEADER)
    authorization = request.headers.get("authorization", "")
    services: Services = request.app.state.services
    if key is None or request.method != "POST":
        return await handle(request)
    if not key.isascii() or not key.isprintable() or not 0 < len(key) <= _LONGEST_KEY:
        raise Problem(400, f"An Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters.")
    item = (
        await run_in_threadpool(known_key, services, authorization)
        if allowed(request, services, authorization)
        else None
    )
    if item is None or item.role == "read-only":
        return await handle(request)  # which refuses it
    if not services.quotas.requests.left(item.id):
        raise too_many()
    secret = f"{authorization}\n{key}".encode()
    asked = f"{request.url.path}?{request.url.query}\n".encode() + await request.body()
    try:
        before = await run_in_threadpool(services.tables.idempotency.begin, secret, asked)
    except IdempotencyConflict as error:
        services.quotas.requests.take(item.id)
        raise Problem(409, str(error)) from error
    if before is not None:
        services.quotas.requests.take(item.id)
        headers = {"Idempotency-Replayed": "true"}
        return Response(before.body, before.status, headers, before.media or None)
    answer: Answer | None = None
    try:
        response = await handle(request)
        if response.status_code < 300 and len(response.body) <= LONGEST:
            answer = Answer(response.status_code, bytes(response.body), response.headers.get("content-type", ""))
        return response
    finally:
        # What was refused changed nothing, and may be right the next time.
        await run_in_threadpool(services.tables.idempotency.end, secret, answer)
