"""For all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Machines are busy at times: how long an example takes says nothing.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# The terminal's width, which the runner hands to its workers: what programs print shouldn't depend on it.
os.environ.pop("COLUMNS", None)

_LONG = (  # first, so that nobody waits for them in the end
    "natlab/test_takeover", "natlab/test_nat", "phones/test_linphone", "phones/", "browsers/",
    "integration/test_api_document", "integration/test_control", "compiled/", "deploy/", "natlab/", "integration/test_providers", "integration/test_regions",
    "integration/test_enrol", "integration/test_limits", "integration/",
)  # fmt: skip


def _turn(item: pytest.Item) -> int:
    return next((turn for turn, part in enumerate(_LONG) if f"tests/{part}" in item.nodeid), len(_LONG))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)
