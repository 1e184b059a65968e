"""What is installed is what was written down, to the last octet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest

from scripts.audit import ROOT, judge

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LOCKS = [*sorted((ROOT / "scripts/locks").glob("*.txt")), *sorted((ROOT / "lambdas").glob("*.lock"))]
IN = {
    "development.txt": ["installer", "edge", "lambdas", "cli", "development"],
    "edge.txt": ["installer", "edge"],
    "tools.txt": ["installer", "tools"],
}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(path):
    """Names, versions, and how many hashes each has."""
    found = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", path.read_text()):
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        if match:
            assert match[1] not in found
            found[plain(match[1])] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)))
    return found


def pinned(requirements):
    split = [re.match(r"([A-Za-z0-9._-]+)(?:\[.*\])?==([^\s;]+)", one) for one in requirements]
    return {plain(match[1]): match[2] for match in split}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_everything_in_a_lock_has_hashes(lock):
    found = locked(lock)
    assert len(found) > (5 if lock.name == "requirements-push.lock" else 20)
    assert [name for name, (_, hashes) in found.items() if not hashes] == []
    assert "://" not in lock.read_text()  # from the index that is set, and from nowhere else


@pytest.mark.parametrize("name", IN)
def test_a_lock_has_what_the_project_pins(name):
    """Otherwise run scripts/lock."""
    found = locked(ROOT / "scripts/locks" / name)
    wanted = pinned([one for extra in IN[name] for one in EXTRAS[extra]])
    assert {package: found[package][0] for package in wanted} == wanted


def test_functions_are_made_of_what_is_tested():
    development = locked(ROOT / "scripts/locks/development.txt")
    for name in ("requirements", "requirements-push"):
        lines = (ROOT / f"lambdas/{name}.txt").read_text().splitlines()
        wanted = pinned([line for line in lines if not line.startswith("#")])
        found = locked(ROOT / f"lambdas/{name}.lock")
        assert wanted.keys() < found.keys()
        for lock in (found, locked(ROOT / "scripts/locks/edge.txt")):
            assert {name: version for name, (version, _) in lock.items()} == {
                name: development[name][0] for name in lock
            }


@pytest.mark.parametrize(
    ("path", "others"),
    [
        # The core compiled, brought along with the sources that it stands for.
        ("scripts/environment.sh", [("--no-index", "--no-deps", "--find-links wheels")]),
        ("lambdas/packaging/package.py", []),
    ],
)
def test_pip_takes_nothing_that_is_not_written_down(path, others):
    _, *commands = re.split(r'pip"?,? "?install', (ROOT / path).read_text())
    wanted = [("--require-hashes", "--only-binary", "--no-deps"), *others]
    assert len(commands) == len(wanted)
    for command, options in zip(commands, wanted, strict=True):
        assert all(option in command for option in options)


def test_a_package_with_another_hash_is_refused(tmp_path):
    """By pip itself, without any network: a wheel of ours."""
    made = tmp_path / "wheels"
    made.mkdir()
    script = (
        "import sys, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n"
        "    wheel.writestr('a.py', '')\n"
        "    wheel.writestr('a-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: a\\nVersion: 1\\n')\n"
        "    wheel.writestr('a-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n"
        "    wheel.writestr('a-1.dist-info/RECORD', '')\n"
    )
    subprocess.run([sys.executable, "-c", script, made / "a-1-py3-none-any.whl"], check=True)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"a==1 --hash=sha256:{64 * '0'}\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--no-index", "--find-links", made, "--target", tmp_path / "there"),
            *("--require-hashes", "--only-binary", ":all:", "--no-deps", "--requirement", lock),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def report(*dependencies):
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("said", "trouble", "text", "failed"),
    [
        (report(GOOD), "", "of 1 packages nothing bad is known", False),
        (report(GOOD, UNKNOWN), "", "nothing is said of c", False),
        (report(GOOD, BAD, UNKNOWN), "", "b 2: PYSEC-1", True),
        (report(UNKNOWN), "", "skipped, the index says nothing of any of 1", False),
        (
            "",
            "Traceback\nConnectionError: no route",
            "skipped, the index can't be asked: ConnectionError: no route",
            False,
        ),
        ("", "Timeout: no answer", "can't be asked: Timeout", False),
        ("", "package a has duplicate requirements", "pip-audit has failed: package a", True),
        ("", "", "no report", True),
    ],
)
def test_a_finding_fails_and_silence_is_said(said, trouble, text, failed):
    result = judge(said, trouble)
    assert (text in result[0], result[1]) == (True, failed), result
