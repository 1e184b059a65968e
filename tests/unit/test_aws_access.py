"""Commands for people find AWS as AWS's own tools do, and say in a sentence what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.fleet_parts import ROOT

pytestmark = pytest.mark.integration  # programs that import much

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
NOBODY = "http://127.0.0.1:9"


def said(tmp_path, command, **environment):
    """Exit status, and what was said."""
    own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**own, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("where", ["AWS_REGION", "AWS_DEFAULT_REGION", "profile"])
def test_a_region_is_found(tmp_path, where):
    more = {where: "eu-west-3"}
    if where == "profile":
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text("[default]\nregion = eu-west-3\n")
        more = {}
    program = (
        "import os; from lambdas.aws_access import take_region; print(take_region(), os.environ['AWS_DEFAULT_REGION'])"
    )
    assert said(tmp_path, ["-c", program], **more) == (0, "eu-west-3 eu-west-3\n")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (KEYS, "no Region is set: put it into AWS_REGION"),
        ({"AWS_REGION": "eu-west-3"}, "run aws configure"),
        ({**KEYS, "AWS_REGION": "eu-west-3", "AWS_ENDPOINT_URL": NOBODY}, "is there a network"),
    ],
)
@pytest.mark.parametrize("command", [["-m", "lambdas", "make-key"], ["-m", "scripts.restore"]])
def test_what_is_wrong_is_one_sentence(tmp_path, command, environment, words):
    status, text = said(tmp_path, command, **environment)
    assert status != 0
    assert words in text
    assert "Traceback" not in text
