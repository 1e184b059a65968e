"""``scripts/bench workers``: what an edge of two processes takes beside one of one, and how the load is divided."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

from edge.sip.partition import process_of
from scripts.bench_fleet import random_base
from scripts.bench_refresh import cpu
from scripts.fleet import DevelopmentFleet, loopback_fleet
from scripts.fleet_parts import DOMAIN, SIP, DevelopmentEdge, Host, PhoneAccount
from scripts.processes import wait_for
from tests.support.socket_phone import SocketPhone, call, in_dialog

_WORKERS = 2


def workers(
    say: Callable[..., None],
    phones: int,
    refreshes: int,
    calls: int,
    rounds: int,
) -> None:
    """CPU for each refresh and each call, of all processes of the edge, less what they take when idle."""
    with tempfile.TemporaryDirectory() as directory:
        fleet = loopback_fleet(Path(directory), random_base(), 2)
        several, one = fleet.edges
        several.settings["workers"] = _WORKERS
        try:
            fleet.start()
            wait_for("the workers", lambda: all(fleet.client.health(several)["workers"]), 20)
            at = {edge.id: list(_phones(fleet, edge, phones)) for edge in (several, one)}
            for name, number, work in (("refresh", refreshes, _refresh), ("call", calls, _calls)):
                found: dict[str, list[list[float]]] = {edge.id: [] for edge in (several, one)}
                for _ in range(rounds):
                    for edge in (several, one):
                        found[edge.id].append(_round(fleet, edge, at[edge.id], number, work))
                _tell(say, name, found[several.id], found[one.id])
        finally:
            fleet.stop()


def _tell(say: Callable[..., None], name: str, several: list[list[float]], one: list[list[float]]) -> None:
    together, alone = [sum(spent) for spent in several], [sum(spent) for spent in one]
    for kind, values in ((f"{_WORKERS} workers", together), ("1 worker", alone)):
        spread = (max(values) - min(values)) / statistics.median(values)
        say(f"{name}, {kind}", statistics.median(values) * 1e6, "µs CPU each", spread=round(spread, 2))
    ratios = [two / one for two, one in zip(together, alone, strict=True)]
    say(f"{name}, ratio", statistics.median(ratios), "times one worker's", rounds=[round(ratio, 2) for ratio in ratios])
    shares = [max(spent) / sum(spent) for spent in several]
    say(f"{name}, busiest process", statistics.median(shares), "of the load")


def _phones(fleet: DevelopmentFleet, edge: DevelopmentEdge, number: int) -> Iterator[SocketPhone]:
    """Registered ones; every other one's source is the next process's."""
    network = edge.address.rpartition(".")[0]
    hosts = {worker: (f"{network}.{last}" for last in count(20)) for worker in range(_WORKERS)}
    for at in range(number):
        worker = at % _WORKERS
        host = next(host for host in hosts[worker] if process_of(host, _WORKERS) == worker)
        made = fleet.client.api("POST", "/v1/accounts", {"username": f"{edge.id}-{at}", "domain": DOMAIN})
        account = PhoneAccount(made["aor"], made["username"], made["password"])
        phone = SocketPhone(account, DOMAIN, Host(host), (edge.address, SIP))
        assert phone.register() == 200
        yield phone


def _round(
    fleet: DevelopmentFleet,
    edge: DevelopmentEdge,
    phones: list[SocketPhone],
    number: int,
    work: Callable[[list[SocketPhone], int], int],
) -> list[float]:
    """Seconds of CPU for each, of each process."""
    pids = [fleet.processes.pid(edge.id), *fleet.client.health(edge)["workers"]]
    before, begun = [cpu(pid) for pid in pids], time.monotonic()
    number = work(phones, number)
    seconds = time.monotonic() - begun
    after = [cpu(pid) for pid in pids]
    idle = min(seconds, 5.0)
    time.sleep(idle)
    resting = [(cpu(pid) - then) * seconds / idle for pid, then in zip(pids, after, strict=True)]
    return [(end - begin - rest) / number for begin, end, rest in zip(before, after, resting, strict=True)]


def _refresh(phones: list[SocketPhone], number: int) -> int:
    """Of all phones at once, so that processes have as much to do at a time as they have under load."""
    turns = -(-number // len(phones))
    for _ in range(turns):
        requests = []
        for phone in phones:
            phone.agent.received.clear()
            requests.append(phone.agent.register_request())
        for status in (401, 200):
            for phone, request in zip(phones, requests, strict=True):
                phone.send(request.to_bytes())
            answers = [
                phone.wait(partial(phone.agent.final, request), resend=request.to_bytes())
                for phone, request in zip(phones, requests, strict=True)
            ]
            assert {answer.status for answer in answers} == {status}
            if status == 401:
                requests = [
                    phone.agent.authorize(request, answer)
                    for phone, request, answer in zip(phones, requests, answers, strict=True)
                ]
    return turns * len(phones)


def _calls(phones: list[SocketPhone], number: int) -> int:
    """As many at once as there are pairs of phones; in every other turn the two are one process's."""
    turns = -(-number // (len(phones) // 2))
    apart = [pair[:: -1 if at % 2 else 1] for at, pair in enumerate(zip(phones[::2], phones[1::2], strict=True))]
    near = [pair for four in zip(*(phones[at::4] for at in range(4)), strict=True) for pair in (four[::2], four[1::2])]
    with ThreadPoolExecutor(len(apart)) as threads:
        for turn in range(turns):
            list(threads.map(_call, near if turn % 2 else apart))
    return turns * len(apart)


def _call(pair: tuple[SocketPhone, SocketPhone]) -> None:
    caller, callee = pair
    dialog, _ = call(caller, callee, f"sip:{callee.agent.username}@{DOMAIN}")
    in_dialog(caller, dialog, "BYE", callee)
