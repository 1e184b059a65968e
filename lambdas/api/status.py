"""The status page where no bucket has it: for development, and a machine of one's own."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from lambdas.api.security import ServicesDep

router = APIRouter(tags=["status"], include_in_schema=False)

_CACHE = {"Cache-Control": "public, max-age=10"}


@router.get("/status")
def page(services: ServicesDep) -> HTMLResponse:
    """For people."""
    return HTMLResponse(services.status.get()[0], headers=_CACHE)


@router.get("/status.json")
def figures(services: ServicesDep) -> Response:
    """For programs."""
    return Response(services.status.get()[1], media_type="application/json", headers=_CACHE)
