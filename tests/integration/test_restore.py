"""The rehearsed restore: to a new table, compared with the old one, nothing removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fleet import DEVELOPMENT_CREDENTIALS, development_client

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent


def restore(fleet, *arguments):
    environment = {**os.environ, **DEVELOPMENT_CREDENTIALS}
    command = [sys.executable, "-m", "scripts.restore", "--endpoint", fleet.endpoint, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_restore_has_everything_and_changes_nothing(fleet):
    client = development_client("dynamodb", fleet.endpoint)
    before = client.scan(TableName="sipwizard-directory")["Count"]
    done = restore(fleet, "--target", "restored-directory")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ENABLED" in done.stdout
    assert "missing: 0" in done.stdout
    assert "different: 0" in done.stdout
    assert client.scan(TableName="sipwizard-directory")["Count"] == before
    again = restore(fleet, "--target", "restored-directory")
    assert again.returncode
    assert "exists already" in again.stderr


def test_what_cannot_be_restored_is_said(fleet):
    done = restore(fleet, "--source", "no-such-table")
    assert done.returncode
    assert "restore:" in done.stderr
