"""A rolling upgrade and a roll-back under load, from and to the code of before: edges of both live side by side, hand
addresses to each other, and lose no registration and no call that was answered."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from scripts.fleet_parts import DOMAIN, PREFIX, ROOT, SIP, development_client
from scripts.processes import in_namespace, wait_for
from tests.compat import before
from tests.natlab.conftest import laboratory
from tests.support.cloudlab import CloudLab
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.natlab

_AT_ONCE = 4  # open calls of a pair that are re-INVITEd in each turn


@pytest.fixture(scope="module")
def then(tmp_path_factory):
    """The environment in which processes run the code of before."""
    return before.environment(before.checkout(tmp_path_factory.mktemp("before")))


@pytest.fixture(scope="module")
def today():
    return before.environment(ROOT)


@pytest.fixture(scope="module")
def cloud():
    with laboratory(CloudLab) as made:
        yield made


@pytest.fixture
def fleet(cloud, then, tmp_path):
    """All of it is of before."""
    made = cloud.fleet(tmp_path / "fleet", then)
    try:
        made.start()
        for name in ("control", *(edge.id for edge in made.edges)):
            check_code(made, name, then)
        yield made
    finally:
        made.stop()


class Pair:
    """Two phones that register and call each other all the time, from either side. Every call stays, and the last ones
    are re-INVITEd in between. What goes wrong with a registration or an answered call ends it."""

    def __init__(self, one: SocketPhone, other: SocketPhone) -> None:
        self.phones = (one, other)
        self.calls = []
        self.registered = 0
        self._wrong = None
        self._stopping = threading.Event()
        self._thread = None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Raises what went wrong."""
        self._stopping.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        if self._wrong is not None:
            raise self._wrong

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn(len(self.calls))
        except BaseException as error:
            self._wrong = error

    def _turn(self, turn: int) -> None:
        for phone in self.phones:
            status = phone.register()
            assert status == 200, f"REGISTER: {status}"
            self.registered += 1
        phones = self.phones[:: 1 if turn % 2 else -1]
        dialogs = call(*phones, f"sip:{phones[1].agent.username}@{DOMAIN}")
        self.calls.append((phones, dialogs))
        for number, (those, sides) in enumerate(self.calls[-_AT_ONCE:]):
            end = (turn + number) % 2
            in_dialog(those[end], sides[end], "INVITE", those[1 - end])
        for phone in phones:
            phone.idle(0.3)

    def hang_up(self) -> None:
        """Every call, from either side. All that is there is of before by now, and says of a link of its mesh that
        stumbles while the answer is under way that nobody is there."""
        for number, (phones, dialogs) in enumerate(self.calls):
            end = number % 2
            in_dialog(phones[end], dialogs[end], "BYE", phones[1 - end], may_be=(200, 480))


@contextlib.contextmanager
def load(pairs):
    """It goes on meanwhile, and nothing is lost."""
    for pair in pairs:
        pair.start()
    try:
        yield
    finally:
        with contextlib.ExitStack() as stack:
            for pair in pairs:
                stack.callback(pair.stop)


def check_code(fleet, name, environment):
    """A process runs the code that it is said to run."""
    settings = Path(f"/proc/{fleet.processes.pid(name)}/environ").read_text().split("\0")
    assert f"PYTHONPATH={environment['PYTHONPATH']}" in settings


def replace(fleet, cloud, edge, environment):
    """Drain an edge, and start it anew as another one."""
    fleet.drain(edge)
    edge.environment = environment
    fleet.start_edge(edge)
    check_code(fleet, edge.id, environment)
    address = cloud.address(edge.id)
    wait_for(
        f"{edge.id} to hold {address} again",
        lambda: address in ((fleet.client.health(edge) or {}).get("addresses") or {}),
        40,
    )


def replace_control(fleet, environment):
    """On AWS there is no moment without one; here there is, so nobody calls meanwhile."""
    fleet.processes.stop("control")
    fleet.start_control(environment)
    check_code(fleet, "control", environment)


def records(fleet):
    """How often each Call-ID was recorded as answered, and which calls as ended."""
    client = development_client("dynamodb", fleet.endpoint)
    pages = client.get_paginator("scan").paginate(TableName=f"{PREFIX}-calls")
    items = [item for page in pages for item in page["Items"]]
    answered = Counter(item["call_id"]["S"] for item in items if item["sk"]["S"].endswith("#answered"))
    return answered, [item["call"]["S"] for item in items if item["sk"]["S"].endswith("#ended")]


def test_an_upgrade_and_a_roll_back_lose_nothing(cloud, fleet, then, today):
    """The control plane first, then one edge after the other; back in the opposite order."""
    one, other = fleet.edges
    begun = time.monotonic()

    def say(what):
        print(f"{time.monotonic() - begun:5.1f} s: {what}; {sum(len(pair.calls) for pair in pairs)} calls so far")

    with contextlib.ExitStack() as stack:

        def phone(user, place, edge):
            made = SocketPhone(fleet.accounts[user], DOMAIN, cloud.host(place), (cloud.address(edge.id), SIP))
            return stack.enter_context(made)

        pairs = [
            Pair(phone("alice", "caller", other), phone("bob", "phone", one)),
            Pair(phone("dave", "caller", one), phone("carol", "phone2", other)),
        ]
        with load(pairs):
            wait_for("calls", lambda: all(pair.calls for pair in pairs), 20)
        replace_control(fleet, today)
        say("the control plane is of today")
        with load(pairs):
            for edge, environment in ((one, today), (other, today), (other, then), (one, then)):
                replace(fleet, cloud, edge, environment)
                say(f"{edge.id} is of {'today' if environment is today else 'before'}")
                for pair in pairs:
                    pair.check()
        replace_control(fleet, then)
        say("the control plane is of before")
        with load(pairs):
            calls = sum(len(pair.calls) for pair in pairs)
            wait_for("more calls", lambda: sum(len(pair.calls) for pair in pairs) > calls + 1, 20)
        for pair in pairs:
            pair.hang_up()
    made = [dialogs[0].call_id for pair in pairs for _, dialogs in pair.calls]
    assert len(made) > 40
    assert sum(pair.registered for pair in pairs) >= 2 * len(made)
    for edge in fleet.edges:
        wait_for(f"{edge.id}'s journal", lambda edge=edge: (fleet.client.health(edge) or {}).get("journal") == 0, 30)
    answered, ended = in_namespace(fleet.control.namespace, lambda: records(fleet))
    assert answered == Counter(made)
    assert len(ended) == len(set(ended)) == len(made)
    for pair in pairs:
        for user in pair.phones:
            assert fleet.client.api("GET", f"/v1/accounts/{user.agent.username}@{DOMAIN}/bindings")
