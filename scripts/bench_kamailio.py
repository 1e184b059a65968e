"""``scripts/bench kamailio``: what an edge takes beside Kamailio, in the same run, in turn: refreshes, OPTIONS,
REGISTERs that have to be decided, calls, memory of a registered phone, and how many refreshes a second one core does.

Both servers have the first core, and whoever asks them the last. What a server does when nothing is asked of it is
subtracted. Kamailio's accounts are in SQLite, its locations in memory. The edge asks a real control plane, but about
phones that are too many for that (scripts/quick_control.py); what a control plane takes isn't the edge's, and is told
beside it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from scripts import quick_control
from scripts.bench_fleet import random_base
from scripts.bench_loads import FEW, MANY, PAIRS, Load, PhoneLoad, SippLoad
from scripts.bench_media import relays
from scripts.bench_servers import (
    Account,
    EdgeServer,
    SipServer,
    compare,
    cores,
    kamailio_beside,
    memory,
    need,
    pin,
    spending,
    spread,
)
from scripts.fleet import loopback_fleet
from scripts.load_process import LoadProcess
from scripts.processes import Processes
from scripts.sipp_run import Outcome

CASES = ("refresh", "options", "register", "call", "relayed", "memory", "most")
TRANSPORTS = ("udp", "tls", "wss")
GOALS = {"refresh": 0.8, "options": 1.0, "register": 2.5, "call": 1.5, "relayed": 1.5, "memory": 0.8, "most": 2.5}
"""Times Kamailio's, at most."""
MOST_ADDED = 1.5
"""Times what an edge takes by UDP, or for a call that isn't relayed."""
_FAST = ("refresh", "options")
_SHARED = ("refresh", "options", "register", "most")  # cases of one pair of servers
_MOST_FAILED = 0.01
_WARM = 0.25  # of a round, which isn't counted
_QUICK = 8081  # the port of the control plane that answers from memory
_KEPT = 1000  # phones on streams, of which memory is measured
_FIRST = 20  # phones that come before: what is made once is not of each
_STEP, _HALVINGS = 1.5, 3  # on the way to the highest rate
_One = TypeVar("_One")
_LATE = 1.1  # times as long as it should take: whoever asks can't do that rate


class Numbers(NamedTuple):
    """``fast`` is the rate of refreshes and OPTIONS, ``slow`` that of what is decided, a second; of ``phones`` memory
    is measured, ``settle`` seconds after the last has come."""

    fast: int
    slow: int
    seconds: float
    rounds: int
    phones: int
    settle: float


class Side(NamedTuple):
    """A server, and what is asked of it."""

    server: SipServer
    load: Load
    control: list[int]
    """The processes of its control plane, if it has one."""


class Rounds:
    """What the rounds of one case have measured, by server."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {"edge": [], "kamailio": []}
        self.control: list[float] = []
        self.outcomes: dict[str, list[Outcome]] = {"edge": [], "kamailio": []}

    def add(self, side: Side, outcome: Outcome, spent: float, control: float) -> None:
        """Seconds of CPU, of the server and of its control plane."""
        name, done = side.server.name, max(1, outcome.done)
        self.outcomes[name].append(outcome)
        self.spent[name].append(spent / done * 1e3)
        if side.control:
            self.control.append(control / done * 1e3)

    def say(self, say: Callable[..., None], name: str, case: str, rate: int) -> float:
        """The edge's median."""
        failed = {side: sum(one.failed for one in made) for side, made in self.outcomes.items()}
        again = {side: sum(one.retransmitted for one in made) for side, made in self.outcomes.items()}
        done = {side: sum(one.done for one in made) for side, made in self.outcomes.items()}
        doubt = ""
        if any(failed[side] > _MOST_FAILED * (done[side] + failed[side]) for side in done):
            doubt = f"more than {_MOST_FAILED:.0%} failed"
        more = {"done": done, "failed": failed, "retransmitted": again}
        median = compare(say, name, self.spent, "ms CPU", GOALS[case], rate, doubt, **more)
        if self.control and case not in _FAST:
            control = statistics.median(self.control)
            say(f"{name}, control plane", control, "ms CPU", rounds=_rounded(self.control), spread=spread(self.control))
        return median


def kamailio(say: Callable[..., None], cases: Sequence[str], transports: Sequence[str], numbers: Numbers) -> None:
    """``cases`` of CASES, by each of ``transports``."""
    need("kamailio", "sipp", *(["rtpengine"] if "relayed" in cases else []))
    for case in (*cases, *transports):
        if case not in (*CASES, *TRANSPORTS):
            sys.exit(f"kamailio: there is no {case}; the cases are {', '.join(CASES)}, by {', '.join(TRANSPORTS)}")
    version = subprocess.run(["kamailio", "-v"], capture_output=True, text=True, check=True).stdout.split()[2]
    print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "kamailio": version}))
    found: dict[tuple[str, str], float] = {}
    for transport in transports:
        asked = [case for case in cases if case in _SHARED or (case == "call" and transport == "udp")]
        if asked:
            with tempfile.TemporaryDirectory() as scratch, sides(Path(scratch), transport) as both:
                for case in asked:
                    measure = _most if case == "most" else _spent
                    found[case, transport] = measure(say, both, case, transport, numbers)
        for case in ("call", "relayed"):
            if case in cases and case not in asked:
                found[case, transport] = _calls(say, case, transport, numbers)
        if "memory" in cases:
            _memory(say, transport, numbers)
    _say_what_is_added(say, found)


def _say_what_is_added(say: Callable[..., None], found: dict[tuple[str, str], float]) -> None:
    """By a transport, and by relaying, to what an edge takes."""
    for (case, transport), value in found.items():
        if transport != "udp" and (case, "udp") in found:
            say(f"{case} {transport}, edge", value / found[case, "udp"], "times UDP's", goal=MOST_ADDED)
        if case == "relayed" and ("call", transport) in found:
            direct = found["call", transport]
            say(f"{case} {transport}, edge", value / direct, "times one that isn't relayed", goal=MOST_ADDED)


def _spent(say: Callable[..., None], both: list[Side], case: str, transport: str, numbers: Numbers) -> float:
    rate, found = numbers.fast if case in _FAST else numbers.slow, Rounds()
    for side in both:
        side.load.ready(case)
        side.load.run(case, rate, numbers.seconds * _WARM)
    for side in _turns(both, numbers.rounds):
        side.load.ready(case)
        groups = [side.server.pids(), side.control]
        outcome, spent = spending(groups, lambda: side.load.run(case, rate, numbers.seconds), numbers.seconds / 2)  # noqa: B023
        found.add(side, outcome, *spent)
    return found.say(say, f"{case} {transport}", case, rate)


def _most(say: Callable[..., None], both: list[Side], case: str, transport: str, numbers: Numbers) -> float:
    """As the time of one core that each takes where it does as many as it can."""
    rates: dict[str, list[float]] = {"edge": [], "kamailio": []}
    for side in _turns(both, numbers.rounds):
        side.load.ready("refresh")
        rates[side.server.name].append(_highest(side.load, numbers))
    taken = {name: [1e6 / max(rate, 1.0) for rate in found] for name, found in rates.items()}
    highest = {name: round(statistics.median(found)) for name, found in rates.items()}
    return compare(say, f"{case} {transport}", taken, "µs each", GOALS[case], numbers.fast, a_second=highest)


def _highest(load: Load, numbers: Numbers) -> float:
    """Refreshes a second of which none is lost, 0 if there is no such rate."""

    def holds(rate: float) -> bool:
        # Once more where it doesn't: something else may have had the core.
        return any(_all_done(load, rate, numbers.seconds / 2) for _ in range(2))

    low, high = 0.0, numbers.fast / 4
    while holds(high):
        low, high = high, high * _STEP
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _all_done(load: Load, rate: float, seconds: float) -> bool:
    begun = time.monotonic()
    outcome = load.run("refresh", rate, seconds)
    in_time = time.monotonic() - begun < seconds * _LATE + 1.0
    return in_time and not outcome.failed and not outcome.retransmitted


def _calls(say: Callable[..., None], case: str, transport: str, numbers: Numbers) -> float:
    """Calls of phones of ours, relayed or not."""
    found: dict[str, list[float]] = {"edge": [], "kamailio": []}
    with (
        tempfile.TemporaryDirectory() as scratch,
        relays(Path(scratch), PAIRS, case == "relayed", transport, asking=True) as both,
    ):
        for one in both:
            one.calls(numbers.slow, numbers.seconds * _WARM)
        for one in _turns(both, numbers.rounds):
            found[one.name].append(one.calls(numbers.slow, numbers.seconds))
    return compare(say, f"{case} {transport}", found, "ms CPU", GOALS[case], numbers.slow)


def _memory(say: Callable[..., None], transport: str, numbers: Numbers) -> None:
    """On servers that have just been started: others have room from before."""
    number = numbers.phones if transport == "udp" else min(numbers.phones, _KEPT)
    found: dict[str, list[float]] = {"edge": [], "kamailio": []}
    accounts = _many(number + _FIRST)
    for turn in range(numbers.rounds):
        with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch), accounts) as both:
            for server in both if turn % 2 == 0 else both[::-1]:
                found[server.name].append(_held(server, transport, accounts, Path(scratch), numbers.settle))
    compare(say, f"memory {transport}", found, "KB (PSS)", GOALS["memory"], number)


def _held(server: SipServer, transport: str, accounts: list[Account], scratch: Path, settle: float) -> float:
    """KB a phone."""
    loads = [LoadProcess(scratch, "scripts.register_load") for _ in range(2)]
    first, rest = accounts[:_FIRST], accounts[_FIRST:]
    try:
        loads[0].order(server, transport, "phones", accounts=first, stay=True)
        before = memory(server.pids())
        streams = transport != "udp"
        loads[1].order(server, transport, "phones", accounts=rest, stay=streams, spread=not streams)
        time.sleep(settle)
        return (memory(server.pids()) - before) / len(rest)
    finally:
        for load in loads:
            load.close()


@contextlib.contextmanager
def servers(scratch: Path, many: Sequence[Account], few: int = 0) -> Iterator[tuple[EdgeServer, SipServer]]:
    """An edge and a Kamailio, both running, on the first core. ``many`` accounts the edge registers without the real
    control plane, ``few`` more with it."""
    base = random_base()
    fleet = loopback_fleet(scratch / "fleet", base, 1)
    # As Kamailio does, which pings nobody, edges give these phones what they ask for.
    fleet.edges[0].settings |= {"control": [f"http://{base}:{_QUICK}"], "no_nat_networks": ["127.0.0.0/8"]}
    beside = Processes(scratch / "quick")
    with contextlib.ExitStack() as stack:
        stack.callback(beside.stop_all)
        stack.callback(fleet.stop)
        command = [sys.executable, "-m", quick_control.__name__, "--host", base, "--port", str(_QUICK)]
        beside.start("control", [*command, "--behind", fleet.api_url], {})
        os.sched_setaffinity(beside.pid("control"), {cores()[-1]})
        fleet.start()
        edge = EdgeServer(fleet)
        accounts = [*edge.accounts(few), *many]
        kamailio = kamailio_beside(fleet, scratch / "kamailio", accounts=accounts)
        stack.callback(kamailio.stop)
        for server in (edge, kamailio):
            pin(server.pids())
        yield edge, kamailio


@contextlib.contextmanager
def sides(scratch: Path, transport: str) -> Iterator[list[Side]]:
    """Both servers, and what is asked of them."""
    many = _many(MANY)
    with servers(scratch, many, FEW) as both, contextlib.ExitStack() as stack:
        edge, _ = both
        few, made = edge.accounts(FEW), []
        for server in both:
            place = scratch / f"load of {server.name}"
            place.mkdir()
            load: Load = SippLoad(place, server, many, few)
            if transport != "udp":
                load = PhoneLoad(place, server, transport, many, few)
            stack.callback(load.close)
            made.append(Side(server, load, edge.control_pids() if server is edge else []))
        yield made


def _many(number: int) -> list[Account]:
    return [(quick_control.username(n), quick_control.PASSWORD) for n in range(number)]


def _turns(both: list[_One], rounds: int) -> Iterator[_One]:
    """Each in each round, in turn first."""
    for number in range(rounds):
        yield from both if number % 2 == 0 else both[::-1]


def _rounded(values: list[float]) -> list[float]:
    return [round(one, 3) for one in values]
