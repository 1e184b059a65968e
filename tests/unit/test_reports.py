"""What edges report, where the queue of webhooks takes nothing: records are kept, and don't wait for ever."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lambdas.api import reports
from lambdas.api.problems import Problem
from lambdas.contract import VERSION, CallEnded, ReportEnvelope
from lambdas.repositories.hooks import NotTold

ENDED = CallEnded(tenant="t1", call="c1", started=1000, ended=1010.0, by="caller")
BATCH = ReportEnvelope(version=VERSION, reports=[ENDED] * 5)
EDGE = SimpleNamespace(id="edge-a")


class Doubles:
    """Services whose queue takes nothing if it ``fails``."""

    def __init__(self, now, fails):
        self.clock = lambda: now
        self._fails = fails
        self.notices = self
        self.asked = 0

    def call(self, report, data):
        self.asked += 1
        if self._fails:
            raise NotTold("QueueDoesNotExist")


@pytest.fixture
def applied(monkeypatch):
    found = []
    monkeypatch.setattr(reports, "_apply", lambda report, services: found.append(report))
    return found


@pytest.mark.parametrize("now", [1011.0, 1609.0])
def test_a_queue_that_takes_nothing_has_all_of_them_come_again(applied, now):
    doubles = Doubles(now, fails=True)
    with pytest.raises(Problem) as caught:
        reports.take(BATCH, EDGE, doubles)
    assert (caught.value.status, len(applied), doubles.asked) == (503, 5, 1)


def test_records_dont_wait_for_it_for_ever(applied):
    doubles = Doubles(1611.0, fails=True)
    assert reports.take(BATCH, EDGE, doubles).refused == 0
    assert (len(applied), doubles.asked) == (5, 1)


def test_what_it_takes_is_done_with(applied):
    doubles = Doubles(1011.0, fails=False)
    assert reports.take(BATCH, EDGE, doubles).refused == 0
    assert (len(applied), doubles.asked) == (5, 5)
