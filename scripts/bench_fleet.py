"""The fleet that cases measure: one edge, and tallies of what it asks the control plane, and that one its tables."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.fleet import DevelopmentFleet, loopback_fleet
from scripts.fleet_parts import CONTROL, MINISTACK
from scripts.tally import Tally


def random_base() -> str:
    """A loopback address that hardly anybody else uses."""
    return f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.1"


@contextlib.contextmanager
def tallied_fleet() -> Iterator[tuple[DevelopmentFleet, Tally, Tally]]:
    """It runs, with the tally of its tables and that of its control plane."""
    base = random_base()
    tables, control = Tally(base, f"http://{base}:{MINISTACK}"), Tally(base, f"http://{base}:{CONTROL}")
    with tempfile.TemporaryDirectory() as directory:
        fleet = loopback_fleet(Path(directory), base, 1, control_endpoint=tables.url)
        fleet.edges[0].settings["control"] = [control.url]
        try:
            fleet.start()
            yield fleet, tables, control
        finally:
            fleet.stop()
            tables.stop()
            control.stop()
