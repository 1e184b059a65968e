"""The application that people and their programs talk to."""

from __future__ import annotations

import re

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from lambdas.api import problems
from lambdas.api.origin import Origin
from lambdas.api.provisioning.document import add_document, operation_name
from lambdas.api.provisioning.router import router
from lambdas.services.services import Services

_DESCRIPTION = """
Provision a sipwizard service: tenants, their SIP domains, accounts and API keys, and the edges of the fleet.

Send an API key with every request: `Authorization: Bearer sw_…`. An administration key may do everything; a tenant's
key sees and changes what is the tenant's, and anything else looks as if it didn't exist. Errors are problem details
(RFC 9457): read `detail`. Lists come in pages: repeat the request with `cursor` set to `next` until that is null.

To begin: make a tenant, a domain and an account; point a phone at an edge with the domain, user name and password.
"""


def provisioning_app(services: Services) -> FastAPI:
    """Its OpenAPI document is public."""
    app = FastAPI(
        title="sipwizard",
        version="1",
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=operation_name,
        exception_handlers={**problems.HANDLERS, HTTPException: _nothing_there, RequestValidationError: _unusable},
    )
    app.state.services = services
    app.include_router(router)
    add_document(app)
    if services.environment.origin_secrets:
        app.add_middleware(Origin, secrets=services.environment.origin_secrets)
    return app


async def _unusable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await problems.shown(request, problems.unusable(error.errors()))


async def _nothing_there(request: Request, error: Exception) -> Response:
    """Of a path that is there: what may be done."""
    assert isinstance(error, HTTPException)
    allowed = ", ".join(_methods(request.app, request.url.path)) if error.status_code == 405 else ""
    if not allowed:
        return await problems.nothing_there(request, error)
    return problems.answer(
        405, f"Not allowed here: {request.method}. Use one of {allowed}.", headers={"Allow": allowed}
    )


def _methods(app: FastAPI, path: str) -> list[str]:
    """What may be done at a path, by the public document: routes of one path are known one by one only."""
    found: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        pattern = "[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template))
        if re.fullmatch(pattern, path):
            found |= {method.upper() for method in operations}
    return sorted(found)
