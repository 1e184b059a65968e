"""The application that edges talk to. What it imports is what they wait for where it isn't warm: nothing that only
people need (a test holds that)."""

from __future__ import annotations

from starlette.applications import Starlette

from lambdas.api import problems
from lambdas.api.edges import certificates, decisions, enrolment, heartbeats, registrations, reports
from lambdas.services.services import Services

ROUTES = (certificates.ROUTE, decisions.ROUTE, enrolment.ROUTE, heartbeats.ROUTE, registrations.ROUTE, reports.ROUTE)


def decision_app(services: Services) -> Starlette:
    """What edges talk to."""
    app = Starlette(routes=ROUTES, exception_handlers=problems.HANDLERS)
    app.state.services = services
    return app
