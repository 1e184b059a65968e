"""What all applications have in common."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from lambdas.api import problems
from lambdas.services.services import Services

_DESCRIPTION = """
Provision a sipwizard service: tenants, their SIP domains, accounts and API keys, and the edges of the fleet.

Send an API key with every request: `Authorization: Bearer sw_…`. An administration key may do everything; a tenant's
key sees and changes what is the tenant's, and anything else looks as if it didn't exist. Errors are problem details
(RFC 9457): read `detail`. Lists come in pages: repeat the request with `cursor` set to `next` until that is null.

To begin: make a tenant, a domain and an account; point a phone at an edge with the domain, user name and password.
"""


def new_app(services: Services, *routers: APIRouter) -> FastAPI:
    """One with ``routers``, whose errors are problems."""
    app = FastAPI(
        title="sipwizard",
        version="1",
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    problems.install(app)
    for router in routers:
        app.include_router(router)
    return app
