"""The FastAPI applications: decisions for edges, provisioning for people, and both for a machine of one's own."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from lambdas.api import decisions, enrolment, heartbeats, problems, provisioning, registrations, reports, status
from lambdas.api.services import Services
from lambdas.api.small_bodies import SmallBodies
from lambdas.api.yaml_bodies import YamlBodies

_DESCRIPTION = """
Provision a sipwizard service: tenants, their SIP domains, accounts and API keys, and the edges of the fleet.

Send an API key with every request: `Authorization: Bearer sw_…`. An administration key may do everything; a tenant's
key sees and changes what is the tenant's, and anything else looks as if it didn't exist. Errors are problem details
(RFC 9457): read `detail`. Lists come in pages: repeat the request with `cursor` set to `next` until that is null.

To begin: make a tenant, a domain and an account; point a phone at an edge with the domain, user name and password.
"""

_EDGES = (decisions.router, enrolment.router, heartbeats.router, registrations.router, reports.router)


def _app(services: Services, *routers: APIRouter) -> FastAPI:
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


def decision_app(services: Services) -> FastAPI:
    """What edges talk to."""
    return _app(services, *_EDGES)


def provisioning_app(services: Services) -> FastAPI:
    """What people and their programs talk to; its OpenAPI document is public."""
    app = _app(services, provisioning.router)
    app.add_middleware(YamlBodies)
    return app


def combined_app(services: Services) -> FastAPI:
    """Both on one port. The edges' routes stay out of the public document."""
    app = provisioning_app(services)
    for router in (*_EDGES, status.router):
        app.include_router(router, include_in_schema=False)
    app.add_middleware(SmallBodies)
    return app
