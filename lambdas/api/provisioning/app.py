"""The application that people and their programs talk to."""

from __future__ import annotations

from fastapi import FastAPI

from lambdas.api.app import new_app
from lambdas.api.provisioning.router import router
from lambdas.api.yaml_bodies import YamlBodies
from lambdas.services.services import Services


def provisioning_app(services: Services) -> FastAPI:
    """Its OpenAPI document is public."""
    app = new_app(services, router)
    app.add_middleware(YamlBodies)
    return app
