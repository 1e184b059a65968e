"""The fleet's secret is written by the function that edges ask, never by the one that strangers may call: that one has
no permission to (tests/unit/test_permissions.py), and needs none."""

from __future__ import annotations

import pytest

from lambdas.services.keys import Keys

SECRET = bytes(range(32))


def test_what_the_provisioning_api_derives_writes_nothing():
    kept: list[bytes] = []
    keys = Keys(lambda: SECRET, kept.append)
    assert len(keys.derived("letters")) == 32
    assert kept == []


def test_edges_get_keys_only_of_a_secret_that_is_kept():
    kept: list[bytes] = []
    keys = Keys(lambda: SECRET, kept.append)
    assert len(keys.of(1_800_000_000.0)) == 10
    keys.of(1_800_000_002.0)
    assert kept == [SECRET]


def test_they_get_none_where_it_cannot_be_kept():
    def full(_: bytes) -> None:
        raise OSError("full")

    keys = Keys(lambda: SECRET, full)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            keys.of(1_800_000_000.0)
