"""``scripts/demo --browser`` as a newcomer meets it."""

from __future__ import annotations

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


def test_a_web_phone_registers_and_calls(tmp_path):
    if shutil.which("chromium") is None:
        pytest.skip("chromium isn't installed")
    up = start(fresh_base(), tmp_path)
    try:
        wait_for_file(tmp_path / "up.json", up)
        demo = subprocess.run(
            [sys.executable, "-m", "scripts.demo", "--browser", "--local", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (demo.returncode, demo.stderr) == (0, "")
        assert "Proved: a page with JsSIP in Chromium" in demo.stdout
        url = re.search(r"http://\S+#", demo.stdout).group().rstrip("#")
        for name, word in (("", "Web phone"), ("licences.txt", "JsSIP")):
            with urllib.request.urlopen(url + name, timeout=10) as answer:
                assert word in answer.read().decode()
    finally:
        up.terminate()
        up.communicate(timeout=30)
