"""Fleets on loopback addresses of their own, so that runs can overlap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN
from tests.support import permissions
from tests.support.certificates import Pair, self_signed
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.push_double import PushDouble

SIPS, WS, WSS = 5061, 8081, 8443


@pytest.fixture(scope="session")
def certificate() -> Pair:
    """The edges'."""
    return self_signed(f"edge-a.{DOMAIN}", f"edge-b.{DOMAIN}")


@pytest.fixture(scope="session")
def push_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushDouble]:
    """What phones are woken by."""
    made = PushDouble(tmp_path_factory.mktemp("push"), lambda _: (200, {}, {}))
    yield made
    made.close()


@pytest.fixture(scope="session")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, certificate: Pair, push_service: PushDouble
) -> Iterator[DevelopmentFleet]:
    """Two edges that all tests of this run share."""
    directory: Path = tmp_path_factory.mktemp("fleet")
    environment = {"APNS_URL": push_service.url, "SSL_CERT_FILE": str(push_service.chain)}
    made = loopback_fleet(directory, fresh_base(), 2, environment=environment)
    chain, key = certificate.write(directory, "certificate")
    for edge in made.edges:
        listen = [f"{kind}://{edge.sip}" for kind in ("udp", "tcp")]
        listen += [f"{kind}://{edge.address}:{port}" for kind, port in (("tls", SIPS), ("ws", WS), ("wss", WSS))]
        edge.settings |= {"listen": listen, "certificates": [{"chain": str(chain), "key": str(key)}]}
    try:
        made.start()
        yield made
    finally:
        made.stop()
    refused = [line for line in (directory / "control.log").read_text().splitlines() if permissions.REFUSED in line]
    assert not refused, "template.yaml allows too little"
