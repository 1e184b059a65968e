"""``scripts/bench decisions``: what the control plane's process takes for a REGISTER that is decided, a call with its
reports, and a heartbeat: CPU, and requests to DynamoDB (MiniStack). No edge and no phone is in the way."""

from __future__ import annotations

import contextlib
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench_fleet import random_base
from scripts.bench_servers import cpu_seconds
from scripts.bench_versus import commit_of, worktree
from scripts.fleet import DevelopmentFleet, loopback_fleet
from scripts.fleet_parts import CONTROL, ROOT, Host
from scripts.tally import Tally
from tests.support.asking_edge import AskingEdge

_USERS = ("alice", "bob")
_BEAT = 2.0  # seconds between two heartbeats of an edge
_BEATS = 4
_IDLE = 2.0  # seconds for which is seen what it takes by itself
_WARM = 40


@dataclass(frozen=True)
class _Control:
    """A control plane's process, and the edge that asks it."""

    name: str
    pid: int
    tables: Tally
    edge: AskingEdge


def decisions(say: Callable[..., None], times: int, rounds: int, beside: Sequence[str] = ()) -> None:
    """``beside``: the control planes of older commits, too, over the same tables and in turn."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that nothing is left behind
    with _fleet(beside) as (fleet, controls):
        alice, bob = (fleet.accounts[user] for user in _USERS)

        def call(edge: AskingEdge) -> None:
            edge.call(alice, bob)

        def register(edge: AskingEdge) -> None:
            edge.register(alice)

        work: dict[str, tuple[Callable[[AskingEdge], object], int, float]] = {
            "decided REGISTER": (register, times, 0.0),
            "call, its reports": (call, times, 0.0),
            "heartbeat": (AskingEdge.heartbeat, _BEATS, _BEAT),
        }
        for one in controls:
            one.edge.heartbeat()
            one.edge.register(bob)
            for _ in range(_WARM):
                register(one.edge)
                call(one.edge)
        for case, (do, number, pause) in work.items():
            found: dict[str, list[tuple[float, float]]] = {one.name: [] for one in controls}
            for turn in range(rounds):
                for one in controls if turn % 2 == 0 else reversed(controls):
                    found[one.name].append(_measured(one, do, number, pause))
            for name, values in found.items():
                named = f"{case}, control plane of {name}" if beside else case
                milliseconds = [cpu for cpu, _ in values]
                spread = max(milliseconds) / min(milliseconds) - 1
                say(named, statistics.median(milliseconds), "ms CPU", rounds=rounds, spread=round(spread, 2))
                say(named, statistics.median(requests for _, requests in values), "requests to DynamoDB")


def _measured(one: _Control, do: Callable[[AskingEdge], object], number: int, pause: float) -> tuple[float, float]:
    """(milliseconds of CPU, requests to DynamoDB) of each, without what it takes by itself."""
    one.edge.heartbeat()  # others have had their turn meanwhile
    one.tables.take()
    begun, before = time.monotonic(), cpu_seconds([one.pid])
    for _ in range(number):
        do(one.edge)
        time.sleep(pause)
    seconds, used, asked = time.monotonic() - begun, cpu_seconds([one.pid]) - before, one.tables.take()
    begun, before = time.monotonic(), cpu_seconds([one.pid])
    time.sleep(_IDLE)
    idle = (cpu_seconds([one.pid]) - before) / (time.monotonic() - begun)
    requests = sum(count for operation, count in asked.items() if not operation.startswith("/"))
    return (used - idle * seconds) / number * 1000, requests / number


@contextlib.contextmanager
def _fleet(beside: Sequence[str]) -> Iterator[tuple[DevelopmentFleet, list[_Control]]]:
    """Without edges, but with a control plane of each tree."""
    base = random_base()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trees = {"this tree": ROOT}
        for rev in beside:
            commit = commit_of(ROOT, rev)
            trees[commit[:7]] = stack.enter_context(worktree(ROOT, commit))
        fleet = loopback_fleet(directory, base, 0)
        stack.callback(fleet.stop)
        fleet.start()
        controls = []
        for number, (name, tree) in enumerate(trees.items(), 1):
            host = Host(base.rpartition(".")[0] + f".{number + 10}")
            tables = Tally(host.address, fleet.endpoint)
            stack.callback(tables.stop)
            served = f"control-{number}"
            # Without PYTHONSAFEPATH the directory that this runs in would come first.
            fleet.start_control_at(served, host, tables.url, {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"})
            url, address = f"http://{host.address}:{CONTROL}", f"203.0.113.{number}"
            edge = stack.enter_context(AskingEdge(fleet, f"asking-{number}", url, address))
            controls.append(_Control(name, fleet.processes.pid(served), tables, edge))
        yield fleet, controls
