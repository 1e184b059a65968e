"""The siege, a short one: 50,000 requests of forged sources, and 8,000 a second while phones register and call."""

from __future__ import annotations

import json
import os

import pytest

from scripts import siege
from tests.support.natlab import why_not
from tests.support.pace import slowness

pytestmark = pytest.mark.natlab


@pytest.fixture(scope="module")
def besieged():
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(f"no laboratory: {reason}")
    if reason:
        pytest.skip(f"no laboratory: {reason}")
    with siege.besieged() as made:
        yield made


def figures(capsys):
    return {line["case"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}


def test_strangers_leave_nothing_behind_and_get_one_answer_each(besieged, capsys):
    good = siege.memory(besieged, 50_000, 8000)
    found = figures(capsys)
    assert good, found
    assert found["siege memory"]["requests"] > 10_000
    assert found["siege answers"]["value"] > 0.05  # it was a flood, and it was heard
    assert found["siege amplification"]["value"] <= 1.5  # the mean of all methods


def test_who_is_known_registers_and_calls_at_8000_requests_a_second(besieged, capsys):
    good = siege.beyond(besieged, 8000, 4)
    found = figures(capsys)
    assert good, found
    assert found["siege beyond"]["registrations"] > 0
    assert found["siege beyond"]["calls"] > 0


def test_who_is_known_hardly_waits_while_strangers_take_half_of_the_edge(besieged, capsys):
    siege.half(besieged, 3)
    found = figures(capsys)["siege p99"]
    assert found["value"] <= 2 * slowness() or found["loud_ms"] < 50 * slowness(), found
