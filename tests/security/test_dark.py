"""Without control plane: no oracle for passwords, and limits hold."""

from __future__ import annotations

import pytest

from edge.proxy.stack import call_counts, sources
from edge.proxy.stack.call_counts import CallCounts, broken
from lambdas.contract import LoginsFailed, ScopeLimits
from tests.support.world import World

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
