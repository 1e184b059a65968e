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
    CallLost,
    CallName,
    CallTransferred,
    ProbeReport,
    ProviderReport,
    ReportEnvelope,
)  # fmt: skip
from lambdas.decisions.report import decide
from lambdas.decisions.values import StoredAccount
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

    def wanted(self, tenant, kind):
        return False

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


class Joined(Doubles):
    """Calls c0 and c1 have gone on as one, which has ended."""

    def __init__(self):
        super().__init__(1011.0, fails=False)
        self.tables = SimpleNamespace(calls=self)
        self.told = []

    def wanted(self, tenant, kind):
        return (tenant, kind) == ("t1", "call.ended")

    def ended_with(self, call):
        return [CallName(tenant="t1", call="c0", started=900)]

    def one(self, tenant, started, call):
        return SimpleNamespace(ended=1010.0)

    def call(self, report, data):
        self.told.append((report.call, data()["id"]))


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (ENDED, [("c1", "c1"), ("c0", "c0")]),
        (CallTransferred(tenant="t1", call="c0", started=900, to="c1", to_started=1000, at=1011.0), [("c0", "c0")]),
    ],
)
def test_calls_that_were_put_through_end_for_webhooks_too(applied, monkeypatch, report, told):
    monkeypatch.setattr(reports, "_record", lambda report, services: {"id": report.call})
    doubles = Joined()
    reports.take(ReportEnvelope(version=VERSION, reports=[report]), EDGE, doubles)
    assert doubles.told == told


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


FLOW = ("203.0.113.11", 5060, "udp", "198.51.100.7", 41000, 0)
ACCOUNT = StoredAccount("a@b", "t1", "", "", created=1000)


def _registered(at, **changes):
    made = {"aor": "a@b", "key": "k", "contact": "sip:a@c", "flow": FLOW, "call_id": "x", "cseq": 9, "tenant": "t1"}
    return BindingReport(**{**made, "at": at, "expires": 600, **changes})


def test_what_an_account_of_before_has_left_behind_is_not_its_successors():
    assert decide(_registered(999.0), ACCOUNT, (), 1100.0) == []
    assert decide(_registered(1001.0, tenant="t2"), ACCOUNT, (), 1100.0) == []
    (put,) = decide(_registered(1001.0, tenant=""), ACCOUNT, (), 1100.0)
    assert put.binding.tenant == "t1"
    # Nor does it take away a phone that has the same Call-ID again, as some do for ever.
    gone = _registered(999.0, expires=0)
    assert decide(gone, ACCOUNT, (put.binding,), 1100.0) == []
    assert decide(_registered(1050.0, expires=0), ACCOUNT, (put.binding,), 1100.0)


@pytest.mark.parametrize(("assigned", "kept"), [("203.0.113.11", 1), ("203.0.113.12", 0), (None, 0)])
def test_only_who_registers_an_account_says_how_it_stands(assigned, kept):
    noted = []
    known = SimpleNamespace(address=assigned) if assigned else None
    tables = SimpleNamespace(
        assignments=SimpleNamespace(get=lambda _: known), providers=SimpleNamespace(note=noted.append)
    )
    report = ProviderReport(provider="t1/voip", address="203.0.113.11", state="unregistered", at=1.0)
    reports.take(ReportEnvelope(version=VERSION, reports=[report]), EDGE, SimpleNamespace(tables=tables))
    assert len(noted) == kept


def test_a_lost_call_is_to_be_ended_at_once():
    ended = []
    calls = SimpleNamespace(open=SimpleNamespace(end=lambda *said: ended.append(said)))
    services = Doubles(1011.0, fails=False)
    services.tables = SimpleNamespace(calls=calls)
    report = CallLost(tenant="t1", call="c1", started=1000, why="no media for 60 s")
    assert reports.take(ReportEnvelope(version=VERSION, reports=[report]), EDGE, services).refused == 0
    assert ended == [(("t1#1970-01-01", "0000001000#c1#open"), 1011.0, "no media for 60 s")]
