"""Which questions may be asked twice."""

from __future__ import annotations

from edge.control.hedging import LEAST, TROUBLED, Hedges


def asked(number: int, now: float) -> Hedges:
    hedges = Hedges()
    for _ in range(number):
        hedges.asked(now)
    return hedges


def test_what_nineteen_of_twenty_take_isnt_slow():
    hedges = Hedges()
    for _ in range(19):
        hedges.answered(0.1)
    assert hedges.after is None
    hedges.answered(5.0)
    assert hedges.after == 0.1
    for _ in range(200):
        hedges.answered(0.001)
    assert hedges.after == LEAST


def test_one_in_twenty_of_a_minutes_questions_is_asked_twice():
    hedges = asked(100, 10.0)
    assert [hedges.take(11.0) for _ in range(7)] == [True] * 5 + [False] * 2
    for _ in range(20):
        hedges.asked(50.0)
    assert [hedges.take(50.0) for _ in range(2)] == [True, False]
    assert not hedges.take(70.5)  # the hundred are past, and what was taken for them counts a second longer
    assert hedges.take(71.5) is False
    for _ in range(40):
        hedges.asked(72.0)
    assert [hedges.take(72.0) for _ in range(3)] == [True, True, False]


def test_few_questions_are_never_asked_twice():
    assert not asked(19, 5.0).take(5.0)
    assert asked(20, 5.0).take(5.0)


def test_nothing_is_asked_twice_while_there_is_trouble():
    hedges = asked(100, 10.0)
    hedges.failed(10.0)
    assert not hedges.take(10.0 + TROUBLED - 0.1)
    assert hedges.take(10.0 + TROUBLED)
