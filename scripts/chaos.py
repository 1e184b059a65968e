"""``scripts/chaos``: a fleet in a laboratory with a cloud, phones behind a NAT that register and call all the time, and
somebody who breaks things. At the end everything is mended, and what was acknowledged is looked for.

What it does to the fleet, one thing at a time, each for some seconds: kill -9 of an edge; an edge stopped (SIGSTOP) for
less or longer than its lease; the control plane killed, or stopped; an edge cut off from the control plane; the mesh
cut; packets dropped between an edge and the world; an edge's disk full. Where the kernel has no netem, as here, short
stops stand for delay.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, PREFIX, SIP, DevelopmentEdge, development_client
from scripts.processes import StartError, in_namespace, wait_for
from tests.support.cloudlab import CloudLab
from tests.support.socket_phone import SocketPhone, call, in_dialog

PAIRS = (
    (("alice", "caller", "edge-b"), ("bob", "phone", "edge-a")),
    (("dave", "caller", "edge-a"), ("carol", "phone2", "edge-b")),
)
_DISK = "24m"
_REGISTER = 20  # seconds between a phone's registrations


class Ledger:
    """What was tried, what failed and why, what was acknowledged, and for how long nothing worked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.tried: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.answered: set[str] = set()
        self.accounts: set[str] = set()
        self.outage = 0.0
        self.faults: Counter[str] = Counter()

    def did(self, what: str, fault: str = "") -> None:
        with self._lock:
            self.tried[what] += 1
            if fault:
                self.failed[f"{what}: {fault}"] += 1

    def out(self, seconds: float) -> None:
        with self._lock:
            self.outage = max(self.outage, seconds)


class Pair(threading.Thread):
    """Two phones that register, and call each other in turn, until they are told to stop."""

    def __init__(self, one: SocketPhone, other: SocketPhone, ledger: Ledger, stop: threading.Event) -> None:
        super().__init__()
        self._phones = (one, other)
        self._ledger = ledger
        self._stopping = stop
        self._worked = time.monotonic()
        self._registered = {one: float("-inf"), other: float("-inf")}

    def run(self) -> None:
        turn = 0
        while not self._stopping.is_set():
            caller, callee = self._phones[:: 1 if turn % 2 else -1]
            turn += 1
            for phone in (caller, callee):
                if time.monotonic() - self._registered[phone] > _REGISTER:
                    self._register(phone)
            self._call(caller, callee)
            for phone in self._phones:
                phone.idle(0.05)

    def _register(self, phone: SocketPhone) -> None:
        try:
            status = phone.register()
        except (AssertionError, OSError) as error:
            self._ledger.did("register", _cause(error))
            return
        self._ledger.did("register", "" if status == 200 else str(status))
        if status == 200:
            self._registered[phone] = time.monotonic()

    def _call(self, caller: SocketPhone, callee: SocketPhone) -> None:
        begun = time.monotonic()
        try:
            dialog, _ = call(caller, callee, f"sip:{callee.agent.username}@{DOMAIN}", 4)
        except (AssertionError, OSError) as error:
            self._ledger.did("call", _cause(error))
            self._note_answer(caller)
            self._abandon(caller, callee)
            return
        self._ledger.answered.add(dialog.call_id)
        self._ledger.did("call")
        if begun - self._worked > 0:
            self._ledger.out(time.monotonic() - self._worked)
        self._worked = time.monotonic()
        try:
            in_dialog(caller, dialog, "BYE", callee, 12)
        except (AssertionError, OSError) as error:
            self._ledger.did("hang-up", _cause(error))
        else:
            self._ledger.did("hang-up")

    def _note_answer(self, caller: SocketPhone) -> None:
        """A call whose 200 came, though what followed failed, was answered all the same."""
        for response in caller.agent.responses("INVITE"):
            if response.status == 200:
                self._ledger.answered.add(response.get("call-id") or "")

    def _abandon(self, caller: SocketPhone, callee: SocketPhone) -> None:
        """Let what is still on its way run into nothing: its Call-IDs are never looked at again."""
        for phone in (caller, callee):
            with contextlib.suppress(AssertionError, OSError):
                phone.idle(0.3)


def _cause(error: BaseException) -> str:
    text = str(error)
    return "no answer" if "nothing within" in text else text[:60]


class Chaos:
    """Breaks and mends."""

    def __init__(self, lab: CloudLab, fleet: DevelopmentFleet, ledger: Ledger, rng: random.Random) -> None:
        self._lab = lab
        self._fleet = fleet
        self._ledger = ledger
        self._rng = rng

    def once(self) -> None:
        """One thing, broken for a while and mended."""
        works: list[tuple[Callable[[DevelopmentEdge, float], None], float, float]] = [
            (self._kill_edge, 1, 8),
            (self._stop_edge, 0.3, 1),
            (self._stop_edge, 2, 16),
            (self._kill_control, 1, 12),
            (self._stop_control, 0.3, 6),
            (self._cut_control, 3, 15),
            (self._cut_mesh, 3, 10),
            (self._drop_packets, 3, 10),
            (self._fill_disk, 3, 10),
        ]
        work, least, most = self._rng.choice(works)
        edge = self._rng.choice(self._fleet.edges)
        self._ledger.faults[work.__name__.strip("_").replace("_", " ")] += 1
        work(edge, self._rng.uniform(least, most))

    def _kill_edge(self, edge: DevelopmentEdge, seconds: float) -> None:
        self._fleet.processes.kill(edge.id)
        time.sleep(seconds)
        self._fleet.start_edge(edge)

    def _stop_edge(self, edge: DevelopmentEdge, seconds: float) -> None:
        self._stopped(edge.id, seconds)

    def _stopped(self, name: str, seconds: float) -> None:
        pid = self._fleet.processes.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    def _kill_control(self, _: DevelopmentEdge, seconds: float) -> None:
        self._fleet.processes.kill("control")
        time.sleep(seconds)
        self._fleet.start_control()

    def _stop_control(self, _: DevelopmentEdge, seconds: float) -> None:
        self._stopped("control", seconds)

    def _cut_control(self, edge: DevelopmentEdge, seconds: float) -> None:
        self._rule(f"ip saddr {edge.host.address} ip daddr {self._fleet.control.address} drop", seconds)

    def _cut_mesh(self, edge: DevelopmentEdge, seconds: float) -> None:
        self._rule(f"ip saddr {edge.host.address} udp dport != 5060 ip daddr 10.9.0.0/16 drop", seconds)

    def _drop_packets(self, edge: DevelopmentEdge, seconds: float) -> None:
        self._rule(f"iifname to-{edge.id} numgen random mod 100 < 30 drop", seconds)

    def _rule(self, rule: str, seconds: float) -> None:
        table = f"table ip chaos {{ chain passing {{ type filter hook forward priority 0;\n{rule}\n}}\n}}\n"
        self._lab.run("switch", "nft", "-f", "-", text=table)
        try:
            time.sleep(seconds)
        finally:
            self._lab.run("switch", "nft", "delete", "table", "ip", "chaos")

    def _fill_disk(self, edge: DevelopmentEdge, seconds: float) -> None:
        filler = Path(edge.settings["state_dir"]) / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 65536):
                pass
        try:
            time.sleep(seconds)
        finally:
            filler.unlink(missing_ok=True)


def _provision(fleet: DevelopmentFleet, ledger: Ledger, stop: threading.Event) -> None:
    """Somebody makes accounts meanwhile."""
    while not stop.wait(2):
        name = f"new-{secrets.token_hex(4)}"
        try:
            status, _ = fleet.client.request("POST", "/v1/accounts", {"username": name, "domain": DOMAIN})
        except (OSError, ValueError):
            ledger.did("provision", "no answer")
            continue
        ledger.did("provision", "" if status == 201 else str(status))
        if status == 201:
            ledger.accounts.add(f"{name}@{DOMAIN}")


def chaos(
    minutes: Annotated[float, typer.Option(help="How long things are broken.")] = 5.0,
    seed: Annotated[int, typer.Option(help="The same seed breaks the same things.")] = 0,
) -> None:
    """Break a fleet, and tell what it lost. Ends with status 1 if that isn't nothing."""
    seed = seed or secrets.randbelow(10**6)
    rng = random.Random(seed)  # noqa: S311
    ledger = Ledger()
    with tempfile.TemporaryDirectory() as scratch, CloudLab() as lab, contextlib.ExitStack() as stack:
        fleet = lab.fleet(Path(scratch) / "fleet")
        for edge in fleet.edges:
            disk = Path(scratch) / f"disk-{edge.id}"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", disk], check=True)
            stack.callback(partial(subprocess.run, ["umount", "--lazy", disk], check=False))
            edge.settings["state_dir"] = str(disk)
        stack.callback(fleet.stop)
        fleet.start()
        result = _run(lab, fleet, ledger, rng, minutes)
    print(json.dumps({"minutes": minutes, "seed": seed, **result}, indent=1), flush=True)
    if any(result["lost"].values()):
        raise typer.Exit(1)


def _run(lab: CloudLab, fleet: DevelopmentFleet, ledger: Ledger, rng: random.Random, minutes: float) -> dict[str, Any]:
    stop = threading.Event()
    phones: dict[str, SocketPhone] = {}
    for pair in PAIRS:
        for user, place, edge in pair:
            phones[user] = SocketPhone(fleet.accounts[user], DOMAIN, lab.host(place), (lab.address(edge), SIP))
    threads: list[threading.Thread] = [Pair(phones[one[0]], phones[other[0]], ledger, stop) for one, other in PAIRS]
    threads.append(threading.Thread(target=_provision, args=(fleet, ledger, stop)))
    for thread in threads:
        thread.start()
    breaker = Chaos(lab, fleet, ledger, rng)
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        time.sleep(rng.uniform(4, 9))
        breaker.once()
    time.sleep(20)  # everything is mended: the last calls must work again
    stop.set()
    for thread in threads:
        thread.join()
    with _awake(list(phones.values())):
        begun = time.monotonic()
        for each in fleet.edges:
            with contextlib.suppress(StartError):
                wait_for(f"{each.id}'s journal", partial(_delivered, fleet, each), 60)
        delivered = time.monotonic() - begun
        lost = _lost(fleet, ledger, phones)
    return {
        "faults": dict(ledger.faults),
        "tried": dict(ledger.tried),
        "failed": dict(ledger.failed),
        "lost": lost,
        "seconds until the journals were empty": round(delivered, 1),
        "longest outage seen by a phone, seconds": round(ledger.outage, 1),
    }


def _records(endpoint: str) -> Counter[str]:
    """How many records each call has, read from the table itself: an hour's are too many for MiniStack's queries."""
    client = development_client("dynamodb", endpoint, read_timeout=120)
    pages = client.get_paginator("scan").paginate(TableName=f"{PREFIX}-calls")
    items = (item for page in pages for item in page["Items"])
    return Counter(item["call_id"]["S"] for item in items if item["sk"]["S"].endswith("#answered"))


def _delivered(fleet: DevelopmentFleet, edge: DevelopmentEdge) -> bool:
    """Whether nothing is left in an edge's journal."""
    return (fleet.client.health(edge) or {}).get("journal") == 0


@contextlib.contextmanager
def _awake(phones: list[SocketPhone]) -> Iterator[None]:
    """Phones that go on registering, and are switched off at the end: who stays away is unregistered."""
    done = threading.Event()

    def stay(phone: SocketPhone) -> None:
        registered = time.monotonic()
        while not done.is_set():
            phone.idle(0.2)
            if time.monotonic() - registered > _REGISTER:
                with contextlib.suppress(AssertionError):  # the next time, then
                    phone.register()
                registered = time.monotonic()

    threads = [threading.Thread(target=stay, args=(phone,)) for phone in phones]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread, phone in zip(threads, phones, strict=True):
            thread.join()
            phone.socket.close()


def _lost(fleet: DevelopmentFleet, ledger: Ledger, phones: dict[str, SocketPhone]) -> dict[str, int]:
    """What was acknowledged and can't be found. The phones registered within the last seconds, so all are bound."""
    bound = 0
    for user in phones:
        bindings = fleet.client.api("GET", f"/v1/accounts/{user}@{DOMAIN}/bindings")
        bound += bool(bindings)
    records = in_namespace(fleet.control.namespace, lambda: _records(fleet.endpoint))
    missing = [name for name in ledger.accounts if fleet.client.request("GET", f"/v1/accounts/{name}")[0] != 200]
    return {
        "acknowledged registrations": len(phones) - bound,
        "records of answered calls": len(ledger.answered - records.keys()),
        "records too many": sum(count - 1 for count in records.values()),
        "provisioned items": len(missing),
    }


if __name__ == "__main__":
    typer.run(chaos)
