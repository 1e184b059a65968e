"""One edge of two processes: what comes from a source is one process's, and what the other needs of it crosses."""

from __future__ import annotations

from itertools import count

import pytest

from edge.proxy.stack.events import ProvidersAssigned
from edge.sip.flow import Flow
from edge.sip.partition import process_of
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.provider import ProviderDouble, account, provider_world
from tests.support.world import LATENCY, Phone, World

BOTH = ("edge-a", "edge-a/1")


@pytest.fixture
def world() -> World:
    return World(edges=1, workers=2)


def phone_at(world: World, worker: int, username: str, transport: str = "UDP", edge: str = "edge-a") -> Phone:
    """A phone of whose source that process is."""
    phone = world.phone(username, edge, transport)
    del world.phones[phone.public]
    move(world, phone, worker)
    return phone


def move(world: World, phone: Phone, worker: int) -> None:
    """Its public address is another one from now on, of which that process is."""
    world.phones.pop(phone.public, None)
    hosts = (f"192.0.2.{last}" for last in count(1))
    taken = {host for host, _ in world.phones}
    host = next(host for host in hosts if host not in taken and process_of(host, 2) == worker)
    phone.public = (host, phone.public[1])
    world.phones[phone.public] = phone
    if phone.agent.transport != "UDP":
        phone.connect()


def counters(world: World, name: str) -> list[int]:
    return [world.nodes[node].core.stack.counters[name] for node in BOTH]


def bindings(world: World) -> list[int]:
    return [len(world.nodes[node].core.stack.bindings) for node in BOTH]


def test_each_process_has_its_own_phones_and_answers_their_refreshes_alone(world):
    phones = [phone_at(world, worker, name) for worker, name in ((0, "alice"), (1, "bob"))]
    assert [phone.register() for phone in phones] == [200, 200]
    assert bindings(world) == [1, 1]
    asked = len(world.control.questions)
    assert [phone.register() for phone in phones] == [200, 200]
    assert counters(world, "refreshes") == [1, 1]
    assert len(world.control.questions) == asked
    assert world.handed_over == 0
    world.run(20)
    assert all(phone.agent.pings for phone in phones)  # each is pinged, by whose answer it gets
    assert min(counters(world, "pongs")) > 0


def test_both_phones_of_an_account_are_listed_and_rung_wherever_they_are(world):
    one, two = phone_at(world, 0, "bob"), phone_at(world, 1, "bob")
    two.agent.host = "10.0.0.10"
    assert one.register() == 200
    response = two.transact(two.agent.register_request(600))
    assert len(response.values("contact")) == 2
    alice = phone_at(world, 0, "alice")
    assert alice.register() == 200
    alice.start_call(f"sip:bob@{alice.agent.domain}")
    world.wait(lambda: one.agent.requests("INVITE") and two.agent.requests("INVITE"))


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
@pytest.mark.parametrize(("caller_at", "callee_at"), [(0, 1), (1, 0), (1, 1)])
def test_calls_between_processes(world, transport, caller_at, callee_at):
    alice = phone_at(world, caller_at, "alice")
    bob = phone_at(world, callee_at, "bob", transport)
    assert alice.register() == bob.register() == 200
    dialog, other = answered_call(world, alice, bob)
    # The responses to the INVITE are the caller's process's, wherever they come in; the 100 ends there, too.
    assert (world.handed_over > 0) == (caller_at != callee_at)
    hang_up(world, alice, dialog, bob)
    dialog, other = answered_call(world, alice, bob)
    bob.agent.received.clear()
    hang_up(world, bob, other, alice)
    assert counters(world, "stray_responses") == [0, 0]


def test_a_phone_that_another_process_gets_is_moved_there(world):
    alice, bob = phone_at(world, 0, "alice"), phone_at(world, 1, "bob")
    assert alice.register() == bob.register() == 200
    move(world, bob, 0)
    assert bob.register() == 200
    world.run(2 * LATENCY)
    assert bindings(world) == [2, 0]
    move(world, bob, 1)
    assert bob.register() == 200
    world.run(2 * LATENCY)
    assert bindings(world) == [1, 1]
    answered_call(world, alice, bob)


def test_an_account_is_known_in_the_dark_to_every_process(world):
    alice, bob = phone_at(world, 1, "alice"), phone_at(world, 1, "bob")
    assert alice.register() == bob.register() == 200
    world.run(1)
    world.control.dark = True
    move(world, bob, 0)
    assert bob.register() == 200
    assert counters(world, "undecided_registrations") == [1, 0]
    answered_call(world, alice, bob)  # his phones are found by asking


@pytest.mark.parametrize("killed", BOTH)
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_process_that_dies_loses_no_registration_and_no_answered_call(world, killed, who):
    alice, bob = phone_at(world, 0, "alice"), phone_at(world, 1, "bob")
    assert alice.register() == bob.register() == 200
    dialog, other = answered_call(world, alice, bob)
    world.run(1)
    world.restart(killed)
    assert bindings(world) == [1, 1]
    bob.agent.received.clear()
    if who == "caller":
        hang_up(world, alice, dialog, bob)
    else:
        hang_up(world, bob, other, alice)
    assert alice.register() == bob.register() == 200
    answered_call(world, bob, alice, f"sip:alice@{alice.agent.domain}")


def test_what_belongs_to_a_process_that_has_died_is_dropped(world):
    alice, bob = phone_at(world, 0, "alice"), phone_at(world, 1, "bob")
    assert alice.register() == bob.register() == 200
    alice.start_call(f"sip:bob@{alice.agent.domain}")
    incoming = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    world.restart("edge-a")
    before = len(alice.agent.responses("INVITE"))
    bob.send(bob.agent.response(incoming, 180).to_bytes())
    world.run(1)
    assert len(alice.agent.responses("INVITE")) == before


def test_a_nonce_count_is_good_once_from_a_source_whatever_its_port(world):
    alice = phone_at(world, 1, "alice")
    assert alice.register() == 200
    request = alice.agent.register_request(600)
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    good = alice.agent.authorize(request, challenge).to_bytes()
    host, port = alice.public
    for index, status in enumerate((200, 401)):
        del world.phones[alice.public]
        alice.public = host, port + index
        world.phones[alice.public] = alice
        alice.agent.received.clear()
        alice.send(good.replace(b"branch=z9hG4bK", b"branch=z9hG4bK%d" % index))
        world.wait(lambda: alice.agent.statuses("REGISTER"))
        assert alice.agent.statuses("REGISTER") == [status]


def test_responses_of_another_edges_transactions_cross_to_the_process_that_made_them():
    world = World(edges=2, workers=2)
    alice = phone_at(world, 1, "alice", edge="edge-a")
    bob = phone_at(world, 1, "bob", edge="edge-b")
    assert alice.register() == bob.register() == 200
    dialog, other = answered_call(world, alice, bob)
    bob.agent.received.clear()
    hang_up(world, bob, other, alice)


def test_a_connections_number_says_whose_it_is(world):
    for worker, node in enumerate(BOTH):
        partition = world.nodes[node].partition
        for random in (1, 2, 3, 2**32 - 2, 2**32 - 1):
            number = partition.connection(random)
            assert 0 < number < 2**32
            assert partition.of(Flow("203.0.113.11", 5060, "tcp", "192.0.2.1", 4711, number)) == worker


def test_sources_are_spread_evenly_and_a_source_is_one_processs():
    hosts = [f"198.51.{third}.{fourth}" for third in range(20) for fourth in range(100)]
    hosts6 = [f"2001:db8:{site:x}:100::1" for site in range(2000)]
    for found in (hosts, hosts6):
        for processes in (2, 3, 4):
            shares = [
                sum(process_of(host, processes) == one for host in found) / len(found) for one in range(processes)
            ]
            assert max(shares) < 1.2 / processes
    assert process_of("2001:db8:1:200::1", 4) == process_of("2001:db8:1:2ff:ffff::9", 4)


@pytest.mark.parametrize("process", BOTH)
def test_only_the_first_process_registers_with_providers(process):
    world = provider_world(edges=1, workers=2)
    provider = ProviderDouble(world)
    node = world.nodes[process]
    node.handle(ProvidersAssigned(node.address, [account().account], [], True))
    world.run(120)
    assert bool(provider.registers) == (process == "edge-a")
    assert node.core.agent.hashes(account().account.id) is not None  # calls may need them
