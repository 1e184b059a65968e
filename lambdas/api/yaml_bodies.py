"""Request bodies in YAML, for those who write dial plans by hand: they are read as the JSON that says the same.

Every scalar is taken as text, and becomes a number or a truth value where one is wanted, so that +442079460000 stays a
telephone number and 17:30 a time of day. Anchors and aliases aren't taken: a few lines could stand for gigabytes.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambdas.api.problems import answer

_LONGEST = 300_000  # octets
_DEEPEST = 50  # levels
_TYPES = (b"application/yaml", b"application/x-yaml", b"text/yaml")


class YamlBodies:
    """Middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = scope.get("headers", [])
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        if scope["type"] != "http" or kind.partition(b";")[0].strip().lower() not in _TYPES:
            await self._app(scope, receive, send)
            return
        try:
            body = await run_in_threadpool(as_json, await _body(receive))
        except ValueError as error:
            await answer(422, f"The body isn't YAML that can be used: {error}")(scope, receive, send)
            return
        rest = [(name, value) for name, value in headers if name not in (b"content-type", b"content-length")]
        sized = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        sent = False

        async def received() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app({**scope, "headers": [*rest, *sized]}, received, send)


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST} octets")
    return body


def as_json(body: bytes) -> bytes:
    """The JSON that says the same. Raises ValueError."""
    try:
        depth = 0
        for event in yaml.parse(body, Loader=yaml.CBaseLoader):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError("aliases aren't taken; write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise yaml.YAMLError(f"more than {_DEEPEST} levels")
        value: Any = yaml.load(body, Loader=yaml.CBaseLoader)  # noqa: S506 - it makes nothing but text
        return json.dumps(value).encode()
    except (yaml.YAMLError, UnicodeError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from error
