"""The rehearsed restore: to a new table, compared with the old one, nothing removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS, development_client
from scripts.processes import wait_for

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent


def restore(fleet, *arguments):
    environment = {**os.environ, **DEVELOPMENT_CREDENTIALS}
    command = [sys.executable, "-m", "scripts.restore", "--endpoint", fleet.endpoint, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_restore_has_everything_and_changes_nothing(fleet):
    client = development_client("dynamodb", fleet.endpoint)

    def keys():
        pages = client.get_paginator("scan").paginate(TableName="sipwizard-directory")
        return {(item["pk"]["S"], item["sk"]["S"]) for page in pages for item in page["Items"]}

    def quiet():
        found = keys()
        time.sleep(3)  # longer than a heartbeat: edges tell how providers of earlier tests fare
        return found if keys() == found else None

    before = wait_for("nothing to be written any more", quiet, 60)
    done = restore(fleet, "--target", "restored-directory")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ENABLED" in done.stdout
    assert "missing: 0" in done.stdout
    assert "different: 0" in done.stdout
    # A scan may miss what moves meanwhile.
    assert wait_for("everything to be there still", lambda: before <= keys(), 20)
    again = restore(fleet, "--target", "restored-directory")
    assert again.returncode
    assert "exists already" in again.stderr


def test_what_cannot_be_restored_is_said(fleet):
    done = restore(fleet, "--source", "no-such-table")
    assert done.returncode
    assert "restore:" in done.stderr
