"""Errors as RFC 9457 problem details: what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lambdas.decisions.quotas import QuotaUsedUp
from lambdas.lookups.errors import MailError
from lambdas.repositories.directory import Stale
from lambdas.repositories.transactions import Busy

_LOST = "Something went wrong here, not in your request. Try again; it is in the service's log."
_STALE = "It isn't as you have read it: it has changed, or is gone. Read it again, then decide."


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
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
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


def unusable(found: Iterable[Mapping[str, Any]]) -> Problem:
    """The body, or a parameter, has the faults that pydantic has ``found``."""
    faults = list(found)
    broken = next((one for one in faults if one["type"] == "json_invalid"), None)
    if broken is not None:
        return Problem(422, f"The body isn't JSON: {broken.get('ctx', {}).get('error', '')}.")
    errors = [{"field": ".".join(str(part) for part in one["loc"]), "fault": said(str(one["msg"]))} for one in faults]
    where = ", ".join(sorted({one["field"] for one in errors}))
    return Problem(422, f"These fields can't be used as they are: {where}.", errors=errors)


def _as_problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case Stale():
            return Problem(412, _STALE)
        case QuotaUsedUp():
            what = error.kind.replace("_", " ")
            detail = (
                f"The tenant may have {error.most} {what}, and has no room for what you want to add: delete some, or "
                f"ask whoever runs the service to raise its quota (`quotas.{error.kind}` of /v1/tenants/ID/bounds)."
            )
            return Problem(409, detail)
        case MailError():
            return Problem(503, "The mail couldn't be sent; try again later.", {"Retry-After": "60"})
        case Busy():
            return Problem(503, "Too much is being changed at once; try again.", {"Retry-After": "1"})
    return Problem(500, _LOST)


async def shown(_: Request, error: Exception) -> Response:
    """The answer to a request that has ended with ``error``."""
    problem = _as_problem(error)
    return answer(problem.status, problem.detail, problem.errors, problem.headers)


async def nothing_there(request: Request, error: Exception) -> Response:
    """The answer to a request for which there is no route."""
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}. See /v1/openapi.json for what there is."
    return answer(error.status_code, detail, headers=dict(error.headers or {}))


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    **dict.fromkeys((Problem, Stale, QuotaUsedUp, MailError, Busy, Exception), shown),
    HTTPException: nothing_there,
}
"""Every error of an application with these is a problem."""
