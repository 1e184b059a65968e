"""The public document, made once in a process: nobody needs a key for it, and it is large.

Programs are made from it, so that what is said in many places stands once: problems, and who may ask. Operations and
schemas have the names that a program's functions and classes get.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from lambdas.api.problems import ProblemDetails
from lambdas.api.security import slow_down

PATH = "/v1/openapi.json"
_PROBLEMS = "application/problem+json"
_PARTS = "#/components"
_HEADERS = {"Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class Document:
    """As it is sent; ``etag`` is another one once the document is."""

    plain: bytes
    packed: bytes
    etag: str


def operation_name(route: APIRoute) -> str:
    """Its function's."""
    return route.name


def described(app: FastAPI, generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``generate`` makes, for programs."""
    if app.openapi_schema is None:
        made = _named(generate())
        made["servers"] = [{"url": "/", "description": "Where this document is."}]
        schemes = made["components"]["securitySchemes"]
        made["security"] = [{name: []} for name in schemes]
        made["components"]["schemas"]["Problem"] = ProblemDetails.model_json_schema() | {"title": "Problem"}
        said = made["components"].setdefault("responses", {})
        for operation in (one for path in made["paths"].values() for one in path.values()):
            if operation.get("security") == made["security"]:
                del operation["security"]
            else:
                operation.setdefault("security", [])
            for status, answer in operation["responses"].items():
                if _PROBLEMS in answer.get("content", {}):
                    name = answer["description"].replace(" ", "").replace("-", "")
                    said[name] = answer
                    operation["responses"][status] = {"$ref": f"{_PARTS}/responses/{name}"}
        app.openapi_schema = made
    return app.openapi_schema


def _named(made: dict[str, Any]) -> dict[str, Any]:
    """Each schema is called as its model is, pages of a list too."""
    text = json.dumps(made)
    for name, schema in made["components"]["schemas"].items():
        text = text.replace(f'"{_PARTS}/schemas/{name}"', f'"{_PARTS}/schemas/{schema["title"]}"')
    renamed: dict[str, Any] = json.loads(text)
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {schema["title"]: schema for schema in schemas.values()}
    return renamed


def add_document(app: FastAPI) -> None:
    """The route to it, and where whoever asks for nothing in particular is shown what there is."""
    generate = app.openapi
    app.openapi = lambda: described(app, generate)  # type: ignore[method-assign]

    async def index(request: Request) -> Response:
        slow_down(request, request.app.state.services)
        return JSONResponse({"service": "sipwizard", "api": "/v1", "document": PATH})

    app.add_route("/", index, methods=["GET"], include_in_schema=False)

    @functools.cache
    def document() -> Document:
        plain = json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()
        etag = f'W/"{hashlib.sha256(plain).hexdigest()[:16]}"'
        return Document(plain, gzip.compress(plain, mtime=0), etag)

    async def openapi(request: Request) -> Response:
        slow_down(request, request.app.state.services)
        made = document()
        headers = {**_HEADERS, "ETag": made.etag}
        known = (tag.strip() for tag in request.headers.get("if-none-match", "").split(","))
        if any(tag in (made.etag, made.etag.removeprefix("W/"), "*") for tag in known):
            return Response(status_code=304, headers=headers)
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            return Response(made.packed, headers=headers, media_type="application/json")
        return Response(made.plain, headers=headers, media_type="application/json")

    app.add_route(PATH, openapi, methods=["GET"], include_in_schema=False)


def _takes_gzip(field: str) -> bool:
    """Whether an Accept-Encoding (RFC 9110 §12.5.3) does."""
    for coding in field.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";")
        if name in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
