"""``scripts/bench kamailio`` from end to end, with numbers that say nothing about speed: all that it asks is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from scripts.bench_kamailio import GOALS
from scripts.fleet_parts import ROOT

pytestmark = pytest.mark.integration

LONG = bool(os.environ.get("LONG"))
NUMBERS = ["--fast", "60", "--slow", "6", "--seconds", "1", "--rounds", "1", "--phones", "100", "--settle", "0"]


def bench(*arguments):
    """What it says, by case."""
    command = [sys.executable, "-m", "scripts.bench_cases", "kamailio", *arguments, *NUMBERS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *lines = map(json.loads, done.stdout.splitlines())
    assert first["kamailio"]
    return {line["case"]: line for line in lines}


def test_what_is_asked_is_answered():
    found = bench("refresh", "options", "register", "call", "--transport", "udp")
    for case, done in (("refresh", 60), ("options", 60), ("register", 6), ("call", 6)):
        line = found[f"{case} udp"]
        assert (line["unit"], line["goal"]) == ("times Kamailio's", GOALS[case])
        assert line["done"] == {"edge": done, "kamailio": done}, line
        assert line["failed"] == {"edge": 0, "kamailio": 0}
        for server in ("edge", "kamailio"):
            assert (found[f"{case} udp, {server}"]["unit"], len(found[f"{case} udp, {server}"]["rounds"])) == (
                "ms CPU",
                1,
            )
    for case in ("register", "call"):
        assert found[f"{case} udp, control plane"]["value"] > 0


@pytest.mark.skipif(not LONG, reason="three minutes")
def test_every_case_by_every_transport():
    found = bench()
    streams = {f"{case} {transport}" for case in ("refresh", "options", "register") for transport in ("tls", "wss")}
    assert streams <= found.keys()
    assert all(not any(found[case]["failed"].values()) for case in streams)
    for transport in ("udp", "tls", "wss"):
        assert found[f"call {transport}, edge"]["value"] > 0
        assert found[f"relayed {transport}, edge"]["value"] > 0
        assert found[f"memory {transport}"]["unit"] == "times Kamailio's"
        assert found[f"most {transport}"]["a_second"]["edge"] > 0


def test_a_case_that_isnt_there_is_named():
    with pytest.raises(AssertionError, match=r"there is no turbo; the cases are refresh, options, .* by udp, tls, wss"):
        bench("turbo")
