"""An edge of two processes beside one of one, on real sockets: phones at both, calls across, and one of them killed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from edge.sip.partition import process_of
from scripts.fleet_parts import DOMAIN, SIP, Host
from scripts.processes import wait_for
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = loopback_fleet(tmp_path_factory.mktemp("workers"), fresh_base(), 2)
    made.edges[0].settings["workers"] = 2
    try:
        made.start()
        wait_for("the worker", lambda: all(pids(made)), 20)
        yield made
    finally:
        made.stop()


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def pids(fleet):
    return fleet.client.health(fleet.edges[0])["workers"]


def phone_at(fleet, stack, worker, user, transport="UDP", edge=0):
    """A registered phone of whose source that process is; nothing of it stays."""
    network = fleet.edges[0].address.rpartition(".")[0]
    host = next(
        f"{network}.{last}" for last in count(100 + 10 * len(user)) if process_of(f"{network}.{last}", 2) == worker
    )
    proxy = (fleet.edges[edge].address, SIP)
    phone = stack.enter_context(SocketPhone(fleet.accounts[user], DOMAIN, Host(host), proxy, transport))
    assert phone.register() == 200
    return phone


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_calls_between_processes(fleet, stack, transport):
    alice = phone_at(fleet, stack, 0, "alice")
    bob = phone_at(fleet, stack, 1, "bob", transport)
    dialog, other = call(alice, bob, f"sip:bob@{DOMAIN}")
    in_dialog(bob, other, "BYE", alice)
    dialog, other = call(bob, alice, f"sip:alice@{DOMAIN}")
    in_dialog(alice, other, "BYE", bob)
    handed = wait_for("what was counted", lambda: fleet.client.events(fleet.edges[0]).get("handed_over"), 5)
    assert handed >= 1
    assert alice.register() == bob.register() == 200
    wait_for("both phones", lambda: fleet.client.health(fleet.edges[0])["bindings"] == 2, 5)
    for phone in (alice, bob):
        phone.transact(phone.agent.register_request(0))


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_calls_from_and_to_another_edge(fleet, stack, transport):
    alice = phone_at(fleet, stack, 1, "alice", transport)
    bob = phone_at(fleet, stack, 1, "bob", edge=1)
    for one, two, user in ((alice, bob, "bob"), (bob, alice, "alice")):
        dialog, other = call(one, two, f"sip:{user}@{DOMAIN}")
        in_dialog(two, other, "BYE", one)
    for phone in (alice, bob):
        phone.transact(phone.agent.register_request(0))


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_killed_worker_loses_no_registration_and_no_answered_call(fleet, stack, who):
    at = 1 if who == "caller" else 0
    alice, bob = phone_at(fleet, stack, at, "alice"), phone_at(fleet, stack, 1 - at, "bob")
    dialog, other = call(alice, bob, f"sip:bob@{DOMAIN}")
    (before,) = pids(fleet)
    os.kill(before, signal.SIGKILL)
    one, two, side = (alice, bob, dialog) if who == "caller" else (bob, alice, other)
    in_dialog(one, side, "BYE", two)
    (after,) = pids(fleet)
    assert after not in (0, before)
    assert fleet.client.events(fleet.edges[0])["workers_ended"] >= 1
    # Both are called at once, without having registered again.
    dialog, other = call(bob, alice, f"sip:alice@{DOMAIN}")
    in_dialog(alice, other, "BYE", bob)
    for phone in (alice, bob):
        phone.transact(phone.agent.register_request(0))


def test_the_first_process_dies_and_its_workers_with_it(fleet, stack):
    alice, bob = phone_at(fleet, stack, 1, "alice"), phone_at(fleet, stack, 0, "bob")
    dialog, other = call(alice, bob, f"sip:bob@{DOMAIN}")
    (before,) = pids(fleet)
    edge = fleet.edges[0]
    fleet.processes.kill(edge.id)
    fleet.start_edge(edge)
    fleet.wait_ready(edge)
    (after,) = wait_for("the worker", lambda: [pid for pid in pids(fleet) if pid], 20)
    assert after != before
    wait_for("the worker of before to end", lambda: not Path(f"/proc/{before}").exists(), 20)
    in_dialog(alice, dialog, "BYE", bob)
    dialog, other = call(bob, alice, f"sip:alice@{DOMAIN}")
    in_dialog(alice, other, "BYE", bob)
    # Nothing came to a process that it wasn't for: the new sockets didn't join those of before.
    events = fleet.client.events(edge)
    assert "not_handed_over" not in events
    for phone in (alice, bob):
        phone.transact(phone.agent.register_request(0))


def test_it_starts_again_in_the_dark_with_what_its_processes_have_kept(fleet, stack):
    alice, bob = phone_at(fleet, stack, 1, "alice"), phone_at(fleet, stack, 0, "bob")
    time.sleep(1.5)  # it is kept within a second
    edge = fleet.edges[0]
    fleet.processes.stop("control")
    fleet.processes.kill(edge.id)
    fleet.start_edge(edge)
    wait_for("the edge", lambda: fleet.client.health(edge), 20)
    try:
        wait_for("both phones", lambda: fleet.client.health(edge)["bindings"] == 2, 20)
        assert alice.register() == bob.register() == 200
        dialog, other = call(bob, alice, f"sip:alice@{DOMAIN}")
        in_dialog(alice, other, "BYE", bob)
    finally:
        fleet.start_control()
