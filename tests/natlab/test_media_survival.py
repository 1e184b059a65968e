"""kill -9 of the machine that relays a call between two phones behind two NATs: another edge takes its address and goes
on relaying, over the NAT bindings and ports that there were. The phones do nothing for it."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from collections.abc import Iterator

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP
from scripts.processes import in_namespace, wait_for
from tests.natlab.conftest import laboratory
from tests.natlab.test_audio import in_call
from tests.support.cloudlab import CloudLab
from tests.support.ears import hear
from tests.support.pace import slowness
from tests.support.rtp_end import RtpEnd
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.natlab

MEDIAN, MOVED, BACK = 5.0, 1.0, 1.0  # seconds of silence: the machine is dead, drained; only the engine is dead


@pytest.fixture(scope="module")
def cloud():
    with laboratory(CloudLab) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(cloud, tmp_path_factory):
    made = cloud.fleet(tmp_path_factory.mktemp("cloud") / "fleet")
    for edge in made.edges:
        edge.settings["media"] = "rtpengine"
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def phones(cloud, fleet) -> Iterator[tuple[SocketPhone, SocketPhone]]:
    """alice at edge-a behind the NAT that keeps ports, bob at edge-b behind the one that doesn't."""

    def phone(user: str, place: str, edge: str) -> SocketPhone:
        return SocketPhone(fleet.accounts[user], DOMAIN, cloud.host(place), (cloud.address(edge), SIP))

    with phone("alice", "phone", "edge-a") as alice, phone("bob", "phone3", "edge-b") as bob:
        yield alice, bob


def engine(fleet, edge: str, address: str) -> int:
    """The process of the engine that ``edge`` has for ``address``; 0 if there is none."""
    file = fleet.directory / f"{edge}.state" / "engines" / f"{address}.pid"
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        os.kill(pid, 0)
        return pid
    return 0


def kill_machine(fleet, cloud) -> None:
    """edge-a's, with all that runs on it for its own address."""
    fleet.processes.kill("edge-a")
    os.kill(engine(fleet, "edge-a", cloud.address("edge-a")), signal.SIGKILL)


def home_again(fleet, cloud) -> None:
    edge = fleet.edges[0]
    fleet.start_edge(edge)
    wait_for("edge-a to hold its address again", lambda: cloud.address("edge-a") in addresses(fleet, edge), 40)
    wait_for("its engine to relay", lambda: engine(fleet, "edge-a", cloud.address("edge-a")), 10)


def addresses(fleet, edge) -> dict[str, object]:
    return (fleet.client.health(edge) or {}).get("addresses") or {}


@contextlib.contextmanager
def talking(cloud, phones, keys: bytes = b"", index: int = 1):
    """A call whose ends send all the time, and hear each other."""
    alice, bob = phones
    hosts = cloud.host("phone"), cloud.host("phone3")
    made = [
        in_namespace(host.namespace, lambda host=host: RtpEnd(host.address, keys=keys, index=index)) for host in hosts
    ]
    for phone, end in zip(phones, made, strict=True):
        assert phone.register() == 200
        phone.agent.sdp = end.sdp().encode()
    with made[0] as one, made[1] as two:
        dialog, back = call(alice, bob, f"sip:bob@{DOMAIN}")
        two.learn(bob.agent.requests("INVITE")[0].body.decode())
        one.learn(next(got for got in alice.agent.received if got.start_line.startswith("SIP/2.0 200")).body.decode())
        both_hear(one, two)
        yield one, two, dialog, back
        in_dialog(alice, dialog, "BYE", bob)


def both_hear(*ends: RtpEnd) -> None:
    for end in ends:
        end.hears(20.0, 25)


def silence(end: RtpEnd, since: float) -> float:
    """The longest time since then in which nothing came."""
    times = [since, *(at for at in end.came if at > since)]
    return max(later - earlier for earlier, later in zip(times, times[1:], strict=False))


def test_kills(cloud, fleet, phones):
    """Every other call speaks SRTP that passes through, and is past 65,536 packets."""
    kills = 20 if os.environ.get("LONG") else 2
    dead, moved = [], []
    for turn in range(kills):
        keys = os.urandom(30) if turn % 2 else b""
        with talking(cloud, phones, keys, 65_500 if keys else 1) as (one, two, *_):
            wait_for("a turn of the sequence numbers", lambda: not keys or one.index >> 16, 10)
            begun = time.monotonic()
            kill_machine(fleet, cloud)
            time.sleep(1.0)
            both_hear(one, two)
            dead.append(max(silence(end, begun) for end in (one, two)))
            begun = time.monotonic()
            home_again(fleet, cloud)
            both_hear(one, two)
            moved.append(max(silence(end, begun) for end in (one, two)))
            assert one.unreadable == two.unreadable == 0
    print(f"silence over {kills} kills: {' '.join(f'{one:.2f}' for one in dead)}; handed back: {moved}")
    slow = slowness()
    assert statistics.median(dead) <= MEDIAN * slow, dead
    assert max(moved) <= MOVED * slow, moved


@pytest.mark.parametrize("caller", ["carol", "dave"], ids=["of the caller", "of the callee"])
def test_by_ear_the_machine_dies(cloud, fleet, tmp_path, caller):
    """carol's, behind the NAT that keeps ports. Real phones: each hears the other's tone again, and when the machine is
    back."""
    places = {"carol": ("phone", "edge-a", 450), "dave": ("phone3", "edge-b", 700)}
    with contextlib.ExitStack() as stack:
        by_name = {
            name: stack.enter_context(
                Baresip(
                    tmp_path, fleet.accounts[name], DOMAIN, f"{cloud.address(edge)}:{SIP}", cloud.host(place), "eth0",
                    5080 + tone, 4000 + tone, tone=tone,
                )
            )
            for name, (place, edge, tone) in places.items()
        }  # fmt: skip
        assert all(phone.registered() for phone in by_name.values())
        one, other = by_name.pop(caller), *by_name.values()
        both = [(one, places[other.name][2]), (other, places[one.name][2])]
        with in_call(one, other):
            hear(both)
            kill_machine(fleet, cloud)
            hear(both)
            home_again(fleet, cloud)
            hear(both)


def test_a_drain(cloud, fleet, phones):
    """The address goes to the other edge, and comes back, with all sessions."""
    address, (home, other) = cloud.address("edge-a"), fleet.edges
    with talking(cloud, phones) as (one, two, *_):
        spans = []
        for move, holder in ((lambda: fleet.drain(home), other), (lambda: home_again(fleet, cloud), home)):
            begun = time.monotonic()
            move()
            assert address in addresses(fleet, holder)
            both_hear(one, two)
            spans.append(max(silence(end, begun) for end in (one, two)))
        print(f"silence in a drain {spans[0]:.2f} s, handed back {spans[1]:.2f} s")
        assert max(spans) <= MOVED * slowness(), spans


def test_the_engine_alone_dies(cloud, fleet, phones):
    with talking(cloud, phones) as (one, two, *_):
        begun = time.monotonic()
        os.kill(engine(fleet, "edge-a", cloud.address("edge-a")), signal.SIGKILL)
        time.sleep(BACK)
        both_hear(one, two)
        assert max(silence(end, begun) for end in (one, two)) < BACK * slowness()


def test_the_edges_processes_alone_die(cloud, fleet, phones):
    """Both are killed and started anew: nobody hears it."""
    with talking(cloud, phones) as (one, two, dialog, back):
        before = engine(fleet, "edge-a", cloud.address("edge-a"))
        begun = time.monotonic()
        for edge in fleet.edges:
            fleet.processes.kill(edge.id)
        for edge in fleet.edges:
            fleet.start_edge(edge)
        wait_for("edge-a to hold its address", lambda: cloud.address("edge-a") in addresses(fleet, fleet.edges[0]), 40)
        both_hear(one, two)
        assert engine(fleet, "edge-a", cloud.address("edge-a")) == before
        assert max(silence(end, begun) for end in (one, two)) < 0.5 * slowness()
        in_dialog(phones[1], back, "INVITE", phones[0])
        both_hear(one, two)
