"""Where today's code has what the tests here are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge.control.journal import Journal
from edge.control.store import StateStore
from edge.providers.leg_token import LegToPhone as ToPhone
from edge.providers.leg_token import LegToProvider as ToProvider
from edge.providers.leg_token import open_call_id, open_contact, open_way, seal_way
from edge.proxy.core import Core
from edge.proxy.stack.events import Remembered
from edge.proxy.stack.flow_token import CallReference, TokenKeys
from edge.runtime.disk_format import write_account
from edge.runtime.restart import load, read
from edge.runtime.restart import remembered as for_core
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


def open_store(path: Path) -> StateStore:
    return StateStore(path, STATE_KEY)


def remembered(store: StateStore) -> Remembered:
    """What an edge that starts takes back from its disk, where its phones are included."""
    assert load(store, float("inf")) is not None
    (records, lost), (routes, lost_too) = (read(kind, store.load(kind)) for kind in ("record", "route"))
    assert (lost, lost_too) == ([], [])
    return replace(for_core("record", records, True), routes=for_core("route", routes, True).routes)


def records(core: Core, now: float) -> dict[str, bytes]:
    """What the edge would keep on its disk now, of each AOR."""
    return {aor: write_account(record) for aor, record in core.disk_records.take_changed(1000, now)}
