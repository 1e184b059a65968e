"""``scripts/bench media``: CPU of relaying calls' media, and of setting such calls up, beside a Kamailio with its
module for the same rtpengine, in the same run, in turn. The servers and their engines have one core and the load the
other; what they do when nothing is asked of them is subtracted."""

from __future__ import annotations

import contextlib
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.bench_fleet import random_base
from scripts.bench_servers import (
    Account,
    EdgeServer,
    SipServer,
    address_beside,
    compare,
    cpu_seconds,
    kamailio_beside,
    need,
    pin,
    spending,
)
from scripts.fleet import loopback_fleet
from scripts.load_process import LoadProcess
from scripts.processes import Processes, wait_for

MOST_BESIDE_ENGINE = 1.1
"""Times the engine's own CPU."""
MOST_SET_UP = 2.0
"""Milliseconds of CPU that relaying adds to a call's set-up and end."""
_NG = 2223  # the port of the engine that is Kamailio's


class Relay:
    """A SIP server and its engine, with a load of its own."""

    def __init__(
        self,
        server: SipServer,
        engine: Callable[[], int],
        load: LoadProcess,
        pairs: int,
        transport: str,
        relayed: bool,
    ) -> None:
        self.server, self.name = server, server.name
        self._engine, self._load, self._transport, self._relayed = engine, load, transport, relayed
        self._order("pairs", accounts=server.accounts(2 * pairs), voice=True)

    def _order(self, do: str, **more: object) -> dict[str, int]:
        return self._load.order(self.server, self._transport, do, **more)

    def talk(self, seconds: float) -> tuple[float, float]:
        """Microseconds of CPU a packet: of the engine, and of all beside it."""
        engine, others = [self._engine()], self.server.pids()
        pin([*engine, *others])
        idle, since = [cpu_seconds(engine), cpu_seconds(others)], time.monotonic()
        time.sleep(seconds / 2)
        share = seconds / (time.monotonic() - since)
        idle = [(cpu_seconds(pids) - was) * share for pids, was in zip((engine, others), idle, strict=True)]
        self._order("begin")
        before = [cpu_seconds(engine), cpu_seconds(others)]
        done = self._order("talk", seconds=seconds)
        spent = [cpu_seconds(engine) - before[0] - idle[0], cpu_seconds(others) - before[1] - idle[1]]
        self._order("silence")
        if done["heard"] < 0.99 * done["sent"]:
            raise RuntimeError(f"{self.name}: {done} packets were relayed: not comparable")
        return spent[0] / done["sent"] * 1e6, spent[1] / done["sent"] * 1e6

    def calls(self, rate: int, seconds: float) -> float:
        """Milliseconds of the server's CPU for a call."""
        pids = self.server.pids()
        pin(pids)
        order = {"rate": rate, "seconds": seconds, "relayed": self._relayed}
        done, (spent,) = spending([pids], lambda: self._order("calls", **order), seconds / 2)
        return spent / done["calls"] * 1e3


def media(say: Callable[..., None], pairs: int, seconds: float, rate: int, rounds: int) -> None:
    """``pairs`` of phones: all in calls for ``seconds`` in each of ``rounds``; then ``rate`` calls a second."""
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, relays(Path(scratch), pairs, True) as both:
        engines: dict[str, list[float]] = {one.name: [] for one in both}
        beside: dict[str, list[float]] = {one.name: [] for one in both}
        relayed: dict[str, list[float]] = {one.name: [] for one in both}
        for one in both:
            one.talk(seconds / 4)  # what is made once is not of each
        for number in range(rounds):
            for one in both if number % 2 == 0 else both[::-1]:
                engine, others = one.talk(seconds)
                engines[one.name].append(engine)
                beside[one.name].append(engine + others)
                relayed[one.name].append(one.calls(rate, seconds))
        compare(say, "media, the engine alone", engines, "µs CPU a packet", MOST_BESIDE_ENGINE, pairs)
        compare(say, "media, with all beside it", beside, "µs CPU a packet", MOST_BESIDE_ENGINE, pairs)
        own = statistics.median(beside["edge"]) / statistics.median(engines["edge"])
        say("media, all beside the engine", own, "times the engine's CPU", goal=MOST_BESIDE_ENGINE)
        compare(say, "a relayed call", relayed, "ms CPU", MOST_SET_UP, rate)
    with tempfile.TemporaryDirectory() as scratch, relays(Path(scratch), pairs, False) as both:
        spent = {one.name: [] for one in both}
        for number in range(rounds):
            for one in both if number % 2 == 0 else both[::-1]:
                spent[one.name].append(one.calls(rate, seconds))
        compare(say, "a call that isn't", spent, "ms CPU", MOST_SET_UP, rate)
    for name, values in relayed.items():
        added = statistics.median(values) - statistics.median(spent[name])
        say(f"what relaying adds to a call, {name}", added, "ms CPU", goal=MOST_SET_UP)


def _answers(host: str, port: int) -> bool:
    """Whether there is an engine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(0.5)
        probe.connect((host, port))
        probe.send(b"1 d7:command4:pinge")
        return b"pong" in probe.recv(100)
    return False


@contextlib.contextmanager
def relays(
    scratch: Path, pairs: int, relayed: bool, transport: str = "udp", asking: bool = False
) -> Iterator[list[Relay]]:
    """An edge and a Kamailio, both running, with engines where calls are ``relayed``. ``asking``: Kamailio asks for
    passwords, as edges do."""
    need("kamailio", "rtpengine")
    fleet = loopback_fleet(scratch / "fleet", random_base(), 1)
    fleet.edges[0].settings["media"] = "rtpengine" if relayed else "off"
    beside = Processes(scratch / "engine")
    with contextlib.ExitStack() as stack:
        stack.callback(beside.stop_all)
        stack.callback(fleet.stop)
        fleet.start()
        edge = EdgeServer(fleet)
        if relayed:
            address = address_beside(fleet)
            ports = ["--port-min=30000", "--port-max=39999"]
            command = ["rtpengine", "--foreground", "--log-stderr", "--table=-1", f"--interface={address}"]
            beside.start("engine", [*command, f"--listen-ng={address}:{_NG}", "--log-level=4", *ports], {})
            wait_for("rtpengine to start", lambda: _answers(address, _NG), 10)
        accounts: list[Account] = edge.accounts(2 * pairs) if asking else []
        kamailio = kamailio_beside(fleet, scratch / "kamailio", _NG if relayed else 0, accounts)
        stack.callback(kamailio.stop)
        file = fleet.directory / f"{fleet.edges[0].id}.state" / "engines" / f"{edge.address}.pid"
        loads = [LoadProcess(scratch) for _ in range(2)]
        for load in loads:
            stack.callback(load.close)
        yield [
            Relay(edge, lambda: int(file.read_text()), loads[0], pairs, transport, relayed),
            Relay(kamailio, lambda: beside.pid("engine"), loads[1], pairs, transport, relayed),
        ]
