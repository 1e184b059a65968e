"""Request bodies in YAML, for those who write dial plans by hand: they are read as the JSON that says the same.

Every scalar is taken as text, and becomes a number or a truth value where one is wanted, so that +442079460000 stays a
telephone number and 17:30 a time of day. Anchors and aliases aren't taken: a few lines could stand for gigabytes.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambdas.api.problems import answer

_LONGEST = 1_000_000  # octets
_TYPES = (b"application/yaml", b"application/x-yaml", b"text/yaml")


class _Loader(yaml.BaseLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases aren't taken; write it out")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


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
            body = as_json(await _body(receive))
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
        value: Any = yaml.load(body, Loader=_Loader)  # noqa: S506 - a loader that makes nothing but text
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from error
    return json.dumps(value).encode()
