"""Fleets on loopback addresses of their own, so that runs can overlap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.fleet import DevelopmentFleet
from tests.support import permissions
from tests.support.fleets import fresh_base, loopback_fleet


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
