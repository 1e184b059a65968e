"""Where today's code has what the tests here are about."""

from __future__ import annotations

from pathlib import Path

from edge.control.journal import Journal
from edge.control.store import Store
from edge.providers.leg_token import ToPhone, ToProvider, open_call_id, open_contact, open_way, seal_way
from edge.proxy.core import Core
from edge.proxy.events import Remembered
from edge.proxy.flow_token import CallReference, TokenKeys
from edge.sip.flow import Flow
from tests.compat.write_fixtures import STATE_KEY

__all__ = [
    "CallReference",
    "Flow",
    "Journal",
    "ToPhone",
    "ToProvider",
    "TokenKeys",
    "open_call_id",
    "open_contact",
    "open_store",
    "open_way",
    "records",
    "remembered",
    "seal_way",
]


def open_store(path: Path) -> Store:
    return Store(path, STATE_KEY)


def remembered(store: Store) -> Remembered:
    """What an edge that starts takes back from its disk, where its phones are included."""
    return Remembered(store.load("record"), store.load("route"), True)


def records(core: Core, now: float) -> dict[str, bytes]:
    """What the edge would keep on its disk now, of each AOR."""
    return dict(core.memory.take_changed(1000, now))
