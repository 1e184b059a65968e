"""What is taken of a request's body: so much, of the kinds that the route reads, as JSON."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from lambdas.api.problems import Problem
from lambdas.api.yaml_bodies import as_json

LONGEST = 1_000_000
"""Octets that somebody may send whom an API key has made known."""
LONGEST_OF_STRANGERS = 64 * 1024
JSON, YAML = "application/json", "application/yaml"
_ALSO_YAML = ("application/x-yaml", "text/yaml")


async def taken(request: Request, kinds: Iterable[str], longest: int) -> Request:
    """``request`` with its body read, and turned into JSON if it is YAML. Nothing is parsed here but YAML. Raises
    Problem."""
    too_long = Problem(413, f"The body is longer than {longest} octets.")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > longest:
        raise too_long
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > longest:
            raise too_long
        return message

    bounded = Request(request.scope, counted)
    body = await bounded.body()
    kind = _kind(request)
    if body and kind not in kinds:
        takes = " or ".join(sorted(kinds))
        said = f"{kind} isn't taken here" if kind else "Say what the body is"
        raise Problem(415, f"{said}: send it with 'Content-Type: {takes}'." if takes else "No body is taken here.")
    return await _as_json(bounded, body) if body and kind == YAML else bounded


def _kind(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _ALSO_YAML:
        return YAML
    return JSON if kind.startswith("application/") and kind.endswith("+json") else kind


async def _as_json(request: Request, body: bytes) -> Request:
    try:
        text = await run_in_threadpool(as_json, body)
    except ValueError as error:
        raise Problem(422, f"The body isn't YAML that can be used: {error}.") from error
    names = (b"content-type", b"content-length")
    headers = [(name, value) for name, value in request.scope["headers"] if name not in names]
    headers += [(b"content-type", JSON.encode()), (b"content-length", str(len(text)).encode())]
    return Request({**request.scope, "headers": headers}, _said_again(text))


def _said_again(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
