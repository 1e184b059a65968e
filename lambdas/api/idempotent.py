"""``Idempotency-Key``: a POST whose answer got lost can be sent again, and is done once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from lambdas.api.problems import Problem
from lambdas.repositories.idempotency import LONGEST, Answer, IdempotencyConflict
from lambdas.services.services import Services

_HEADER = "idempotency-key"
_LONGEST_KEY = 200


async def once(request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
    """Handle ``request``, unless it has been handled before. Raises Problem."""
    key = request.headers.get(_HEADER)
    if key is None or request.method != "POST" or not hasattr(request.state, "caller"):
        return await handle(request)
    if not key.isascii() or not key.isprintable() or not 0 < len(key) <= _LONGEST_KEY:
        raise Problem(400, f"An Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters.")
    services: Services = request.app.state.services
    secret = f"{request.headers['authorization']}\n{key}".encode()
    asked = f"{request.url.path}?{request.url.query}\n".encode() + await request.body()
    try:
        before = await run_in_threadpool(services.tables.idempotency.begin, secret, asked)
    except IdempotencyConflict as error:
        raise Problem(409, str(error)) from error
    if before is not None:
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
