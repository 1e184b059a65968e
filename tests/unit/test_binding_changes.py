"""What a heartbeat tells an edge of the bindings at its addresses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lambdas.api.edges import heartbeats
from lambdas.contract import Heartbeat
from lambdas.decisions.values import StoredBinding

NOW = 1_800_000_000.0
ADDRESS = "203.0.113.11"


def stored(**more) -> StoredBinding:
    said = {
        "aor": "a@b", "key": "k", "flow": (ADDRESS, 5060, "udp", "192.0.2.1", 5060, 0), "contact": "sip:x",
        "call_id": "c", "cseq": 1, "registered_at": 1, "changed_at": 1, "expires_at": NOW + 60, "revision": "r",
        "tenant": "t1",
    }  # fmt: skip
    return StoredBinding(**said | more)


def told(item: StoredBinding, since: int):
    services = SimpleNamespace(
        tables=SimpleNamespace(bindings=SimpleNamespace(changes=lambda *_: ([item], since, False)))
    )
    beat = Heartbeat(
        version=8, boot="b", addresses=[ADDRESS], mesh="m", certificate="c", changes_since={ADDRESS: since}
    )
    return heartbeats._changes([ADDRESS], beat, services, NOW)[0]


@pytest.mark.parametrize("since", [0, 5])
def test_one_that_is_there(since):
    (change,) = told(stored(doubted_at=2500, path=["<sip:p;lr>"]), since)
    assert (change.expires, change.doubted_at, change.path) == (60, 2.5, ["<sip:p;lr>"])


def test_one_that_was_removed():
    (change,) = told(stored(removed=True), 5)
    assert change.expires == 0
    assert told(stored(removed=True), 0) == []


@pytest.mark.parametrize("since", [0, 5])
def test_one_that_has_run_out_says_nothing(since):
    """Its phone may have gone on refreshing at the edge, which nobody could be told."""
    assert told(stored(expires_at=NOW - 1), since) == []
