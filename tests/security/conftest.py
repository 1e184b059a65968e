"""A control plane on loopback, without edges, that these tests share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import development_client
from tests.support import permissions
from tests.support.fleets import fresh_base, loopback_fleet

SENDER = "sip@example.com"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentFleet]:
    """It sends mail, and lets people sign up."""
    directory = tmp_path_factory.mktemp("plane")
    environment = {"MAIL_FROM": SENDER, "SIGN_UP": "on", "PUBLIC_URL": "https://sip.people.example"}
    made = loopback_fleet(directory, fresh_base(), 0, environment=environment)
    try:
        made.start()
        development_client("sesv2", made.endpoint).create_email_identity(EmailIdentity=SENDER)
        yield made
    finally:
        made.stop()
    refused = [line for line in (directory / "control.log").read_text().splitlines() if permissions.REFUSED in line]
    assert not refused, "template.yaml allows too little"


@pytest.fixture
def tenant(plane: DevelopmentFleet) -> tuple[str, str, str]:
    """One of its own: its id, a key of it, a domain of it."""
    tenant = plane.client.api("POST", "/v1/tenants", {"name": "Test"})["id"]
    key = plane.client.api("POST", "/v1/keys", {"tenant": tenant})["key"]
    domain = f"{secrets.token_hex(4)}.example"
    plane.client.api("POST", "/v1/domains", {"tenant": tenant, "name": domain})
    return tenant, key, domain
