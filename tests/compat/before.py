"""The code of earlier commits: what it has written must be read, and its processes lived with."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.compat.write_fixtures import COMMIT, ROOT


def checkout(directory: Path, commit: str = COMMIT, packages: tuple[str, ...] = ("edge", "lambdas")) -> Path:
    """``packages`` of ``commit``, in ``directory``. Where the history doesn't reach back so far the test is skipped; in
    CI it fails, unless the clone is a shallow one."""
    found = _git("archive", commit, *packages)
    if found.returncode:
        shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() != b"false"
        why = f"commit {commit} isn't here: {'this is no full clone' if shallow else found.stderr.decode().strip()}"
        if os.environ.get("CI") and not shallow:
            pytest.fail(why)
        pytest.skip(why)
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def environment(tree: Path) -> dict[str, str]:
    """In which Python runs the code in ``tree``, wherever it is started."""
    made = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", "import lambdas.contract; print(lambdas.contract.__file__)"]
    ran = subprocess.run(command, env={**os.environ, **made}, capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).is_relative_to(tree), ran.stdout
    return made


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
