"""Keep-alives, restarts, dead flows: what keeps a phone behind NAT within reach."""

from __future__ import annotations

import dataclasses

import pytest

from edge.proxy.location.keepalive import Keepalive
from edge.proxy.stack.events import FleetChanged
from edge.sip.flow import Flow
from tests.scenarios.test_calls import answered_call, hang_up
from tests.support.world import DOMAIN, World


@pytest.fixture
def world() -> World:
    return World()


def ping_times(world, phone, seconds, step=0.05):
    times, seen = [], phone.agent.pings
    for _ in range(round(seconds / step)):
        world.run(step)
        times += [world.now] * (phone.agent.pings - seen)
        seen = phone.agent.pings
    return times


def test_first_ping_within_5_s_then_every_15(world):
    phone = world.phone("alice")
    phone.register()
    begun = world.now
    times = ping_times(world, phone, 66)
    assert 2 <= times[0] - begun <= 5
    assert times[1] - times[0] <= 15.1
    gaps = [later - earlier for earlier, later in zip(times[1:], times[2:], strict=False)]
    assert gaps
    assert all(14.9 <= gap <= 15.1 for gap in gaps)


def test_pings_stop_with_the_binding(world):
    phone = world.phone("alice")
    phone.register(expires=60)
    world.run(59)
    assert phone.agent.pings >= 3
    world.run(31)  # the grace, and until somebody looks
    stopped = phone.agent.pings
    world.run(60)
    assert phone.agent.pings == stopped
    phone.register()
    phone.register(expires=0)
    world.run(60)
    assert phone.agent.pings == stopped


def test_only_the_edge_that_holds_the_address_pings(world):
    phone = world.phone("alice")
    phone.register()
    world.run(60)
    assert world.nodes["edge-a"].core.stack.counters["pings"] >= 4
    assert world.nodes["edge-b"].core.stack.counters["pings"] == 0


def test_several_accounts_on_one_flow_are_pinged_once(world):
    one = world.phone("alice")
    one.register()
    two = world.phone("bob")
    two.public, two.agent.received = one.public, one.agent.received
    two.register()
    world.run(61)
    assert len(world.nodes["edge-a"].core.stack.keepalive) == 1
    assert one.agent.pings <= 6


def test_any_final_answer_keeps_a_nat_that_refreshes_on_outbound_only(world):
    alice = world.phone("alice", "edge-b")
    phone = world.phone("bob", nat=20.0, inbound_refresh=False)
    alice.register()
    phone.register()
    world.run(120)
    assert phone.dropped == 0
    answered_call(world, alice, phone)
    phone.agent.answers_options = False
    world.run(60)
    assert phone.dropped > 0, "this NAT is honest: without answers it closes"


def test_silent_for_two_minutes_then_called_through_the_other_edge(world):
    alice, bob = world.phone("alice", "edge-b", nat=20.0), world.phone("bob", "edge-a", nat=20.0)
    alice.register()
    bob.register()
    world.run(120)
    dialog, _ = answered_call(world, alice, bob)
    world.run(120)
    hang_up(world, alice, dialog, bob)


def test_a_packet_from_the_other_edge_would_be_dropped(world):
    phone = world.phone("bob", "edge-a", nat=30.0)
    phone.register()
    other = world.nodes["edge-b"]
    other.transmit(Flow(other.address, 5060, "udp", *phone.public), b"OPTIONS sip:bob SIP/2.0\r\n\r\n")
    assert phone.dropped == 1


@pytest.mark.parametrize("restarted", ["edge-a", "edge-b"])
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_restart_loses_no_answered_call(world, restarted, who):
    alice, bob = world.phone("alice", "edge-a", nat=30.0), world.phone("bob", "edge-b", nat=30.0)
    alice.register()
    bob.register()
    dialog, other = answered_call(world, alice, bob)
    world.restart(restarted)
    one, mine, two = (alice, dialog, bob) if who == "caller" else (bob, other, alice)
    two.agent.received.clear()
    one.agent.received.clear()
    one.send(one.agent.in_dialog(mine, "INVITE").to_bytes())
    got = world.wait(lambda: next(iter(two.agent.requests("INVITE")), None))
    two.send(two.agent.response(got, 200).to_bytes())
    world.wait(lambda: 200 in one.agent.statuses("INVITE"))
    hang_up(world, one, mine, two)


def test_restart_keeps_registered_phones_within_reach_and_pinged(world):
    alice, bob = world.phone("alice", "edge-b"), world.phone("bob", "edge-a", nat=30.0)
    alice.register()
    bob.register()
    world.run(20)
    world.restart("edge-a")
    world.run(100)
    assert bob.dropped == 0
    answered_call(world, alice, bob)


def test_a_phone_that_has_moved_to_the_other_edge_is_called_there_before_its_old_edge_hears_of_it(world):
    alice = world.phone("alice", "edge-a")
    before, after = world.phone("bob", "edge-a"), world.phone("bob", "edge-b")
    before.agent.instance = after.agent.instance = "urn:uuid:7"
    after.agent.call_id += "-there"
    assert alice.register() == before.register() == after.register() == 200
    alice.start_call(f"sip:bob@{DOMAIN}")
    world.wait(lambda: after.agent.requests("INVITE"))
    assert not before.agent.requests("INVITE")


def test_tcp_phone_is_reached_once_it_has_reconnected(world):
    alice, bob = world.phone("alice", "edge-a"), world.phone("bob", "edge-b", transport="TCP")
    alice.register()
    bob.register()
    dialog, other = answered_call(world, alice, bob)
    world.restart("edge-b")
    world.run(1)
    stuck = alice.agent.in_dialog(dialog, "INFO")
    alice.send(stuck.to_bytes())
    world.wait(lambda: alice.agent.final(stuck))
    assert alice.agent.final(stuck).status == 430
    bob.connect()
    bob.register()
    hang_up(world, alice, dialog, bob)
    answered_call(world, alice, bob)


def test_new_nat_mapping_in_the_middle_of_a_call(world):
    """The router rebooted, the phone has registered from a new port: the token's flow is dead, the binding isn't."""
    for edge in ("edge-a", "edge-b"):
        alice, bob = world.phone("alice", edge), world.phone("bob", "edge-b")
        alice.agent.host, bob.agent.host = f"10.1.0.{ord(edge[-1])}", f"10.2.0.{ord(edge[-1])}"
        alice.register()
        bob.register()
        bob.agent.instance = ""
        others = [item for item in world.control.items.values() if item.aor == f"bob@{DOMAIN}"]
        for item in others:
            if bob.agent.host not in item.contact:
                del world.control.items[item.aor, item.key, item.address]
        dialog, _ = answered_call(world, alice, bob)
        del world.phones[bob.public]
        bob.public = (bob.public[0], bob.public[1] + 1000)
        world.phones[bob.public] = bob
        bob.register()
        hang_up(world, alice, dialog, bob)


def test_the_other_sides_edge_is_down(world):
    """Its address is still ours, though nobody holds it: the request finds no flow, and must not come back to its sender."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    dialog, _ = answered_call(world, alice, bob)
    world.nodes["edge-b"].alive = False
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    world.wait(lambda: alice.agent.final(bye))
    assert alice.agent.final(bye).status == 430
    assert not alice.agent.requests("BYE")


def test_losing_the_address_stops_the_pings(world):
    phone = world.phone("alice")
    phone.register()
    world.run(20)
    node = world.nodes["edge-a"]
    node.handle(FleetChanged(dataclasses.replace(world.fleet(node), epochs={})))
    pings = phone.agent.pings
    world.run(60)
    assert phone.agent.pings == pings


def test_flow_token_of_another_call_or_place_is_refused(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    dialog, _ = answered_call(world, alice, bob)
    for spoil in (
        lambda d: setattr(d, "call_id", "another"),
        lambda d: d.routes.__setitem__(1, d.routes[1].replace("203.0.113.12", "203.0.113.11")),
        lambda d: d.routes.__setitem__(1, d.routes[1].replace("sip:", "sip:A")),
    ):
        import copy

        bad = copy.deepcopy(dialog)
        spoil(bad)
        request = alice.agent.in_dialog(bad, "INFO")
        alice.send(request.to_bytes())
        world.wait(lambda request=request: alice.agent.final(request))
        assert alice.agent.final(request).status == 403


def test_a_flow_token_routes_nothing_outside_a_dialog(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    dialog, _ = answered_call(world, alice, bob)
    request = alice.agent.request(
        "MESSAGE", f"sip:bob@{DOMAIN}", headers=[f"Route: {r}" for r in dialog.routes], call_id=dialog.call_id
    )
    alice.send(request.to_bytes())
    world.wait(lambda: alice.agent.final(request))
    assert alice.agent.final(request).status == 407


def test_dark_control_plane_calls_in_progress_go_on(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    dialog, _ = answered_call(world, alice, bob)
    world.control.dark = True
    hang_up(world, alice, dialog, bob)


class TestKeepalive:
    def flows(self, count):
        return [Flow("203.0.113.11", 5060, "udp", f"198.51.{i // 250}.{i % 250}", 5060) for i in range(count)]

    def simulate(self, keepalive, start, seconds, step=0.02):
        sent = []
        ticks = round(seconds / step)
        for tick in range(ticks):
            now = start + tick * step
            sent += [(now, flow) for flow in keepalive.due(now)]
        return sent

    def worst(self, times, window=0.1):
        worst, first = 0, 0
        for last, time in enumerate(times):
            while times[first] <= time - window:
                first += 1
            worst = max(worst, last - first + 1)
        return worst

    @pytest.mark.parametrize("fresh", [True, False])
    def test_ten_thousand_flows_are_spread(self, fresh):
        keepalive = Keepalive(15.0)
        flows = self.flows(10_000)
        now, sent = 100.0, []
        for index, flow in enumerate(flows):
            keepalive.add(flow, now, fresh)
            if index % 100 == 99:  # 1,000 registrations a second
                sent += self.simulate(keepalive, now, 0.1)
                now += 0.1
        sent += self.simulate(keepalive, now, 60)
        settled = [time for time, _ in sent if time > now + 20]
        mean = 10_000 / 15 * 0.1
        assert abs(len(settled) / 40 - 10_000 / 15) < 20
        assert self.worst(settled) <= 2 * mean
        by_flow: dict = {}
        for time, flow in sent:
            by_flow.setdefault(flow, []).append(time)
        assert len(by_flow) == 10_000
        for times in by_flow.values():
            assert max(b - a for a, b in zip(times, times[1:], strict=False)) <= 15.5

    def test_a_stalled_process_does_not_burst(self):
        keepalive = Keepalive(15.0)
        for flow in self.flows(10_000):
            keepalive.add(flow, 0.0, fresh=False)
        self.simulate(keepalive, 0.0, 15)
        sent = self.simulate(keepalive, 18.0, 15)  # 3 s of silence before
        assert self.worst([time for time, _ in sent]) <= 2 * 10_000 / 15 * 0.1

    def test_too_short_an_interval(self):
        with pytest.raises(ValueError, match="at least 5 s"):
            Keepalive(1)
