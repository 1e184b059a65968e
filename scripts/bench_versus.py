"""``scripts/bench versus REV``: a case in this tree and on an older commit, in turn. What another machine measured, or
this one yesterday, tells little about today; two trees that take turns on one machine can be compared. Each runs its
own cases, so that these may use what the other tree doesn't have."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_ROUNDS = 5
_MOST_SPREAD = 0.1  # where one tree differs from itself by more, a few percent between the two mean nothing

Measured = dict[tuple[str, str], float]  # (case, unit) -> value


class VersusError(Exception):
    """There is nothing to compare; the text says why, and what to do."""


def versus(rev: str, cases: Sequence[str], root: Path = ROOT) -> None:
    """Print one JSON object for each value that a case has, the case with its options being one string. Ends with
    status 1 and a sentence where ``rev`` or a case can't be run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that nothing is left behind
    try:
        for found in compare(rev, cases, root):
            print(json.dumps(found, ensure_ascii=False), flush=True)
    except VersusError as error:
        sys.exit(f"versus: {error}")


def compare(rev: str, cases: Sequence[str], root: Path) -> Iterator[dict[str, Any]]:
    """For each value: ``value`` is the ratio of the medians, now to before, and ``trusted`` whether neither side's
    spread (the most by the least, less 1) forbids to conclude from it. Raises VersusError."""
    commit = commit_of(root, rev)
    with worktree(root, commit) as before:
        for case in cases:
            sides: dict[Path, list[Measured]] = {before: [], root: []}
            for number in range(_ROUNDS):
                for tree in (before, root) if number % 2 == 0 else (root, before):
                    sides[tree].append(_run(tree, case))
            yield from _ratios(commit[:7], sides[before], sides[root])


def _ratios(commit: str, before: list[Measured], now: list[Measured]) -> Iterator[dict[str, Any]]:
    for name, unit in now[0]:
        key = (name, unit)
        if key not in before[0]:
            print(f"versus: {commit} doesn't measure {name} in {unit}", file=sys.stderr)
            continue
        one, other = _side([each[key] for each in before]), _side([each[key] for each in now])
        yield {
            "case": f"{name} versus {commit}",
            "value": round(other["median"] / one["median"], 3) if one["median"] else None,
            "unit": "times",
            "of": unit,
            "before": one,
            "now": other,
            "rounds": _ROUNDS,
            "trusted": all(side["spread"] is not None and side["spread"] <= _MOST_SPREAD for side in (one, other)),
        }


def _side(values: list[float]) -> dict[str, Any]:
    least, most = min(values), max(values)
    spread = round(most / least - 1, 3) if least > 0 else None
    return {"median": statistics.median(values), "spread": spread}


def _run(tree: Path, case: str) -> Measured:
    """What the case says in that tree, with the Python that runs this."""
    command = [sys.executable, "-m", "scripts.bench_cases", *shlex.split(case)]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise VersusError(f"the case {case!r} ended with status {done.returncode} in {tree}: " + "\n".join(said))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(one["case"], one["unit"]): one["value"] for one in found if "case" in one}


@contextlib.contextmanager
def worktree(root: Path, commit: str) -> Iterator[Path]:
    """The commit in a folder of its own, for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="sipwizard-versus-") as scratch:
        tree = Path(scratch) / commit[:7]
        try:
            made = _git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
            if made.returncode:
                raise VersusError(made.stderr.strip())
            yield tree
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))


def commit_of(root: Path, rev: str) -> str:
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.strip()
    if _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        raise VersusError(f"{rev} isn't in this clone, which is shallow; 'git fetch --unshallow' brings all commits")
    raise VersusError(f"{rev} is no commit of this clone; 'git fetch' brings new ones")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
