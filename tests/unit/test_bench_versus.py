"""``scripts/bench versus`` with cases that say what they are told: what it makes of it, and that nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from scripts.bench_versus import ROOT, VersusError, compare

# Says the next of its values each time, and who it is. Stops for good where there are none, to be interrupted.
CASES = """
import json, os, pathlib, signal
name, values = {name!r}, {values!r}
with open(os.environ["TURNS"], "a") as turns:
    turns.write(name + " ")
if not values:
    signal.pause()
turn = pathlib.Path(os.environ["TURNS"]).read_text().split().count(name) - 1
print(json.dumps({{"python": "3"}}))
print(json.dumps({{"case": "fake", "value": values[turn], "unit": "µs CPU", "goal": 60}}))
print(json.dumps({{"case": "only " + name, "value": 1, "unit": "s"}}))
"""


def git(tree, *arguments):
    who = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@e", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@e"}
    subprocess.run(["git", *arguments], cwd=tree, env={**os.environ, **who}, check=True, capture_output=True)


def write_cases(root, name, values):
    (root / "scripts").mkdir(exist_ok=True)
    (root / "scripts" / "__init__.py").touch()
    (root / "scripts" / "bench_cases.py").write_text(CASES.format(name=name, values=values))


def make(root, before, now):
    """A clone whose last commit has the case ``before``, and whose tree has it ``now``."""
    root.mkdir()
    git(root, "init", "--quiet")
    write_cases(root, "before", before)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "Before")
    write_cases(root, "now", now)
    return root


@pytest.fixture
def turns(tmp_path, monkeypatch):
    monkeypatch.setenv("TURNS", str(tmp_path / "turns"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    return tmp_path / "turns"


def command(root, rev):
    """``scripts/bench versus``, for another clone."""
    # Whoever runs the tests in the background has them ignore SIGINT, and what they start.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from pathlib import Path; from scripts.bench_versus import versus; versus({rev!r}, ['fake'], Path({str(root)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def nothing_is_left(tmp_path):
    known = subprocess.run(
        ["git", "worktree", "list"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
    )
    return not list((tmp_path / "scratch").iterdir()) and len(known.stdout.splitlines()) == 1


def test_two_trees_take_turns_and_their_medians_are_compared(tmp_path, turns, capsys):
    root = make(tmp_path / "clone", before=[9, 10, 10, 10.5, 9.8], now=[13, 12.4, 12, 12.5, 99])
    (found,) = compare("HEAD", ["fake"], root)
    assert turns.read_text().split() == ["before", "now", "now", "before"] * 2 + ["before", "now"]
    commit = found["case"].removeprefix("fake versus ")
    assert len(commit) == 7
    assert found == {
        "case": f"fake versus {commit}",
        "value": 1.25,
        "unit": "times",
        "of": "µs CPU",
        "before": {"median": 10, "spread": 0.167},
        "now": {"median": 12.5, "spread": 7.25},
        "rounds": 5,
        "trusted": False,
    }
    assert capsys.readouterr().err == f"versus: {commit} doesn't measure only now in s\n"
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("before", "now", "value", "trusted"),
    [
        ([20, 21, 21, 20, 20], [21, 20, 21, 21, 21], 1.05, True),
        ([20, 21, 23, 20, 20], [21, 20, 21, 21, 21], 1.05, False),
        ([20, 21, 21, 20, 20], [21, 20, 23, 21, 21], 1.05, False),
        ([0, 0, 0, 0, 0], [1, 1, 1, 1, 1], None, False),
    ],
)
def test_a_ratio_is_trusted_where_neither_side_is_spread(tmp_path, turns, before, now, value, trusted):
    (found,) = compare("HEAD", ["fake"], make(tmp_path / "clone", before, now))
    assert (found["value"], found["trusted"]) == (value, trusted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_interrupted(tmp_path, turns, number):
    root = make(tmp_path / "clone", before=[], now=[])
    os.mkfifo(turns)
    process = command(root, "HEAD")
    try:
        assert turns.read_text() == "before "  # it is in the middle of it now
        assert not nothing_is_left(tmp_path)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode != 0
    finally:
        process.kill()
        process.communicate()
    assert nothing_is_left(tmp_path)


def test_a_case_that_fails_says_so(tmp_path, turns):
    root = make(tmp_path / "clone", before=[1], now=[1])
    with pytest.raises(VersusError, match=r"(?s)'fake' ended with status 1 in .*IndexError"):
        list(compare("HEAD", ["fake"], root))
    assert nothing_is_left(tmp_path)


def test_what_isnt_there_is_said_with_what_to_do(tmp_path, turns):
    root = make(tmp_path / "origin", before=[2] * 5, now=[])
    git(root, "commit", "--quiet", "--all", "--message", "Now")
    git(tmp_path, "clone", "--quiet", "--depth", "1", root.as_uri(), "clone")
    write_cases(tmp_path / "clone", "now", [3] * 5)
    with pytest.raises(VersusError, match=r"^HEAD~1 isn't in this clone, which is shallow; 'git fetch --unshallow'"):
        list(compare("HEAD~1", ["fake"], tmp_path / "clone"))
    git(tmp_path / "clone", "fetch", "--quiet", "--unshallow")
    assert [found["value"] for found in compare("HEAD~1", ["fake"], tmp_path / "clone")] == [1.5]
    process = command(root, "HEAD~2")
    said = "versus: HEAD~2 is no commit of this clone; 'git fetch' brings new ones\n"
    assert (process.communicate(timeout=120), process.returncode) == (("", said), 1)
