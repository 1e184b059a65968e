"""No request body is longer than Lambda would take, where no Lambda sees to it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST = 6 * 1024 * 1024
"""Octets, of a request to Lambda."""


class SmallBodies:
    """Middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LONGEST:
                raise HTTPException(413, f"A body has at most {LONGEST} octets.", {"Connection": "close"})
            return message

        await self._app(scope, counted, send)
