"""The core compiled by mypyc, as a wheel that edges install: the scenarios pass on it.

What mypyc can't compile is mostly what a reader can't follow either: classes made of several, attributes set from
anywhere. Compiled, a module function can't be replaced and a class can't be subclassed by ordinary ones, so tests of the
core hand doubles in.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("LONG"), reason="it takes minutes; LONG=1 has it done")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """A folder with this machine's compiled core, installed as ``scripts/enrol`` does it."""
    wheels, place = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("core")
    # Not optimized: what is shown is that it compiles, and does the same.
    chosen = ("--processor", platform.machine(), "--level", "0", "--directory", str(wheels))
    run("-m", "scripts.wheels", *chosen, timeout=900)
    version = run("-c", "from edge.compiled_core import version; print(version())", timeout=60).strip()
    pip = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--find-links", str(wheels))
    run(*pip, "--target", str(place), f"sipwizard-core=={version}", timeout=60)
    return place


def run(*arguments, timeout, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_module_is_compiled(core):
    source = """
import importlib, pathlib
from edge import compiled_core
assert not compiled_core.FAULT, compiled_core.FAULT
for package in compiled_core.PACKAGES:
    for path in sorted(pathlib.Path("edge", package).rglob("*.py")):
        name = path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        print(importlib.import_module(name).__file__)
"""
    files = run("-c", source, timeout=60, PYTHONPATH=str(core)).split()
    assert len(files) > 40
    assert [file for file in files if not (file.endswith(".so") and file.startswith(str(core)))] == []


@pytest.mark.parametrize("tests", ["tests/scenarios", "tests/security/test_web_streams.py"])
def test_the_same_passes_on_it(core, tests):
    """Streams of browsers too: what reads them isn't compiled, and stands on what is."""
    printed = run(
        "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", tests, timeout=300, PYTHONPATH=str(core)
    )
    assert " passed" in printed
