"""Where today's code has what the tests here are about."""

from __future__ import annotations

from edge.control.journal import Journal
from edge.control.store import Store
from edge.providers.leg_token import ToPhone, ToProvider, open_call_id, open_contact, open_way, seal_way
from edge.proxy.core import Core
from edge.proxy.events import Remembered
from edge.proxy.flow_token import CallReference, TokenKeys
from edge.sip.flow import Flow

__all__ = [
    "CallReference",
    "Flow",
    "Journal",
    "Remembered",
    "Store",
    "ToPhone",
    "ToProvider",
    "TokenKeys",
    "open_call_id",
    "open_contact",
    "open_way",
    "records",
    "seal_way",
]


def records(core: Core, now: float) -> dict[str, bytes]:
    """What the edge would keep on its disk now."""
    return dict(core.memory.take_changed(1000, now))
