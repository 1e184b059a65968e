"""The leases' argument, tried: control planes in two Regions with skewed clocks, edges that stop for a while, messages that are
late, lost and overtaken. The rules, and the holder's side, are the ones that run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.control.holdings import Gained, Holdings, Lost, Place
from lambdas.contract import FleetEdge, HeartbeatReply, HeldAddress
from lambdas.decisions import assignment
from lambdas.decisions import lease as rules
from lambdas.decisions.assignment import Assignment
from lambdas.decisions.lease import LEASE_SECONDS, SKEW, Lease, LeaseEdge, Refused

X, Y = "203.0.113.11", "203.0.113.12"
NOW = 1_800_000_000.0


class Register:
    """The leases table (MRSC): each write is conditional on what was read, and there is one order of them."""

    def __init__(self) -> None:
        self.items: dict[str, Lease] = {}

    def change(self, address, decide):
        old = self.items.get(address)
        made = decide(old)
        if isinstance(made, Lease):
            self.items[address] = made
        return made


@dataclass
class Machine:
    """One edge: its process, its clock (monotonic, its own zero), its driver."""

    id: str
    home: str
    driver: str
    zero: float
    serial: itertools.count = field(default_factory=lambda: itertools.count(1))
    stopped_until: float = 0.0
    boot: str = ""
    holdings: Holdings | None = None
    claimed: set[tuple[str, int]] = field(default_factory=set)

    def start(self) -> None:
        self.claimed = set()
        self.boot = f"{self.id}-{next(self.serial)}"
        self.holdings = Holdings(self.home, f"home-{self.id}", self.driver, [f"spare-{self.id}"])


class Leases(RuleBasedStateMachine):
    """``place`` is where the cloud has each address; packets of any other machine are dropped there (the drivers "hook"
    and "ec2"). With "l2" the wire carries whatever is sent."""

    driver = "hook"

    @initialize(skew=st.floats(0, SKEW))
    def begin(self, skew):
        self.time = 0.0  # real time
        self.skews = [0.0, skew]  # of the two Regions' clocks
        self.table = Register()
        self.place = {X: "a", Y: "b"}
        self.placed_epoch = {X: 0, Y: 0}
        self.machines = {
            "a": Machine("a", X, self.driver, 1000.0),
            "b": Machine("b", Y, self.driver, 5.0),
            "c": Machine("c", Y, self.driver, 77.0),
        }
        self.flying: list = []  # messages: heartbeats and replies
        self.first: dict[str, int] = {}  # the highest epoch from which a packet has reached a phone
        self.registered: dict[str, tuple[str, int]] = {}
        self.links_dead: set[str] = set()
        self.assigned = Assignment("t1/voip", X)  # of one provider account
        self.adopting: dict[
            str, tuple[str, int]
        ] = {}  # addresses whose lease was taken to empty them: by whom, in which epoch
        for machine in self.machines.values():
            machine.start()

    def clock(self, machine):
        return self.time + machine.zero

    def runs(self, machine):
        return self.time >= machine.stopped_until

    # Time passes, processes stop, crash and start

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 2.0, 3.0, 6.0, 13.0]))
    def passes(self, seconds):
        self.time += seconds

    @rule(name=st.sampled_from("abc"), seconds=st.sampled_from([2.0, 9.0, 15.0, 40.0]))
    def stops(self, name, seconds):
        self.machines[name].stopped_until = self.time + seconds

    @rule(name=st.sampled_from("abc"))
    def crashes(self, name):
        machine = self.machines[name]
        machine.stopped_until = 0.0
        machine.start()  # and forgets

    @rule(name=st.sampled_from("abc"), dead=st.booleans())
    def link(self, name, dead):
        (self.links_dead.add if dead else self.links_dead.discard)(name)

    # Heartbeats: sent, handled by either Region, answered; each step may be late, or never happen

    @rule(name=st.sampled_from("abc"))
    def beats(self, name):
        machine = self.machines[name]
        if self.runs(machine):
            linked = set(self.machines) - self.links_dead - {name}
            asks = machine.holdings.asks(linked, self.clock(machine))
            self.flying.append(("beat", machine, machine.boot, machine.holdings, asks, self.clock(machine)))

    @rule(data=st.data(), region=st.integers(0, 1))
    def handled(self, data, region):
        beats = [item for item in self.flying if item[0] == "beat"]
        if not beats:
            return
        item = data.draw(st.sampled_from(beats))
        self.flying.remove(item)
        self._handle(item, region)

    def _handle(self, item, region):
        _, machine, boot, holdings, asks, sent_at = item
        now = NOW + self.time + self.skews[region]
        asking = LeaseEdge(machine.id, boot, "mesh", "certificate", True, self.driver != "l2")
        for address in asks.releases:
            self.table.change(address, lambda old: rules.release(old, asking, now) if old else Refused("never"))
        takes = {take.address: take for take in asks.takes}
        held, refused = [], {}
        for address in dict.fromkeys([*asks.addresses, *takes]):
            take = takes.get(address)

            def decide(old, address=address, take=take):
                if take is not None and old is not None:
                    return rules.take(old, asking, take.epoch, take.link_dead, False, now)
                made = rules.hold(address, old, asking, now)
                if isinstance(made, Lease) and address in asks.placed and old and made.epoch == old.epoch:
                    placed = rules.place(made, asking)
                    return placed
                return made

            made = self.table.change(address, decide)
            if isinstance(made, Refused):
                refused[address] = made.why
            else:
                held.append(made)
        reply = HeartbeatReply(
            version=2,
            held=[self._wire(lease, now) for lease in held],
            refused=refused,
            fleet=[
                FleetEdge(id=lease.holder, mesh="", certificate="", held=[self._wire(lease, now)])
                for lease in self.table.items.values()
                if lease.expires_at > now
            ],
            addresses=list(self.table.items),
            keys=[],
            domains_version="",
            allowed=[X, Y],
            unheld={lease.address: lease.epoch for lease in self.table.items.values() if lease.expires_at <= now},
        )
        self.flying.append(("reply", machine, boot, holdings, reply, sent_at))

    @staticmethod
    def _wire(lease, now):
        return HeldAddress(
            address=lease.address,
            epoch=lease.epoch,
            seconds=min(LEASE_SECONDS, lease.expires_at - now),
            placed=lease.placed,
            exclusive_in=max(0.0, lease.exclusive_at - now),
        )

    @rule(data=st.data())
    def answered(self, data):
        replies = [item for item in self.flying if item[0] == "reply"]
        if not replies:
            return
        item = data.draw(st.sampled_from(replies))
        self.flying.remove(item)
        self._answer(item)

    def _answer(self, item):
        _, machine, boot, holdings, reply, sent_at = item
        # One heartbeat is under way at a time: an older one's reply is never heard.
        self.flying = [other for other in self.flying if other[1] is not machine or other[5] > sent_at]
        if machine.boot == boot and self.runs(machine):
            self._follow(machine, holdings.learn(reply, sent_at, self.clock(machine)))

    @rule(data=st.data())
    def lost(self, data):
        if self.flying:
            self.flying.remove(data.draw(st.sampled_from(self.flying)))

    @rule(name=st.sampled_from("abc"))
    def due(self, name):
        machine = self.machines[name]
        if self.runs(machine):
            self._follow(machine, machine.holdings.due(self.clock(machine)))

    def _follow(self, machine, steps):
        for step in steps:
            if isinstance(step, Place):
                # The cloud never goes back to an older epoch.
                if step.epoch >= self.placed_epoch[step.address]:
                    self.placed_epoch[step.address] = step.epoch
                    self.place[step.address] = machine.id
                    self._follow(machine, machine.holdings.moved(step.address, step.epoch))
            else:
                assert isinstance(step, Gained | Lost)

    # What phones, providers and the control plane see

    @rule(name=st.sampled_from("abc"), address=st.sampled_from([X, Y]))
    def sends(self, name, address):
        machine = self.machines[name]
        if not self.runs(machine):
            return
        epoch = machine.holdings.served(self.clock(machine)).get(address)
        if epoch is None or (self.driver != "l2" and self.place[address] != machine.id):
            return
        assert epoch >= self.first.get(address, 0), "an older holder's packet after a newer one's"
        self.first[address] = epoch

    @rule(name=st.sampled_from("abc"), address=st.sampled_from([X, Y]))
    def registers(self, name, address):
        machine = self.machines[name]
        if self.runs(machine) and machine.holdings.may_register(address, self.clock(machine)):
            held = machine.holdings.epoch(address)
            known = self.registered.get(address)
            assert known is None or held >= known[1], "an older holder registers after a newer one"
            self.registered[address] = (name, held)

    @rule(name=st.sampled_from("abc"), address=st.sampled_from([X, Y]))
    def writes(self, name, address):
        machine = self.machines[name]
        epoch = machine.holdings.epoch(address)
        lease = self.table.items.get(address)
        accepted = lease is not None and (lease.holder, lease.epoch) == (machine.id, epoch)
        if accepted:
            assert epoch >= self.first.get(address, 0), "an older holder's write after a newer one's packet"

    # A provider account: claimed by whoever holds its address, moved on where nobody does

    @rule(name=st.sampled_from("abc"), address=st.sampled_from([X, Y]))
    def claims(self, name, address):
        machine = self.machines[name]
        epoch = machine.holdings.epoch(address)
        lease = self.table.items.get(address)
        if self.runs(machine) and lease is not None and (lease.holder, lease.epoch) == (name, epoch):
            made = assignment.claim(self.assigned, address, epoch, {})
            if isinstance(made, Assignment):
                self.assigned = made
                machine.claimed.add((address, epoch))

    @rule(name=st.sampled_from("abc"), address=st.sampled_from([X, Y]), region=st.integers(0, 1))
    def adopts(self, name, address, region):
        asking = LeaseEdge(name, self.machines[name].boot, "", "", moves=True)
        now = NOW + self.time + self.skews[region]
        old = self.table.items.get(address)
        if old is None or old.holder == name:
            return
        made = self.table.change(address, lambda old: rules.take(old, asking, old.epoch, False, False, now))
        if isinstance(made, Lease):
            self.adopting[address] = (name, made.epoch)

    @rule(address=st.sampled_from([X, Y]), region=st.integers(0, 1))
    def moves_on(self, address, region):
        """Claimed, given to the other address, and the lease released: at any time later."""
        if address not in self.adopting:
            return
        name, epoch = self.adopting.pop(address)
        claimed = assignment.claim(self.assigned, address, epoch, {})
        if isinstance(claimed, Assignment):
            self.assigned = claimed
            moved = assignment.reassign(self.assigned, address, epoch, Y if address == X else X)
            assert isinstance(moved, Assignment)
            self.assigned = moved
        asking = LeaseEdge(name, self.machines[name].boot, "", "", moves=True)
        now = NOW + self.time + self.skews[region]
        self.table.change(
            address, lambda old: rules.release(old, asking, now) if old.epoch == epoch else Refused("gone")
        )

    @invariant()
    def one_registrant_of_the_account(self):
        if not hasattr(self, "machines"):
            return
        able = [
            (machine.id, address)
            for machine in self.machines.values()
            for address in (X, Y)
            if (address, machine.holdings.epoch(address)) in machine.claimed
            and machine.holdings.may_register(address, self.clock(machine))
        ]
        assert len(able) <= 1, f"{able} could all register the account"

    @invariant()
    def one_registrant(self):
        if not hasattr(self, "machines"):
            return
        for address in (X, Y):
            able = [  # whatever anybody is about to do
                machine.id
                for machine in self.machines.values()
                if machine.holdings.may_register(address, self.clock(machine))
            ]
            assert len(able) <= 1, f"{able} could all register at a provider from {address}"

    def teardown(self):
        """After healing somebody holds every address, and its packets arrive there."""
        if not hasattr(self, "machines"):
            return
        self.links_dead = set()
        self.flying = []
        self.time = max([self.time, *(machine.stopped_until for machine in self.machines.values())])
        for _ in range(50):
            self.time += 0.8
            for name, machine in self.machines.items():
                self.beats(name)
                for item in [item for item in self.flying if item[0] == "beat"]:
                    self.flying.remove(item)
                    self._handle(item, 0)
                for item in [item for item in self.flying if item[0] == "reply"]:
                    self.flying.remove(item)
                    self._answer(item)
                self._follow(machine, machine.holdings.due(self.clock(machine)))
        for address in (X, Y):
            serving = [
                machine.id
                for machine in self.machines.values()
                if address in machine.holdings.served(self.clock(machine))
            ]
            assert len(serving) == 1, f"{address} is served by {serving}"
            if self.driver != "l2":
                assert self.place[address] == serving[0]


class LeasesOnOneWire(Leases):
    driver = "l2"


_settings = settings(max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
TestLeases = Leases.TestCase
TestLeases.settings = _settings
TestLeasesOnOneWire = LeasesOnOneWire.TestCase
TestLeasesOnOneWire.settings = _settings


def asking(name="b", boot="b1", **kwargs):
    return LeaseEdge(name, boot, "m", "c", **{"moves": True, "confirms": True, **kwargs})


def held(renewed=NOW, **kwargs):
    return Lease(
        **{
            "address": X,
            "holder": "a",
            "boot": "a1",
            "epoch": 5,
            "expires_at": renewed + LEASE_SECONDS,
            "mesh": "m",
            "certificate": "c",
            **kwargs,
        }
    )


@pytest.mark.parametrize(
    ("silent", "link_dead", "confirms", "consents", "free"),
    [
        (2.9, True, True, False, False),  # the control plane has heard of it just now
        (3.0, True, True, False, True),  # early: all three conditions
        (3.0, False, True, False, False),
        (3.0, True, False, False, False),
        (11.9, True, False, False, False),  # lease and skew
        (12.0, False, False, False, True),
        (0.1, False, False, True, True),  # handed over
    ],
)
def test_when_an_address_may_be_taken(silent, link_dead, confirms, consents, free):
    made = rules.take(held(), asking(confirms=confirms), 5, link_dead, consents, NOW + silent)
    assert isinstance(made, Lease) == free
    if isinstance(made, Lease):
        assert made.epoch > 5
        assert not made.placed
        early = silent < 12 and not consents
        assert made.exclusive_at == (NOW + LEASE_SECONDS + SKEW if early else NOW + silent)


def test_an_address_that_has_moved_on_is_not_taken():
    assert isinstance(rules.take(held(epoch=6), asking(), 5, True, True, NOW + 60), Refused)


def test_an_epoch_never_goes_back_even_if_the_table_is_made_anew():
    made = rules.hold(X, None, asking(), NOW)
    assert made.epoch == int(NOW)
    again = rules.hold(X, made, asking(boot="b2"), NOW + 0.1)
    assert again.epoch == made.epoch + 1


def test_a_pause_between_the_check_and_the_send_lets_one_packet_out():
    """What checking right before each send can't close without a fence: the bound is one packet for each pause."""
    holdings = Holdings(X, "", "l2", [])
    reply = HeartbeatReply(
        version=2,
        held=[HeldAddress(address=X, epoch=5, seconds=10)],
        fleet=[],
        addresses=[X],
        keys=[],
        domains_version="",
    )
    holdings.learn(reply, 0.0, 0.1)
    holdings.moved(X, 5)
    assert X in holdings.served(8.9)
    # Stopped here for as long as you like, the packet for which this was asked still leaves.
    assert X not in holdings.served(9.0)


# Versions


def test_nothing_is_made_that_an_edge_which_comes_back_could_not_read():
    """Ten minutes after an upgrade it can still be undone; a new fleet has nothing to undo."""
    first = rules.hold(X, None, asking("edge-a", spoken=7), NOW)
    assert first.surely_spoken(NOW) == 7
    old = rules.hold(X, None, asking("edge-a", spoken=6), NOW)
    assert old.surely_spoken(NOW) == 6
    upgraded = rules.hold(X, old, asking("edge-a", "boot2", spoken=7), NOW + 5)
    assert upgraded.surely_spoken(NOW + 600) == 6
    assert upgraded.surely_spoken(NOW + 606) == 7
    again = rules.hold(X, upgraded, asking("edge-a", "boot3", spoken=7), NOW + 10)
    assert again.surely_spoken(NOW + 604) == 6
    assert again.surely_spoken(NOW + 606) == 7
    back = rules.hold(X, again, asking("edge-a", "boot4", spoken=6), NOW + 20)
    assert back.surely_spoken(NOW + 10_000) == 6
