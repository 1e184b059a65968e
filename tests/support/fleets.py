"""Fleets on loopback whose control plane has only the permissions that template.yaml gives it."""

from __future__ import annotations

import secrets
import socket
from functools import partial

from scripts import fleet
from scripts.fleet_parts import CONTROL
from tests.support import permissions

loopback_fleet = partial(fleet.loopback_fleet, control_module=permissions.__name__)


def fresh_base() -> str:
    """A loopback address nobody uses, the first of several."""
    while True:
        base = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.1"
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if probe.connect_ex((base, CONTROL)):
                return base
