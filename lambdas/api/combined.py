"""Everything on one port, for development and for a machine of one's own."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from lambdas.api import status
from lambdas.api.edges.app import decision_app
from lambdas.api.provisioning.app import provisioning_app
from lambdas.api.small_bodies import SmallBodies
from lambdas.services.services import Services


def combined_app(services: Services) -> ASGIApp:
    """What edges ask doesn't pass by the routes for people, of which there are many."""
    people, edges = provisioning_app(services), decision_app(services)
    people.include_router(status.router(services), include_in_schema=False)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked = edges if scope["type"] == "http" and scope["path"].startswith("/edge/") else people
        await asked(scope, receive, send)

    return SmallBodies(app)
