"""Errors as RFC 9457 problem details: what is wrong and what to do about it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from lambdas.lookups.errors import MailError
from lambdas.repositories.directory import Stale
from lambdas.repositories.transactions import Busy


class ProblemDetails(BaseModel):
    """RFC 9457 §3."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request, and what to do.")
    errors: list[dict[str, str]] | None = Field(
        default=None, description="For 422: each field and its fault, of an import each line."
    )


class Problem(Exception):
    """Raised anywhere in a route; becomes the response."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.errors = errors


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's documentation: the problems it may answer with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": ProblemDetails.model_json_schema()}},
        }
        for status in statuses
    }


def answer(
    status: int, detail: str, errors: list[dict[str, str]] | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    body = ProblemDetails(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return JSONResponse(
        body.model_dump(exclude_none=True), status, headers=headers, media_type="application/problem+json"
    )


def said(message: str) -> str:
    """A fault, as pydantic says it, for people."""
    return message.removeprefix("Value error, ")


def _methods(app: FastAPI, path: str) -> list[str]:
    """What may be done at a path, by the public document: routes of one path are known one by one only."""
    found: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        pattern = "[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template))
        if re.fullmatch(pattern, path):
            found |= {method.upper() for method in operations}
    return sorted(found)


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return answer(error.status, error.detail, error.errors, error.headers)

    @app.exception_handler(Stale)
    async def stale(_: Request, __: Stale) -> JSONResponse:
        return answer(412, "It isn't as you have read it: it has changed, or is gone. Read it again, then decide.")

    @app.exception_handler(MailError)
    async def unsent(_: Request, __: MailError) -> JSONResponse:
        return answer(503, "The mail couldn't be sent; try again later.", headers={"Retry-After": "60"})

    @app.exception_handler(Busy)
    async def busy(_: Request, __: Busy) -> JSONResponse:
        return answer(503, "Too much is being changed at once; try again.", headers={"Retry-After": "1"})

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if error.status_code == 404:
            detail = f"There is nothing at {request.url.path}. See /v1/openapi.json for what there is."
        headers = dict(error.headers or {})
        if error.status_code == 405:
            allowed = _methods(app, request.url.path)
            headers = {"Allow": ", ".join(allowed)} if allowed else headers
            detail = f"Not allowed here: {request.method}. Use one of {', '.join(allowed)}." if allowed else detail
        return answer(error.status_code, detail, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        if any(item["type"] == "json_invalid" for item in found):
            return answer(422, f"The body isn't JSON: {found[0].get('ctx', {}).get('error', '')}.")
        if any(item["loc"] == ("body",) and isinstance(item["input"], bytes) for item in found):
            return answer(422, "Say what the body is: send it with 'Content-Type: application/json'.")
        errors = [
            {"field": ".".join(str(part) for part in item["loc"]), "fault": said(str(item["msg"]))} for item in found
        ]
        where = ", ".join(sorted({item["field"] for item in errors}))
        return answer(422, f"These fields can't be used as they are: {where}.", errors)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return answer(500, "Something went wrong here, not in your request. Try again; it is in the service's log.")
