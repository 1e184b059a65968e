"""The public document, made once in a process: nobody needs a key for it, and it is large."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response

from lambdas.api.security import slow_down

PATH = "/v1/openapi.json"
_HEADERS = {"Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class Document:
    """As it is sent; ``etag`` is another one once the document is."""

    plain: bytes
    packed: bytes
    etag: str


def add_document(app: FastAPI) -> None:
    """The route to it."""

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
