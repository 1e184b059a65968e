"""The application that edges talk to. What it imports is what they wait for where it isn't warm: nothing that only
people need (a test holds that)."""

from __future__ import annotations

from fastapi import FastAPI

from lambdas.api.app import new_app
from lambdas.api.edges import decisions, enrolment, heartbeats, registrations, reports
from lambdas.services.services import Services

ROUTERS = (decisions.router, enrolment.router, heartbeats.router, registrations.router, reports.router)


def decision_app(services: Services) -> FastAPI:
    """What edges talk to."""
    return new_app(services, *ROUTERS)
