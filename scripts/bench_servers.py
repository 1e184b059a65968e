"""The SIP servers that cases measure side by side, an edge and a Kamailio, and what they take: CPU and memory. They run
on the first core, whatever asks them on the last."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from lambdas.decisions.digest import ha1
from scripts.bench_fleet import random_base
from scripts.fleet import DevelopmentFleet, loopback_fleet
from scripts.fleet_parts import DOMAIN, ROOT, SIP, SIPS, WSS
from scripts.processes import Processes

PORTS = {"udp": SIP, "tcp": SIP, "tls": SIPS, "wss": WSS}
MOST_SPREAD = 0.1
"""Where the rounds of one server differ by more, its ratio to another says little."""
_CONFIG = ROOT / "scripts" / "kamailio" / "relay.cfg"
_ENGINE = "rtpengine"
_Done = TypeVar("_Done")

Account = tuple[str, str]
"""User name and password."""


class SipServer(Protocol):
    """A SIP server under measurement."""

    name: str
    address: str
    ca: Path

    def pids(self) -> list[int]: ...

    def accounts(self, number: int) -> list[Account]:
        """So many."""


class KamailioServer:
    """Kamailio with scripts/kamailio/relay.cfg."""

    name = "kamailio"

    def __init__(
        self,
        directory: Path,
        address: str,
        certificate: Path,
        key: Path,
        ca: Path,
        engine: str = "",
        accounts: Sequence[Account] = (),
    ) -> None:
        """``engine`` is where the rtpengine is that relays its calls; "": they aren't relayed. Where there are
        ``accounts`` it asks for their passwords, which are in SQLite; else it lets everybody in."""
        self.address, self.ca = address, ca
        self._accounts = accounts
        words = {"HOST": address, "CERTIFICATE": str(certificate), "KEY": str(key), "DOMAIN": f'"{DOMAIN}"'}
        words |= {"ENGINE": engine, "ACCOUNTS": str(directory / "accounts.sqlite")}
        text = _CONFIG.read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        config = directory / "relay.cfg"
        config.write_text(text)
        self._processes = Processes(directory)
        command = ["kamailio", "-DD", "-E", "-m", "512", "-M", "16", "-f", str(config), "-Y", str(directory)]
        command += ["-A", "MEDIA"] if engine else []
        if accounts:
            command += ["-A", "ASKING"]
            _write_accounts(directory / "accounts.sqlite", accounts)
        self._processes.start(self.name, command, {}, None)
        self._processes.wait_until(self.name, lambda: listens(address), 20)

    def pids(self) -> list[int]:
        return family(self._processes.pid(self.name))

    def accounts(self, number: int) -> list[Account]:
        if self._accounts:
            return list(self._accounts[:number])
        return [(f"u{n}", "") for n in range(number)]

    def stop(self) -> None:
        self._processes.stop_all()


def _write_accounts(path: Path, accounts: Sequence[Account]) -> None:
    """As Kamailio's auth_db reads them (the seventh version of its table)."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "CREATE TABLE version (table_name TEXT UNIQUE, table_version INTEGER);"
            "INSERT INTO version VALUES ('subscriber', 7);"
            "CREATE TABLE subscriber (username TEXT UNIQUE, domain TEXT, ha1 TEXT);"
        )
        rows = ((user, DOMAIN, ha1("MD5", user, DOMAIN, password)) for user, password in accounts)
        connection.executemany("INSERT INTO subscriber VALUES (?, ?, ?)", rows)


class EdgeServer:
    """An edge of a development fleet."""

    name = "edge"

    def __init__(self, fleet: DevelopmentFleet) -> None:
        self._fleet = fleet
        self.address = fleet.edges[0].address
        self.ca = fleet.ca.path
        self._accounts: list[Account] = []

    def pids(self) -> list[int]:
        """Without media engines, which are nothing of its own."""
        return [pid for pid in family(self._fleet.processes.pid(self._fleet.edges[0].id)) if _program(pid) != _ENGINE]

    def control_pids(self) -> list[int]:
        """Of its control plane."""
        return family(self._fleet.processes.pid("control"))

    def accounts(self, number: int) -> list[Account]:
        while len(self._accounts) < number:
            body = {"username": f"u{len(self._accounts)}", "domain": DOMAIN}
            made = self._fleet.client.api("POST", "/v1/accounts", body)
            self._accounts.append((made["username"], made["password"]))
        return self._accounts[:number]


@contextlib.contextmanager
def servers(scratch: Path) -> Iterator[list[SipServer]]:
    """An edge and a Kamailio, both running, on the first core."""
    need("kamailio")
    fleet = loopback_fleet(scratch / "fleet", random_base(), 1)
    kamailio: KamailioServer | None = None
    try:
        fleet.start()
        edge = EdgeServer(fleet)
        kamailio = kamailio_beside(fleet, scratch / "kamailio")
        for server in (edge, kamailio):
            pin(server.pids())
        yield [edge, kamailio]
    finally:
        if kamailio is not None:
            kamailio.stop()
        fleet.stop()


def kamailio_beside(
    fleet: DevelopmentFleet, directory: Path, engine_port: int = 0, accounts: Sequence[Account] = ()
) -> KamailioServer:
    """A Kamailio at an address beside those of ``fleet``, with a certificate of its authority."""
    directory.mkdir()
    address = address_beside(fleet)
    chain, key = fleet.ca.issue([DOMAIN, address], directory)
    engine = f"{address}:{engine_port}" if engine_port else ""
    return KamailioServer(directory, address, chain, key, fleet.ca.path, engine, accounts)


def address_beside(fleet: DevelopmentFleet) -> str:
    """Where Kamailio is."""
    return fleet.control.address.rpartition(".")[0] + ".9"


def need(*programs: str) -> None:
    """End with a sentence where one isn't installed."""
    for program in programs:
        if shutil.which(program) is None:
            sys.exit(f"bench: there is no {program}; scripts/test and scripts/bench kamailio install what is needed")


def compare(
    say: Callable[..., None],
    case: str,
    measured: dict[str, list[float]],
    unit: str,
    goal: float,
    load: int,
    doubt: str = "",
    **more: object,
) -> float:
    """Say each server's median, and their ratio: an edge's to Kamailio's. ``doubt`` is why it isn't to be trusted, if
    it isn't; ``more`` is said with it. The edge's median."""
    medians = {name: statistics.median(values) for name, values in measured.items()}
    spreads = {name: spread(values) for name, values in measured.items()}
    for name, value in medians.items():
        say(f"{case}, {name}", value, unit, rounds=[round(one, 3) for one in measured[name]])
    ratio = medians["edge"] / max(medians["kamailio"], 1e-9)
    if max(spreads.values()) > MOST_SPREAD:
        doubt = doubt or f"the rounds differ by more than {MOST_SPREAD:.0%}"
    note = {"note": f"{doubt}: the ratio isn't to be trusted"} if doubt else {}
    say(case, ratio, "times Kamailio's", goal=goal, load=load, spreads=spreads, trusted=not doubt, **more, **note)
    return medians["edge"]


def spread(values: list[float]) -> float:
    """The most by the least, less 1."""
    return round(max(values) / max(min(values), 1e-9) - 1, 2)


def spending(groups: Sequence[list[int]], work: Callable[[], _Done], idle: float) -> tuple[_Done, list[float]]:
    """What ``work`` returns, and the seconds of CPU that each group of processes spends on it: less what they spend in
    as long a time when nothing is asked of them, by what they do in ``idle`` seconds after it."""
    before, begun = [cpu_seconds(pids) for pids in groups], time.monotonic()
    done = work()
    between, middle = [cpu_seconds(pids) for pids in groups], time.monotonic()
    time.sleep(idle)
    share = (middle - begun) / (time.monotonic() - middle)
    after = [cpu_seconds(pids) for pids in groups]
    spent = [two - one - (three - two) * share for one, two, three in zip(before, between, after, strict=True)]
    return done, spent


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of processes so far, with that of threads which have ended (Linux's clock of a process, see
    clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


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


def family(pid: int) -> list[int]:
    """A process and those that it has started."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += family(int(child))
    return found


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def listens(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, PORTS["tcp"])) == 0


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
