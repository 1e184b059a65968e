"""``scripts/bench cost``: what each kind of event asks of AWS, through a real edge, control plane and DynamoDB
(MiniStack). ``scripts/cost`` makes a bill of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench_fleet import tallied_fleet
from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from scripts.processes import wait_for
from scripts.tally import Tally
from tests.support.socket_phone import SocketPhone, call, in_dialog

MEASURED = Path(__file__).parent / "cost_measured.json"
_TIMES = 20
_HEADERS = 28  # octets of IP and UDP


def cost(say: Callable[..., None], save: bool) -> None:
    """For each kind of event: invocations, read and write units. Heartbeats are subtracted."""
    with tallied_fleet() as (fleet, tables, control):
        found, octets = _events(fleet, tables, control)
    for name, one in found.items():
        for unit, value in one.items():
            say(name, value, unit)
    for name, size in octets.items():
        say(name, size, "octets to phones")
    if save:
        measured = {"measured": time.strftime("%Y-%m-%d"), "events": found, "octets": octets}
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n")


def _events(
    fleet: DevelopmentFleet, tables: Tally, control: Tally
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    tables.take_units(), control.take()
    time.sleep(10)
    beats = _sum(control.take(), "/edge/heartbeat")
    idle = tables.take_units()
    beat = {unit: idle[unit] / beats for unit in ("read", "write")}
    found = {"heartbeat": {"invocations": 1.0, **beat}}

    def measure(name: str, work: Callable[[], None]) -> None:
        tables.take_units(), control.take()
        for _ in range(_TIMES):
            work()
        wait_for("the reports to be delivered", lambda: fleet.client.health(fleet.edges[0])["journal"] == 0, 30)
        asked, units = control.take(), tables.take_units()
        beats = _sum(asked, "/edge/heartbeat")
        found[name] = {
            "invocations": (sum(asked.values()) - beats) / _TIMES,
            **{unit: max(0.0, units[unit] - beat[unit] * beats) / _TIMES for unit in ("read", "write")},
        }

    alice, bob = (_phone(fleet, user) for user in ("alice", "bob"))
    assert alice.register() == bob.register() == 200

    def moved() -> None:
        alice.agent.port += 1
        assert alice.register() == 200

    def answered() -> None:
        dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
        in_dialog(alice, dialog, "BYE", bob)

    def busy() -> None:
        bob.agent.received.clear()
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        got = bob.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
        bob.send(bob.agent.response(got, 486).to_bytes())
        assert alice.wait(lambda: alice.agent.final(invite)).status == 486

    octets = {}
    alice.socket.settimeout(30)
    octets["ping"] = len(alice.socket.recv(65536)) + _HEADERS
    alice.agent.received.clear()
    assert alice.register() == 200
    octets["refresh"] = _octets(alice.agent.responses("REGISTER"))
    answered()
    octets["call"] = _octets([*alice.agent.received, *bob.agent.received])
    measure("registration that changes something", moved)
    measure("refresh", lambda: _is(alice.register(), 200))
    measure("answered call", answered)
    measure("call that nobody takes", busy)
    fleet.client.api("PATCH", f"/v1/accounts/alice@{DOMAIN}", {"limits": {"concurrent_calls": 100}})
    measure("answered call of an account with limits", answered)
    for phone in (alice, bob):
        phone.socket.close()
    return found, octets


def _phone(fleet: DevelopmentFleet, user: str) -> SocketPhone:
    edge = fleet.edges[0]
    account: PhoneAccount = fleet.accounts[user]
    made = SocketPhone(account, DOMAIN, Host(edge.host.address), (edge.address, SIP))
    made.agent.host = "10.0.0.9"  # its Contact: it believes itself behind a NAT
    made.agent.instance = f"urn:uuid:{user}"
    return made


def _octets(messages: list[Any]) -> int:
    """On the wire."""
    return sum(len(message.to_bytes()) + _HEADERS for message in messages)


def _is(one: object, other: object) -> None:
    assert one == other


def _sum(counts: Counter[str], path: str) -> int:
    return counts[path]
