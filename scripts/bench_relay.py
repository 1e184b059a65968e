"""``scripts/bench relay``: CPU for each message relayed, by transport, beside Kamailio's in the same run, in turn; and
memory of an idle connection. The server has one core and the load the other; what a server does when nothing is asked
of it is subtracted. A message is a request in a call, or its response."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from scripts.bench_fleet import random_base
from scripts.fleet import DevelopmentFleet, loopback_fleet
from scripts.fleet_parts import DOMAIN, ROOT
from scripts.processes import Processes, wait_for

TRANSPORTS = ("udp", "tcp", "tls", "wss")
GOALS = {"udp": 1.2, "tcp": 1.2, "tls": 1.5, "wss": 1.5}
_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "wss": 5062}
_CONFIG = ROOT / "scripts" / "kamailio" / "relay.cfg"
_MOST_SPREAD = 0.1


class SipServer(Protocol):
    """A SIP server under measurement."""

    name: str
    address: str
    ca: Path

    def pids(self) -> list[int]: ...

    def accounts(self, number: int) -> list[tuple[str, str]]:
        """So many (username, password)."""


class KamailioServer:
    """Kamailio with scripts/kamailio/relay.cfg."""

    name = "kamailio"

    def __init__(self, directory: Path, address: str, certificate: Path, key: Path, ca: Path, engine: str = "") -> None:
        """``engine`` is where the rtpengine is that relays its calls; "": they aren't relayed."""
        self.address, self.ca = address, ca
        words = {"HOST": address, "CERTIFICATE": str(certificate), "KEY": str(key), "DOMAIN": f'"{DOMAIN}"'}
        words["ENGINE"] = engine
        text = _CONFIG.read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        config = directory / "relay.cfg"
        config.write_text(text)
        self._processes = Processes(directory)
        command = ["kamailio", "-DD", "-E", "-m", "512", "-M", "16", "-f", str(config), "-Y", str(directory)]
        command += ["-A", "MEDIA"] if engine else []
        self._processes.start(self.name, command, {}, None)
        wait_for("Kamailio to start", lambda: listens(address), 20)

    def pids(self) -> list[int]:
        return _family(self._processes.pid(self.name))

    def accounts(self, number: int) -> list[tuple[str, str]]:
        return [(f"u{n}", "") for n in range(number)]

    def stop(self) -> None:
        self._processes.stop_all()


class EdgeServer:
    """An edge of a development fleet."""

    name = "edge"

    def __init__(self, fleet: DevelopmentFleet) -> None:
        self._fleet = fleet
        self.address = fleet.edges[0].address
        self.ca = fleet.ca.path
        self._accounts: list[tuple[str, str]] = []

    def pids(self) -> list[int]:
        return [self._fleet.processes.pid(self._fleet.edges[0].id)]

    def accounts(self, number: int) -> list[tuple[str, str]]:
        while len(self._accounts) < number:
            body = {"username": f"u{len(self._accounts)}", "domain": DOMAIN}
            made = self._fleet.client.api("POST", "/v1/accounts", body)
            self._accounts.append((made["username"], made["password"]))
        return self._accounts[:number]


class LoadProcess:
    """scripts/relay_load.py, on the last core."""

    def __init__(self, directory: Path) -> None:
        self._errors = (directory / "load.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.relay_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
        )
        os.sched_setaffinity(self._process.pid, {cores()[-1]})

    def order(self, server: SipServer, transport: str, do: str, **more: Any) -> dict[str, Any]:
        order = {
            "do": do,
            "transport": transport,
            "host": server.address,
            "port": _PORTS[transport],
            "own": server.address,
            "name": DOMAIN,
            "domain": DOMAIN,
            "ca": str(server.ca),
            **more,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load has ended: {Path(self._errors.name).read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._errors.close()


def relay(
    say: Callable[..., None],
    rate: int,
    seconds: float,
    rounds: int,
    pairs: int,
    idle: int,
) -> None:
    """``rate`` requests a second, for ``seconds`` in each of ``rounds``, by ``pairs`` of phones in calls; then the
    memory of ``idle`` connections."""
    with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch)) as both:
        for transport in TRANSPORTS:
            spent: dict[str, list[float]] = {server.name: [] for server in both}
            with contextlib.ExitStack() as stack:
                loads = {}
                for server in both:
                    loads[server.name] = load = LoadProcess(Path(scratch))
                    stack.callback(load.close)
                    load.order(server, transport, "pairs", accounts=server.accounts(2 * pairs))
                for number in range(rounds):
                    for server in both if number % 2 == 0 else both[::-1]:
                        spent[server.name].append(_round(server, loads[server.name], transport, rate, seconds))
            compare(say, f"relay {transport}", spent, "µs CPU a message", GOALS[transport], rate)
    for transport in TRANSPORTS[1:]:
        # Servers that have had connections keep the pages of those, and new ones seem to need nothing.
        with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch)) as both:
            held = {server.name: [_memory(server, Path(scratch), transport, idle)] for server in both}
        compare(say, f"idle {transport} connection", held, "KB (PSS)", 1.0, idle)


def _round(server: SipServer, load: LoadProcess, transport: str, rate: int, seconds: float) -> float:
    """Microseconds of CPU a message."""
    before = cpu_seconds(server.pids())
    done = load.order(server, transport, "run", rate=rate, seconds=seconds)
    between, middle = cpu_seconds(server.pids()), time.monotonic()
    if done["answered"] < 0.99 * done["sent"]:
        raise RuntimeError(f"{server.name}, {transport}: {done} of 'sent' were answered: not comparable")
    time.sleep(seconds)
    idle = (cpu_seconds(server.pids()) - between) * seconds / (time.monotonic() - middle)
    return (between - before - idle) / (2 * int(done["sent"])) * 1e6


def _memory(server: SipServer, scratch: Path, transport: str, number: int) -> float:
    load = LoadProcess(scratch)
    try:
        # Somebody registered there proves the address.
        load.order(server, transport, "pairs", accounts=server.accounts(2))
        load.order(server, transport, "idle", number=20)  # what is made once is not of each
        before = memory(server.pids())
        load.order(server, transport, "idle", number=number)
        time.sleep(1)
        return (memory(server.pids()) - before) / number
    finally:
        load.close()


def compare(
    say: Callable[..., None], case: str, measured: dict[str, list[float]], unit: str, goal: float, load: int
) -> None:
    medians = {name: statistics.median(values) for name, values in measured.items()}
    spreads = {name: round(max(values) / max(min(values), 1e-9) - 1, 2) for name, values in measured.items()}
    for name, value in medians.items():
        say(f"{case}, {name}", value, unit, rounds=[round(one, 1) for one in measured[name]])
    ratio = medians["edge"] / medians["kamailio"]
    trusted = all(spread <= _MOST_SPREAD for spread in spreads.values())
    say(case, ratio, "times Kamailio's", goal=goal, load=load, spreads=spreads, trusted=trusted)


@contextlib.contextmanager
def servers(scratch: Path) -> Iterator[list[SipServer]]:
    """An edge and a Kamailio, both running, on the first core."""
    if shutil.which("kamailio") is None:
        sys.exit("relay: Debian's kamailio, kamailio-tls-modules and kamailio-websocket-modules are needed")
    fleet = loopback_fleet(scratch / "fleet", random_base(), 1)
    kamailio: KamailioServer | None = None
    try:
        fleet.start()
        edge = EdgeServer(fleet)
        (scratch / "kamailio").mkdir()
        address = edge.address.rpartition(".")[0] + ".9"
        chain, key = fleet.ca.issue([DOMAIN, address], scratch / "kamailio")
        kamailio = KamailioServer(scratch / "kamailio", address, chain, key, fleet.ca.path)
        for server in (edge, kamailio):
            pin(server.pids())
        yield [edge, kamailio]
    finally:
        if kamailio is not None:
            kamailio.stop()
        fleet.stop()


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of all threads of processes."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory(pids: list[int]) -> float:
    """Proportional set size of processes, in KB: what several share counts once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return float(total)


def pin(pids: list[int]) -> None:
    """To the first core, with all threads that they have."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cores()[0]})


def _family(pid: int) -> list[int]:
    """A process and those that it has started."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += _family(int(child))
    return found


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def listens(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, _PORTS["tcp"])) == 0
