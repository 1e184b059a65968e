"""The bill, and that the documentation says what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ROWS = re.findall(r"\| `(--[^`]+)` \| (\d+) \|", (ROOT / "docs" / "cost.md").read_text())


def bill(*options):
    command = [sys.executable, "-m", "scripts.cost", "--json", *options]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(("options", "dollars"), ROWS)
def test_the_documented_bills(options, dollars):
    assert round(bill(*options.split())["total"]) == int(dollars)


def test_there_are_some():
    assert len(ROWS) == 5


def test_what_a_bill_depends_on():
    few, many = bill("--phones", "1000", "--calls", "0"), bill("--phones", "1000", "--calls", "10000")
    assert few["items"]["calls: Lambda and DynamoDB"] == 0 < many["items"]["calls: Lambda and DynamoDB"]
    often = bill("--phones", "1000", "--calls", "0", "--refresh", "30")
    for name in ("registrations: Lambda and DynamoDB", "refreshes: Lambda and DynamoDB"):
        assert often["items"][name] == few["items"][name]  # a refresh that changes nothing costs nothing
    limited = bill("--phones", "1000", "--calls", "10000", "--limits")
    assert limited["total"] > many["total"] > few["total"]


def test_media_cost_what_they_send():
    direct = bill("--calls", "1000")
    some = bill("--calls", "1000", "--relayed", "0.5", "--minutes", "2")
    octets = 1000 * 30 * 0.5 * 120 * 20_000  # G.711 in packets of 20 ms, to both sides
    assert some["items"]["traffic of relayed calls"] == round(octets / 1e9 * 0.09, 2) > 0
    assert round(some["total"] - direct["total"], 2) == some["items"]["traffic of relayed calls"]
    assert "traffic of relayed calls" not in direct["items"]
