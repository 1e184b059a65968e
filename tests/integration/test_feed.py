"""The change feed over a real table: gap-free, whatever order replication brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent

_SCRIPT = """
import json, threading
from lambdas.contract import Change
from lambdas.repositories.feed import FeedConflict, Feed, _HEADS
from lambdas.repositories.models import ChangeItem, DirectoryItem, FeedItem

feed = Feed()
feed._region = "test-1"
NOW = 1_800_000_000.0

def add(number):
    feed.append(Change(aor=f"u{number}@x", version=number), NOW, [])

threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
heads = {"test-1": feed.heads()["test-1"]}
out = {"head": heads["test-1"][0]}
news = feed.since({"test-1": 0}, heads, NOW, 500)
out["all"] = sorted(change.aor for change in news.changes)
out["cursor"] = news.cursor["test-1"]
out["paged"] = [len(feed.since({"test-1": 0}, heads, NOW, 4).changes), feed.since({"test-1": 0}, heads, NOW, 4).more]
# The head is here, its entry isn't yet.
ahead = {"test-1": (7, int(NOW))}
early = feed.since({"test-1": 6}, ahead, NOW + 1, 500)
out["early"] = [len(early.changes), early.cursor["test-1"], early.lost]
overdue = feed.since({"test-1": 6}, ahead, NOW + 4000, 500)
out["overdue"] = [overdue.cursor["test-1"], overdue.lost]
# An entry in the middle is missing.
DirectoryItem.get("FEED#test-1", f"{4:012d}").delete()
gap = feed.since({"test-1": 2}, heads, NOW + 1, 2)
out["gap"] = [len(gap.changes), gap.cursor["test-1"], gap.more, gap.lost]
stuck = feed.since({"test-1": 3}, heads, NOW + 1, 2)
out["stuck"] = [len(stuck.changes), stuck.cursor["test-1"], stuck.more, stuck.lost]
late = feed.since({"test-1": 3}, heads, NOW + 4000, 500)
out["late"] = [late.cursor["test-1"], late.lost]
print(json.dumps(out))
"""


def test_numbers_without_gaps_and_what_a_gap_means(fleet):
    environment = {
        **os.environ,
        **DEVELOPMENT_CREDENTIALS,
        "AWS_ENDPOINT_URL": fleet.endpoint,
        "TABLE_PREFIX": "sipwizard",
    }
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out == {
        "head": 6,
        "all": [f"u{number}@x" for number in range(6)],
        "cursor": 6,
        "paged": [4, True],
        "early": [0, 6, False],
        "overdue": [7, True],
        "gap": [1, 3, False, False],
        "stuck": [0, 3, False, False],
        "late": [6, True],
    }
