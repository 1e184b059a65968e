"""Without control plane: no oracle for passwords, and limits hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack import call_counts, sources
from edge.proxy.stack.call_counts import CallCounts, broken
from lambdas.contract import LoginsFailed, ScopeLimits
from lambdas.decisions.limits import CallLimits
from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

AT = 1_800_000_000.0


@pytest.fixture
def world():
    return World(beating=True)


def guess(world, phone, password):
    world.run(0.2)
    phone.agent.password = password
    return phone.register()


def test_guesses_are_counted_refused_and_reported(world):
    home, guesser = world.phone("alice"), world.phone("alice")
    assert home.register() == 200
    world.control.dark = True
    world.run(30)
    assert [guess(world, guesser, f"wrong{number}") for number in range(9)] == [503] * 9
    assert guess(world, guesser, "pw-alice") == 503  # the right one as well: nobody learns it
    node = world.nodes["edge-a"]
    (counted,) = {report.times for report in node.journal if isinstance(report, LoginsFailed)}
    assert counted == 1
    reports = [report for report in node.journal if isinstance(report, LoginsFailed)]
    assert len(reports) == sources.FAILURES
    assert {(report.account, report.source) for report in reports} == {("alice@example.com", guesser.public[0])}
    assert home.register() == 200  # whose home it is goes on
    world.run(sources.REFUSED_IN_THE_DARK + 1)
    assert guess(world, guesser, "pw-alice") == 200


def test_a_flood_of_guesses_is_slowed_whatever_names_it_brings(world):
    guesser = world.phone("alice")
    world.control.dark = True
    world.run(30)
    answered = 0
    for number in range(60):
        guesser.agent.username = f"user{number}"
        request = guesser.agent.register_request()
        guesser.send(request.to_bytes())
        world.run(0.2)
        guesser.send(guesser.agent.authorize(request, guesser.agent.final(request)).to_bytes())
        world.run(0.2)
        answered += guesser.agent.statuses("REGISTER")[-1] == 503
    assert answered <= sources.QUESTIONS + 60 * 0.4 * sources.QUESTIONS_PER_SECOND + 1


# Usage


def limits(**values) -> ScopeLimits:
    return ScopeLimits(scope="t1", **values)


def use(counts: CallCounts, wall: float):
    return [counts.of("t1", wall)]


def test_calls_at_once_are_counted_until_their_end():
    counts, one = CallCounts(), limits(concurrent_calls=2)
    counts.begin("a", ["t1"], AT)
    counts.begin("b", ["t1"], AT)
    counts.begin("b", ["t1"], AT)
    assert "2 calls at once" in broken(one, use(counts, AT))
    counts.over("a", AT)
    assert not broken(one, use(counts, AT))
    counts.answered("b", "leg", 0.0, 0, AT)
    counts.begin("c", ["t1"], AT)
    assert broken(one, use(counts, AT + 60))
    assert counts.leg_over("leg", AT + 60)
    assert not counts.leg_over("leg", AT + 60)
    assert not broken(one, use(counts, AT + 60))
    counts.begin("d", ["t1"], AT + 60)
    assert not broken(one, use(counts, AT + call_counts.SETUP + 61))  # nobody has said what became of them
    assert len(counts) == 0


def test_calls_of_a_minute_and_a_day():
    counts = CallCounts()
    counts.note([limits(calls_per_day=5, today=3)], AT)
    (told,) = counts.limits(["t1"], [], AT)
    assert not broken(told, use(counts, AT))
    counts.begin("a", ["t1"], AT, undecided=True)
    assert not broken(told, use(counts, AT))
    counts.begin("b", ["t1"], AT, undecided=True)
    assert "5 calls today" in broken(told, use(counts, AT))
    assert not broken(told, use(counts, AT + 86_400))
    assert "2 calls in this minute" in broken(limits(calls_per_minute=2), use(counts, AT))
    assert not broken(limits(calls_per_minute=2), use(counts, AT + 60))


def test_money_runs_out_while_calls_go_on():
    counts = CallCounts()
    counts.note([limits(daily_spend=1.0, spent=0.5)], AT)
    (told,) = counts.limits(["t1"], [], AT)
    counts.begin("a", ["t1"], AT)
    counts.answered("a", "leg", 0.1, 0, AT)
    assert not broken(told, use(counts, AT + 290))
    assert "1 spent today" in broken(told, use(counts, AT + 301))
    counts.leg_over("leg", AT + 310)
    assert broken(told, use(counts, AT + 400))  # what is spent is spent


def test_edges_add_up_what_they_have_counted():
    here, there = CallCounts(), CallCounts()
    here.note([limits(calls_per_day=4, today=1)], AT)
    there.note([limits(calls_per_day=4, today=2)], AT + 1)
    for one in (here, there):
        one.begin("a", ["t1"], AT + 2, undecided=True)
    assert broken(limits(calls_per_day=4), [here.of("t1", AT + 3), there.of("t1", AT + 3)])
    assert not broken(limits(calls_per_day=5), [here.of("t1", AT + 3), there.of("t1", AT + 3)])


def test_tables_have_bounds(monkeypatch):
    monkeypatch.setattr(call_counts, "_MOST", 10)
    counts = CallCounts()
    for number in range(100):
        counts.begin(f"call{number}", [f"t{number}"], AT)
    assert len(counts) <= 10
    assert len(counts._scopes) <= 10


# Calls


@pytest.fixture
def office():
    """Two phones at two edges, a provider, and a tenant whose limits are told with each decision."""
    world = World(beating=True)
    world.control.settings = TenantSettings(
        "GB", (), (StoredRoute("", ("voip",)),), international=True, premium=True, tenant="t1"
    )
    provider = ProviderDouble(world)
    provider.asks = False
    assign(world, account())
    world.run(2)
    phones = [world.phone("alice", "edge-a"), world.phone("bob", "edge-b")]
    for phone in phones:
        assert phone.register() == 200
    return world, provider, phones


def with_limits(world, **values):
    world.control.settings = replace(world.control.settings, limits=CallLimits(**values))


def dial(world, provider, phone, number="02079460000", hang_up=True):
    """The final status of a call, which is answered at once, and ended unless it is to go on."""
    before = len(provider.agent.requests("INVITE"))
    headers = [f"Contact: {phone.agent.contact}"]
    invite = phone.agent.request("INVITE", f"sip:{number}@{DOMAIN}", headers=headers)
    phone.send(invite.to_bytes())
    challenge = world.wait(lambda: next(iter(phone.agent.responses("INVITE", invite.get("call-id"))), None))
    phone.ack_refusal(invite, challenge)
    invite = phone.agent.authorize(invite, challenge)
    phone.send(invite.to_bytes())

    def arrived():
        return provider.agent.requests("INVITE")[before:] or phone.agent.final(invite)

    world.wait(arrived)
    if phone.agent.final(invite) is not None:
        return phone.agent.final(invite).status
    provider.answer(provider.agent.response(provider.agent.requests("INVITE")[before], 200))
    final = world.wait(lambda: phone.agent.final(invite))
    dialog = phone.agent.caller_dialog(invite, final)
    phone.send(phone.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    if hang_up:
        phone.send(phone.agent.in_dialog(dialog, "BYE").to_bytes())
        bye = world.wait(lambda: provider.agent.requests("BYE"))[-1]
        provider.answer(provider.agent.response(bye, 200))
        provider.agent.received.clear()
        world.run(1)
    return final.status


def darken(world):
    world.control.dark = True
    world.run(12)


def test_calls_of_a_day_are_counted_by_all_edges_together(office):
    world, provider, phones = office
    with_limits(world, calls_per_day=4)
    assert [dial(world, provider, phone) for phone in phones] == [200, 200]
    darken(world)
    alice, bob = phones
    assert [dial(world, provider, phone) for phone in (alice, bob)] == [200, 200]
    assert [dial(world, provider, phone) for phone in (alice, bob, alice)] == [403, 403, 403]
    for node in world.nodes.values():
        assert node.core.stack.counters["undecided_refusals"] > 0


def test_calls_at_once_are_counted_by_all_edges_together(office):
    world, provider, (alice, bob) = office
    with_limits(world, concurrent_calls=2)
    assert [dial(world, provider, phone) for phone in (alice, bob)] == [200, 200]
    darken(world)
    assert dial(world, provider, alice, hang_up=False) == 200
    assert dial(world, provider, bob, hang_up=False) == 200
    assert [dial(world, provider, phone) for phone in (alice, bob)] == [403, 403]


def test_an_end_that_another_edge_sees_frees_the_room(office):
    """The provider is at the other edge, and hangs up."""
    world, provider, (_, bob) = office
    with_limits(world, concurrent_calls=1)
    assert dial(world, provider, bob) == 200
    darken(world)
    for _ in range(3):
        assert dial(world, provider, bob, hang_up=False) == 200
        (invite,) = provider.agent.requests("INVITE")
        theirs = provider.agent.callee_dialog(invite, provider.agent.response(invite, 200))
        provider.send(provider.agent.in_dialog(theirs, "BYE").to_bytes())
        bye = world.wait(lambda: bob.agent.requests("BYE"))[-1]
        bob.send(bob.agent.response(bye, 200).to_bytes())
        world.run(1)
        provider.agent.received.clear()
        bob.agent.received.clear()


@pytest.mark.parametrize("number", ["09098790000", "+33909879000"])
def test_costly_numbers_wait_for_the_light(office, number):
    world, provider, (alice, _) = office
    assert dial(world, provider, alice, number) == 200
    assert dial(world, provider, alice) == 200
    darken(world)
    assert dial(world, provider, alice, number) in (480, 503)
    assert dial(world, provider, alice) == 200
    world.control.dark = False
    world.run(12)
    world.control.settings = replace(world.control.settings, costly_without_control_plane=True)
    assert dial(world, provider, alice, number) == 200
    darken(world)
    assert dial(world, provider, alice, number) == 200


def test_emergency_calls_go_out_in_the_dark_whatever_is_used_up(office):
    world, provider, (alice, _) = office
    world.control.settings = replace(world.control.settings, emergency=("voip",))
    with_limits(world, calls_per_day=2)
    assert dial(world, provider, alice, "999") == 200
    assert [dial(world, provider, alice) for _ in range(2)] == [200, 200]
    darken(world)
    assert dial(world, provider, alice) == 403
    assert dial(world, provider, alice, "999") == 200
