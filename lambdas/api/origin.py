"""Behind a distribution (CloudFront) that everybody has to come by: what doesn't is refused before anything else, since
the function's own URL is open to all."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from lambdas.api.problems import answer

_SECRET = b"x-origin-secret"
_VIEWER = b"true-client-ip"  # as front.yaml has the distribution write it, whatever came


class Origin:
    """Middleware. Requests need one of ``secrets`` in ``X-Origin-Secret``; two of them are good while one takes the
    other's place. Who asks is then whom the distribution names."""

    def __init__(self, app: ASGIApp, secrets: Sequence[str]) -> None:
        self._app = app
        self._secrets = [one.encode() for one in secrets]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        given = [value for name, value in headers if name == _SECRET]
        good = [hmac.compare_digest(given[0], secret) for secret in self._secrets] if len(given) == 1 else []
        if not any(good):
            detail = "Come by the service's public address, not by this one."
            await answer(403, detail, headers={"Connection": "close"})(scope, receive, send)
            return
        viewer = next((value.decode("latin-1") for name, value in headers if name == _VIEWER), "")
        left = [(name, value) for name, value in headers if name != _SECRET]
        client = (viewer, 0) if viewer else scope.get("client")
        await self._app({**scope, "headers": left, "client": client}, receive, send)
