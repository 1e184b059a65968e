"""What an edge does in one step doesn't grow with how many phones it has. What is counted is Python's instructions,
which are the same in every run; copies that C makes in one go (a list of names) aren't among them."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from edge.proxy.core import Core
from edge.proxy.location.agenda import Agenda
from edge.proxy.stack.events import BindingsChanged, Decided, Fed, FleetChanged, Received, Send, Tick
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import TokenKeys
from edge.sip.flow import Flow
from edge.sip.parser import parse
from edge.sip.places import Places
from lambdas.contract import Accept, Binding, BindingChange, Change, Grant, binding_id
from tests.support.agent import Agent
from tests.support.world import CountedIds

FEW, MANY = 2_000, 12_000
ADDRESS, OTHER, DOMAIN = "203.0.113.11", "203.0.113.12", "example.com"
GRANT = Grant(tenant="t1", version=1, ha1_md5="0" * 32, ha1_sha256="1" * 64)
STEP = 60_000
"""Instructions that a step may have: some milliseconds."""


class Phones:
    """A core with so many phones by TCP, which nobody pings."""

    def __init__(self, number: int) -> None:
        self.now = 1000.0
        self.core = Core("edge-a", "b1", CountedIds("x"), ports={"tcp": 5060})
        self.fleet = Fleet(
            epochs={ADDRESS: 1},
            places=Places((ADDRESS, OTHER)),
            domains={DOMAIN: DOMAIN},
            default_domain=DOMAIN,
            nonce_keys={1: b"k" * 32},
            nonce_key=1,
            tokens=TokenKeys({1: bytes(range(64))}, 1),
            clock=1.8e9,
            informed_at=self.now,
        )
        self.core.handle(FleetChanged(self.fleet), self.now)
        changes = [
            BindingChange(
                id=f"b{index:06}",
                aor=f"u{index}@{DOMAIN}",
                contact=f"sip:u{index}@10.0.{index // 250}.{index % 250}",
                flow=(ADDRESS, 5060, "tcp", f"198.51.{index // 250}.{index % 250}", 5060, 1),
                tenant=f"t{index % 2}",
                expires=3600,
            )
            for index in range(number)
        ]
        streams = frozenset(Flow(*change.flow) for change in changes)
        self.core.handle(BindingsChanged(changes, streams), self.now)
        for index, change in enumerate(changes):
            grant = GRANT.model_copy(update={"tenant": f"t{index % 2}"})
            self.core.stack.grants.keep(change.aor, grant, self.now)

    def most(self, seconds: float) -> int:
        """Run for so long; the instructions of the longest step."""
        end, most = self.now + seconds, 0
        while (deadline := self.core.deadline()) is not None and deadline <= end:
            self.now = deadline
            most = max(most, instructions(self.core.handle, Tick(), self.now))
        self.now = end
        return most

    def told(self, event) -> int:
        return instructions(self.core.handle, event, self.now)


def instructions(call, *arguments) -> int:
    """What ``call`` executes."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
    return count


def leaves(phones):
    return phones.told(FleetChanged(replace(phones.fleet, epochs={OTHER: 1}, informed_at=phones.now)))


def outage(phones):
    phones.now += 60
    return phones.told(FleetChanged(replace(phones.fleet, informed_at=phones.now)))


def suspended(phones):
    return phones.told(Fed([Change(tenant="t1", version=9)], False))


def feed_lost(phones):
    return phones.told(Fed([], True))


def nothing(phones):
    return phones.told(Tick())


@pytest.mark.parametrize("what", [nothing, leaves, outage, suspended, feed_lost])
def test_no_step_grows_with_the_bindings(what):
    few, many = Phones(FEW), Phones(MANY)
    at_once = [what(phones) for phones in (few, many)]
    assert at_once[1] <= at_once[0] * 1.1
    assert at_once[1] < STEP
    later = [phones.most(5.0) for phones in (few, many)]
    assert later[1] < STEP


def test_all_phones_that_are_gone_at_once_are_reported_bit_by_bit():
    phones = Phones(MANY)
    assert phones.most(170.0) < 2 * STEP  # each is a report besides
    assert len(phones.core.stack.bindings) == 0
    assert phones.core.stack.counters["phones_away"] == MANY


def test_what_goes_to_the_disk_goes_bit_by_bit():
    phones = Phones(MANY)
    few = instructions(phones.core.disk_records.take_changed, 100, phones.now)
    assert few < STEP


def test_grants_that_are_void_are_void_at_once_and_named_later():
    phones = Phones(FEW)
    grants, changed = phones.core.stack.grants, phones.core.stack.bindings.changed
    changed.clear()
    suspended(phones)
    assert grants.known(f"u1@{DOMAIN}") is None
    assert grants.known(f"u2@{DOMAIN}") is not None
    assert not grants.settled
    phones.most(2.0)
    assert grants.settled
    assert len(grants) == FEW // 2
    assert changed == {f"u{index}@{DOMAIN}" for index in range(1, FEW, 2)}


def test_a_grant_of_after_a_lost_feed_is_good():
    phones = Phones(FEW)
    feed_lost(phones)
    phones.core.stack.grants.keep(f"u1@{DOMAIN}", GRANT, phones.now)
    assert phones.core.stack.grants.known(f"u1@{DOMAIN}") is not None
    phones.most(2.0)
    assert phones.core.stack.grants.known(f"u1@{DOMAIN}") is not None
    assert len(phones.core.stack.grants) == 1


def test_an_address_that_comes_back_before_all_is_forgotten_has_nothing_of_before():
    phones = Phones(FEW)
    leaves(phones)
    phones.most(0.3)
    assert 0 < len(phones.core.stack.bindings) < FEW
    phones.told(FleetChanged(replace(phones.fleet, epochs={ADDRESS: 3}, informed_at=phones.now)))
    assert len(phones.core.stack.bindings) == 0


def test_a_refresh_costs_the_same_however_many_phones_there_are():
    costs = [refresh(Phones(number)) for number in (100, MANY)]
    assert costs[1] <= costs[0] * 1.02


def refresh(phones: Phones) -> int:
    """Register somebody, and count what the refresh takes."""
    core, flow = phones.core, Flow(ADDRESS, 5060, "tcp", "192.0.2.1", 5060, 1)
    agent = Agent("alice", DOMAIN, "pw", "10.0.0.9", 5060, lambda data: None, "TCP")

    def sent(actions):
        return [action for action in actions if isinstance(action, Send)][-1]

    request = agent.register_request(3600)
    challenge = parse(sent(core.handle(Received(flow, request.to_bytes()), phones.now)).data)
    again = agent.authorize(request, challenge)
    (ask,) = core.handle(Received(flow, again.to_bytes()), phones.now)
    contact = ask.question.contacts[0]
    aor = f"alice@{DOMAIN}"
    binding = Binding(id=binding_id(aor, contact.key), aor=aor, contact=contact.uri, expires=3600, flow=flow.wire)
    grant = GRANT.model_copy(update={"ha1_md5": agent_ha1()})
    core.handle(Decided(ask.ask, Accept(bindings=[binding], grant=grant)), phones.now)
    request = agent.register_request(3600)
    challenge = parse(sent(core.handle(Received(flow, request.to_bytes()), phones.now + 1)).data)
    again = agent.authorize(request, challenge)
    cost = phones.told(Received(flow, again.to_bytes()))
    assert core.stack.counters["refreshes"] == 1
    return cost


def agent_ha1() -> str:
    import hashlib

    return hashlib.md5(f"alice:{DOMAIN}:pw".encode()).hexdigest()


def test_an_agenda_gives_each_entry_once_in_its_time_and_no_more_than_asked():
    agenda: Agenda[str] = Agenda()
    assert agenda.put("b", 10.2) == 11
    assert agenda.put("a", 3.0) == 3
    assert agenda.put("c", 11) == 11
    assert agenda.due(2.9, 5) == []
    assert agenda.due(3.0, 5) == [(3, "a")]
    assert sorted(agenda.due(20, 1) + agenda.due(20, 1)) == [(11, "b"), (11, "c")]
    assert agenda.due(20, 1) == []
    assert len(agenda) == 0
