"""``scripts/demo`` as a newcomer meets it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request

import pytest

from scripts.fleet_parts import ROOT
from tests.integration.test_scripts import start, wait_for_file
from tests.support.fleets import fresh_base

pytestmark = pytest.mark.natlab


def demo(local, *more):
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--local", str(local), *more],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_phones_and_a_web_phone_call(tmp_path):
    if shutil.which("chromium") is None:
        pytest.skip("chromium isn't installed")
    up = start(fresh_base(), tmp_path)
    try:
        wait_for_file(tmp_path / "up.json", up)
        said = demo(tmp_path)
        heard = [said.count(pair) for pair in ("alice hears alice", "alice hears bob", "bob hears alice")]
        assert heard == [1, 2, 2]
        before = [edge["pid"] for edge in json.loads((tmp_path / "up.json").read_text())["edges"]]
        said = demo(tmp_path, "--kill")
        assert "Proved: both edges of a call were killed" in said
        after = [edge["pid"] for edge in json.loads((tmp_path / "up.json").read_text())["edges"]]
        assert not set(before) & set(after)
        said = demo(tmp_path, "--browser")
        assert "Proved: a page with JsSIP in Chromium" in said
        url = re.search(r"http://\S+#", said).group().rstrip("#")
        for name, word in (("", "Web phone"), ("licences.txt", "JsSIP")):
            with urllib.request.urlopen(url + name, timeout=10) as answer:
                assert word in answer.read().decode()
    finally:
        up.terminate()
        up.communicate(timeout=30)
