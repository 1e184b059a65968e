"""Fleets on loopback addresses of their own, so that runs can overlap."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.fleet import DevelopmentFleet, loopback_fleet
from scripts.fleet_parts import CONTROL
from tests.support import permissions

DevelopmentFleet.control_module = permissions.__name__


def fresh_base() -> str:
    """A loopback address nobody uses, the first of several."""
    while True:
        base = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.1"
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex((base, CONTROL)):
                return base


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentFleet]:
    """Two edges that all tests of this run share."""
    directory: Path = tmp_path_factory.mktemp("fleet")
    made = loopback_fleet(directory, fresh_base(), 2)
    try:
        made.start()
        yield made
    finally:
        made.stop()
    refused = [line for line in (directory / "control.log").read_text().splitlines() if permissions.REFUSED in line]
    assert not refused, "template.yaml allows too little"
