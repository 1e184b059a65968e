"""``edge/sip``, ``edge/proxy`` and ``edge/media`` compiled by mypyc, as they are: the scenarios pass on the result.

What mypyc can't compile is mostly what a reader can't follow either: classes made of several, attributes set from
anywhere. Compiled, a module function can't be replaced and a class can't be subclassed by ordinary ones, so tests of the
core hand doubles in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.environ.get("LONG"), reason="it takes five minutes; LONG=1 has it done")
ROOT = Path(__file__).parent.parent.parent
COMPILED = ("edge/sip", "edge/proxy", "edge/media")
SETTINGS = "[mypy]\nstrict = true\nplugins = pydantic.mypy\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project's Python with these packages compiled in place."""
    tree = tmp_path_factory.mktemp("compiled")
    for part in ("edge", "lambdas", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "natlab", "deploy"))
    (tree / "mypy.ini").write_text(SETTINGS)
    # Not optimized: what is shown is that it compiles, and does the same.
    run(tree, "-m", "mypyc", *COMPILED, timeout=900, MYPYC_OPT_LEVEL="0")
    return tree


def run(tree, *arguments, timeout, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_module_is_compiled(tree):
    source = """
import importlib, pathlib
for package in ("edge/sip", "edge/proxy", "edge/media"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        name = path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        print(importlib.import_module(name).__file__)
"""
    files = run(tree, "-c", source, timeout=60).split()
    assert len(files) > 40
    assert [file for file in files if not file.endswith(".so")] == []


def test_the_scenarios_pass_on_it(tree):
    printed = run(tree, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests/scenarios", timeout=300)
    assert " passed" in printed
