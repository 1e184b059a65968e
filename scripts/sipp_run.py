"""SIPp, on the last core: it runs a scenario of scripts/sipp and tells what has become of it."""

from __future__ import annotations

import csv
import itertools
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scripts.bench_servers import PORTS, cores
from scripts.fleet_parts import ROOT
from scripts.processes import Processes

_SCENARIOS = ROOT / "scripts" / "sipp"
_CALLS = "15000"  # at once
_ANSWERED = 8000  # milliseconds that an answer may take
_ONCE_MORE = 60.0  # seconds for what is under way when the last has begun


class Outcome(NamedTuple):
    """Of what was to be done, by number: ``retransmitted`` are messages."""

    done: int
    failed: int
    retransmitted: int


class Sipp:
    """At ``address``, for a server at ``server``. Lines of its accounts are user name, domain, credentials and, for
    calls, who is called."""

    def __init__(self, directory: Path, address: str, server: str) -> None:
        self._directory = directory
        self._processes, self._running = Processes(directory), list[str]()
        self._address, self._server = address, server
        self._number = itertools.count(1)

    def accounts(self, lines: Iterable[str]) -> Path:
        """A file of them."""
        path = self._directory / f"accounts{next(self._number)}.csv"
        path.write_text("SEQUENTIAL\n" + "".join(f"{line}\n" for line in lines))
        return path

    def run(self, scenario: str, port: int, accounts: Path, number: int, rate: float) -> Outcome:
        """``number`` of it, ``rate`` of them begun a second. Raises RuntimeError where SIPp can't run it."""
        name = f"{scenario}{next(self._number)}"
        statistics = self._directory / f"{name}.csv"
        command = [*self._command(scenario, port, accounts), "-m", str(number), "-l", _CALLS]
        command += ["-r", str(max(1, round(rate * 10))), "-rp", "10000", "-trace_stat", "-stf", str(statistics)]
        command += ["-fd", "1", "-recv_timeout", str(_ANSWERED)]
        done = subprocess.run(
            command,
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=number / rate + _ONCE_MORE,
            check=False,
        )
        if not statistics.exists() or done.returncode not in (0, 1):  # 1: some have failed
            raise RuntimeError(f"sipp has ended with status {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
        with statistics.open() as file:
            *_, last = csv.DictReader(file, delimiter=";")
        return Outcome(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"]))

    def start(self, scenario: str, port: int, accounts: Path) -> None:
        """One that waits to be called."""
        self._processes.start(scenario, self._command(scenario, port, accounts), {})
        self._running.append(scenario)

    def stop(self) -> None:
        """Those that wait."""
        while self._running:
            self._processes.kill(self._running.pop())

    def _command(self, scenario: str, port: int, accounts: Path) -> list[str]:
        return [
            "taskset", "--cpu-list", str(cores()[-1]),
            "sipp", f"{self._server}:{PORTS['udp']}", "-sf", str(_SCENARIOS / f"{scenario}.xml"),
            "-i", self._address, "-p", str(port), "-mi", self._address, "-inf", str(accounts), "-t", "u1",
            "-buff_size", "4000000", "-nostdin", "-trace_err",
            "-error_file", str(self._directory / f"{scenario}.errors"),
        ]  # fmt: skip
