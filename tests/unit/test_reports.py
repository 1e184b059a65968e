"""What edges report, where the queue of webhooks takes nothing: records are kept, and don't wait for ever."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lambdas.api.edges import reports
from lambdas.api.problems import Problem
from lambdas.contract import (
    VERSION,
    BindingReport,
    CallAnswered,
    CallEnded,
    CallFailed,
    ProbeReport,
    ProviderReport,
    ReportEnvelope,
)  # fmt: skip
from lambdas.repositories.hooks import NotTold

ENDED = CallEnded(tenant="t1", call="c1", started=1000, ended=1010.0, by="caller")
BATCH = ReportEnvelope(version=VERSION, reports=[ENDED] * 5)
EDGE = SimpleNamespace(id="edge-a", addresses=["203.0.113.11"])


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


def _all_about(address, edge):
    flow = (address, 5060, "udp", "198.51.100.7", 41000, 0)
    call = {"tenant": "t1", "call": "c1", "call_id": "x", "caller": "a@b", "called": "c@d", "started": 1000}
    return [
        BindingReport(
            aor="a@b", key="k", contact="sip:a@c", flow=flow, call_id="x", cseq=1, at=1.0, expires=60, tenant="t1"
        ),
        CallAnswered(**call, answered=1001.0, edges=(address, "203.0.113.99")),
        CallFailed(**call, ended=1001.0, status=486, address=address),
        ProviderReport(provider="t1/voip", address=address, state="registered", at=1.0),
        ProbeReport(edge=edge, address="203.0.113.99", at=1.0, register_seconds=0.1, register_status=200),
    ]


@pytest.mark.parametrize(("address", "edge", "taken"), [("203.0.113.11", "edge-a", 5), ("203.0.113.12", "edge-b", 0)])
def test_an_edge_speaks_for_itself_only(applied, address, edge, taken):
    found = _all_about(address, edge)
    receipt = reports.take(ReportEnvelope(version=VERSION, reports=found), EDGE, Doubles(1011.0, fails=False))
    assert (len(applied), receipt.refused) == (taken, 5 - taken)
