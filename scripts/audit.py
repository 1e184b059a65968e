"""``python -m scripts.audit``: whether anything that is installed from the locks is known to be vulnerable.

pip-audit asks the package index about each version. Fails if the index knows of something. Where the index can't be
asked, or doesn't say (some mirrors have files only), that is said, and is no failure: it is no news either.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCKS = [ROOT / "scripts/locks/development.txt", ROOT / "scripts/locks/tools.txt"]
"""The others are parts of the first (tests/security/test_supply.py)."""
PIP_AUDIT = ROOT / ".venv/tools/bin/pip-audit"
_TIMEOUT = 300.0  # seconds
_UNREACHABLE = re.compile(r"\w*(Connect|Timeout|NameResolution|ServiceError|HTTPError|Max retries)\w*.*")


def main() -> None:
    results = [_audited(lock) for lock in LOCKS]
    for lock, (text, _) in zip(LOCKS, results, strict=True):
        print(f"{lock.relative_to(ROOT)}: {text}")
    sys.exit(any(failed for _, failed in results))


def _audited(lock: Path) -> tuple[str, bool]:
    command = [str(PIP_AUDIT), "--format", "json", "--progress-spinner", "off", "--disable-pip", "--require-hashes"]
    command += ["--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return judge("", f"Timeout: no answer within {_TIMEOUT:.0f} s")
    return judge(done.stdout, done.stderr)


def judge(report: str, trouble: str) -> tuple[str, bool]:
    """What pip-audit's report (JSON, or nothing) and its standard error come to, and whether that is a failure."""
    try:
        found: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        silent = _UNREACHABLE.search(trouble)
        if silent is None:
            return f"pip-audit has failed: {trouble.strip() or 'no report'}", True
        return f"skipped, the index can't be asked: {silent[0]}", False
    bad = sorted({f"{one['name']} {one['version']}: {flaw['id']}" for one in found for flaw in one.get("vulns", ())})
    unknown = sorted(one["name"] for one in found if "skip_reason" in one)
    if bad:
        return "\n  ".join(["known to be vulnerable:", *bad]), True
    if len(unknown) == len(found):
        return f"skipped, the index says nothing of any of {len(found)} packages", False
    rest = f"; nothing is said of {', '.join(unknown)}" if unknown else ""
    return f"of {len(found) - len(unknown)} packages nothing bad is known{rest}", False


if __name__ == "__main__":
    main()
