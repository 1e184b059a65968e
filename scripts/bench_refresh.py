"""``scripts/bench refresh``: what refreshes cost, through a real edge, control plane and DynamoDB (MiniStack)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from scripts.bench_fleet import tallied_fleet
from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, SIP, DevelopmentEdge, PhoneAccount
from scripts.tally import Tally
from tests.support.socket_phone import SocketPhone

_READS = ("GetItem", "Query", "Scan", "BatchGetItem")
_WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem")


def refresh(
    say: Callable[..., None],
    phones: Annotated[int, typer.Option(help="Phones.")] = 50,
    refreshes: Annotated[int, typer.Option(help="Refreshes, all phones together.")] = 1000,
) -> None:
    """Refreshes of unchanged bindings, and for comparison registrations that have to be decided."""
    with tallied_fleet() as (fleet, tables, control):
        edge = fleet.edges[0]
        ready = [_phone(fleet, edge, number) for number in range(phones)]
        for phone in ready:
            assert phone.register() == 200
        for case, prepare in (("unchanged", lambda phone: None), ("moved", _move)):
            _measure(say, fleet, edge, ready, refreshes, tables, control, case, prepare)
        for phone in ready:
            phone.socket.close()


def _phone(fleet: DevelopmentFleet, edge: DevelopmentEdge, number: int) -> SocketPhone:
    made = fleet.client.api("POST", "/v1/accounts", {"username": f"u{number}", "domain": DOMAIN})
    account = PhoneAccount(made["aor"], made["username"], made["password"])
    phone = SocketPhone(account, DOMAIN, edge.host, (edge.address, SIP))
    phone.agent.host = "10.0.0.9"  # its Contact: it believes itself behind a NAT
    phone.agent.instance = f"urn:uuid:{number}"
    return phone


def _move(phone: SocketPhone) -> None:
    phone.agent.port += 1


def _measure(
    say: Callable[..., None],
    fleet: DevelopmentFleet,
    edge: DevelopmentEdge,
    phones: list[SocketPhone],
    refreshes: int,
    tables: Tally,
    control: Tally,
    case: str,
    prepare: Callable[[SocketPhone], None],
) -> None:
    tables.take(), control.take()
    spent, begun = cpu(fleet.processes.pid(edge.id)), time.monotonic()
    for number in range(refreshes):
        phone = phones[number % len(phones)]
        prepare(phone)
        phone.agent.received.clear()
        assert phone.register() == 200
    seconds = time.monotonic() - begun
    spent = cpu(fleet.processes.pid(edge.id)) - spent
    busy = (tables.take(), control.take())
    idle_before = cpu(fleet.processes.pid(edge.id))
    time.sleep(seconds)  # heartbeats and keep-alives go on: what they cost is subtracted
    idle_spent = cpu(fleet.processes.pid(edge.id)) - idle_before
    idle = (tables.take(), control.take())
    per = 1000 / refreshes
    name = f"refresh {case}"
    decisions = busy[1]["/edge/decisions"] + busy[1]["/edge/reports"]
    say(name, decisions * per, "invocations per 1000", refreshes=refreshes, phones=len(phones))
    for kind, operations in (("reads", _READS), ("writes", _WRITES)):
        # Heartbeats may beat once more or less in one of the two windows.
        beat = _sum(idle[0], operations) / max(1, idle[1]["/edge/heartbeat"])
        extra = _sum(busy[0], operations) - beat * busy[1]["/edge/heartbeat"]
        say(name, max(0.0, extra) * per, f"{kind} per 1000")
    say(name, (spent - idle_spent) / refreshes * 1e6, "µs CPU of the edge each (4 messages, sockets included)")


def _sum(counts: Counter[str], names: tuple[str, ...]) -> int:
    return sum(counts[name] for name in names)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
