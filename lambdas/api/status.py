"""The status page where no bucket has it: for development, and a machine of one's own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from lambdas.api import status_page
from lambdas.services.cached import Cached
from lambdas.services.services import Services

_CACHE = {"Cache-Control": "public, max-age=10"}


def router(services: Services) -> APIRouter:
    """Its routes; what they show is made anew after ten seconds."""
    made = APIRouter(tags=["status"], include_in_schema=False)

    def refreshed() -> dict[str, Any]:
        return status_page.refresh(services.tables.probes, services.clock(), services.certificates.all().values())

    state: Cached[dict[str, Any]] = Cached(refreshed, 10.0)

    @made.get("/status")
    def page() -> HTMLResponse:
        """For people."""
        return HTMLResponse(status_page.render(state.get()), headers=_CACHE)

    @made.get("/status.json")
    def figures() -> Response:
        """For programs."""
        return Response(status_page.as_json(state.get()), media_type="application/json", headers=_CACHE)

    return made
