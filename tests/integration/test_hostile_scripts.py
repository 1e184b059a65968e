"""Scripts that would do harm, one tenant's, between another's calls, on one warm process: nothing changes."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from lambdas.calls.evaluation import evaluate_plan
from lambdas.decisions.rules import Plan
from lambdas.decisions.wizard import DialledCall
from lambdas.sandbox.client import Refusal, Sandbox
from tests.unit.test_sandbox import HOSTILE, job

pytestmark = pytest.mark.integration

CALLS = 10_000 if os.environ.get("LONG") else 2_000
EVERY = 4  # calls of the good tenant for one of the bad one's
LOOPS = 50  # of the bad one's that aren't over at once, for one that is

GOOD = Plan.model_validate(
    {
        "lists": {"friends": ["+4420*"]},
        "script": """
def incoming(call):
    count = int(get("count", "0")) + 1
    put("count", str(count))
    if in_list("friends", call.caller):
        return then(ring("desk", "workshop", timeout = 20), dial("a&b|c[dt=5]"), reject(480))
    return reject(603)
""",
    }
)
CALL = DialledCall("incoming", "+442079460001", "desk@example.com", 1_780_000_000.0, lambda aor: True)


class Counting:
    """The good tenant's world."""

    def __init__(self):
        self.stored = {}

    def get(self, key):
        return self.stored.get(key)

    def put(self, key, value):
        self.stored[key] = value

    def enum(self, number, zone):
        return ""

    def http_get(self, url):
        raise Refusal("no")


def memory(process="self"):
    """Resident kilobytes."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def test_many_calls_between_hostile_scripts():
    def refuse(name, arguments):
        raise Refusal(f"{name}: not here")

    slow = [body for name, (body, _) in HOSTILE.items() if name in ("loops", "multiplies")]
    fast = [body for name, (body, _) in HOSTILE.items() if name not in ("loops", "multiplies")]
    sandbox, world = Sandbox(), Counting()
    try:
        wanted = evaluate_plan(GOOD, CALL, world, sandbox, "good", "office").verdict
        taken, after = [], []
        measured = []
        hostile = 0
        for number in range(CALLS):
            bad = number % EVERY == 0
            if bad:
                body = slow[hostile // LOOPS % len(slow)] if hostile % LOOPS == 0 else fast[hostile % len(fast)]
                assert sandbox.run("bad", job(body), refuse).error
                hostile += 1
            begun = time.perf_counter()
            verdict = evaluate_plan(GOOD, CALL, world, sandbox, "good", "office").verdict
            (after if bad else taken).append(time.perf_counter() - begun)
            assert verdict == wanted
            if number % (CALLS // 10) == CALLS // 10 - 1:
                measured.append((memory(), memory(sandbox.pid)))
        assert world.stored["count"] == str(CALLS + 1)
        (mine, server), (mine_at_last, server_at_last) = measured[1], measured[-1]
        assert mine_at_last < mine * 1.05
        assert server_at_last < server * 1.05
        assert statistics.median(after) < 1.5 * statistics.median(taken)
        print(
            f"{CALLS} calls, {hostile} hostile runs: {1000 * statistics.median(taken):.1f} ms a call, "
            f"{1000 * statistics.median(after):.1f} ms after a hostile run; "
            f"memory {mine} to {mine_at_last} KB, server {server} to {server_at_last} KB"
        )
    finally:
        sandbox.close()
