"""``scripts/bench relay``: CPU for each message relayed, by transport, beside Kamailio's in the same run, in turn; and
memory of an idle connection. The server has one core and the load the other; what a server does when nothing is asked
of it is subtracted. A message is a request in a call, or its response."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.bench_servers import SipServer, compare, memory, servers, spending
from scripts.load_process import LoadProcess

TRANSPORTS = ("udp", "tcp", "tls", "wss")
GOALS = {"udp": 1.2, "tcp": 1.2, "tls": 1.5, "wss": 1.5}


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
    done, (spent,) = spending(
        [server.pids()], lambda: load.order(server, transport, "run", rate=rate, seconds=seconds), seconds
    )
    if done["answered"] < 0.99 * done["sent"]:
        raise RuntimeError(f"{server.name}, {transport}: {done} of 'sent' were answered: not comparable")
    return spent / (2 * int(done["sent"])) * 1e6


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
