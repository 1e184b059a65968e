"""Everything on one port, for development and for a machine of one's own."""

from __future__ import annotations

from fastapi import FastAPI

from lambdas.api import status
from lambdas.api.edges.app import ROUTES
from lambdas.api.provisioning.app import provisioning_app
from lambdas.api.small_bodies import SmallBodies
from lambdas.services.services import Services


def combined_app(services: Services) -> FastAPI:
    """The edges' routes stay out of the public document."""
    app = provisioning_app(services, besides=("/edge/",))
    app.router.routes.extend(ROUTES)
    app.include_router(status.router(services), include_in_schema=False)
    app.add_middleware(SmallBodies)
    return app
