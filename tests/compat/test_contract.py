"""What is written today, read by the contract of each version itself, wherever its commit is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lambdas import contract
from tests.compat import before
from tests.unit.contract.bodies import LAST, bodies
from tests.unit.contract.test_versions import RECORDED, known, root

_READ = """
import json, sys
from lambdas import contract
for name, body in json.load(sys.stdin).items():
    read = getattr(contract, name.split()[0]).model_validate(body)
    print(json.dumps([name, read.model_dump(mode="json", exclude_unset=True)]))
"""


@pytest.mark.parametrize("version", LAST)
def test_each_version_reads_what_is_written_today(version, tmp_path):
    environment = before.environment(before.checkout(tmp_path, LAST[version], ("lambdas/contract",)))
    written = {name: body for name, body in bodies(contract).items() if name in RECORDED[version]}
    ran = subprocess.run(
        [sys.executable, "-c", _READ],
        env={**os.environ, **environment}, input=json.dumps(written), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not ran.returncode, ran.stderr
    for name, body in map(json.loads, ran.stdout.splitlines()):
        wanted = known(root(name), RECORDED[version][name])
        assert body == wanted | {"version": contract.VERSION}
    assert len(ran.stdout.splitlines()) == len(RECORDED[version])
