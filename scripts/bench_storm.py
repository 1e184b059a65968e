"""``scripts/bench storm``: everybody registers at once at an edge that knows nobody.

The control plane is emulated (``scripts/quick_control``: 20 ms for each question, those under way counted), since the
real one and its tables can't decide so many on this machine; then the real one, at a rate that it can do. Each phone
has an address of its own, tries again as RFC 3261 says, and waits as it is told where it is refused with 503."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts import quick_control
from scripts.bench_fleet import random_base
from scripts.bench_servers import Account, EdgeServer, cpu_seconds, pin
from scripts.fleet import loopback_fleet
from scripts.load_process import LoadProcess
from scripts.processes import Processes

_PORT = 8081  # of the emulated control plane
SECONDS = 60.0
"""Within which all of them have to be registered."""


def storm(say: Callable[..., None], phones: int, transport: str, delay: float, over: float, real: int) -> None:
    """``phones`` come within ``over`` seconds, then ``real`` to the real control plane, ten a second."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # processes that are started have it, too
    if phones:
        with tempfile.TemporaryDirectory(prefix="sipwizard-bench-") as scratch, emulated(Path(scratch), delay) as found:
            edge, url = found
            accounts = [(quick_control.username(number), quick_control.PASSWORD) for number in range(phones)]
            _storm(say, f"storm, {transport}", Path(scratch), edge, transport, accounts, over)
            with urllib.request.urlopen(f"{url}/counted") as answer:  # noqa: S310 - our own
                counted = json.load(answer)
            say(f"storm, {transport}", counted["at_once"], "questions under way at most", decided=counted["decided"])
    if real:
        with tempfile.TemporaryDirectory(prefix="sipwizard-bench-") as scratch:
            fleet = loopback_fleet(Path(scratch), random_base(), 1)
            try:
                fleet.start()
                edge = EdgeServer(fleet)
                _storm(say, f"storm, {transport}, real", Path(scratch), edge, transport, edge.accounts(real), real / 10)
            finally:
                fleet.stop()


def _storm(
    say: Callable[..., None],
    case: str,
    scratch: Path,
    edge: EdgeServer,
    transport: str,
    accounts: list[Account],
    over: float,
) -> None:
    load = LoadProcess(scratch, "scripts.register_load")
    try:
        before, begun = cpu_seconds(edge.pids()), time.monotonic()
        found = load.order(edge, transport, "storm", accounts=accounts, over=over, seconds=max(SECONDS, over + 10))
        spent = cpu_seconds(edge.pids()) - before
    finally:
        load.close()
    busy = round(spent / (time.monotonic() - begun), 2)
    say(case, found["failed"], "failed", phones=len(accounts), over=over, refused=found["refused"])
    say(case, found["seconds"], "seconds until the last is registered")
    say(case, (found["half"] or 0.0) * 1000, "ms from its first REGISTER to its 200, half of them", busy=busy)
    say(case, (found["most"] or 0.0) * 1000, "ms, 99 of 100")


@contextlib.contextmanager
def emulated(scratch: Path, delay: float) -> Iterator[tuple[EdgeServer, str]]:
    """An edge whose control plane takes ``delay`` seconds for each question, and that one's URL."""
    base = random_base()
    fleet = loopback_fleet(scratch / "fleet", base, 1)
    url = f"http://{base}:{_PORT}"
    fleet.edges[0].settings |= {"control": [url]}
    beside = Processes(scratch / "quick")
    with contextlib.ExitStack() as stack:
        stack.callback(beside.stop_all)
        stack.callback(fleet.stop)
        command = [sys.executable, "-m", quick_control.__name__, "--host", base, "--port", str(_PORT)]
        beside.start("control", [*command, "--behind", fleet.api_url, "--delay", str(delay)], {})
        fleet.start()
        edge = EdgeServer(fleet)
        pin(edge.pids())
        yield edge, url
