"""Who is asked while a control plane fails."""

from __future__ import annotations

from edge.control.breaker import Breaker


def test_a_bad_answer_to_one_question_costs_the_others_nothing():
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(0.0, silent=False)
        breaker.failed(0.0, silent=False)
        assert not breaker.open(0.0)
        breaker.answered()


def test_bad_answers_in_a_row_cost_a_moment_and_the_moments_grow():
    breaker = Breaker()
    assert not breaker.open(0.0)
    for _ in range(3):
        breaker.failed(0.0, silent=False)
    assert breaker.open(0.2)
    assert not breaker.open(0.6)
    for _ in range(10):
        breaker.failed(1.0, silent=False)
    assert breaker.open(4.9)
    assert not breaker.open(9.1)


def test_silence_is_waited_for_by_heartbeats_only():
    breaker = Breaker()
    breaker.failed(0.0, silent=True)
    assert breaker.open(29.0)
    breaker.answered()
    assert not breaker.open(1.0)
