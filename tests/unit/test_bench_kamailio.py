"""``scripts/bench kamailio`` with servers that take what they are told: what it says of them."""

from __future__ import annotations

import hashlib

import pytest

from lambdas.contract import Accept, Challenge, ContactField, Credentials, RegisterQuestion
from scripts import bench_kamailio, bench_servers, quick_control
from scripts.bench_kamailio import Numbers, Rounds, Side
from scripts.fleet_parts import DOMAIN
from scripts.sipp_run import Outcome

NUMBERS = Numbers(fast=3000, slow=30, seconds=0.2, rounds=1, phones=1, settle=0)


class Server:
    def __init__(self, name):
        self.name = name


class Load:
    """Loses something from ``most`` a second on, and one in ``every`` otherwise."""

    def __init__(self, most=1e9, every=0):
        self.most, self.every, self.rates = most, every, []

    def ready(self, case):
        pass

    def run(self, case, rate, seconds):
        self.rates.append(rate)
        lost = rate > self.most or (self.every and len(self.rates) % self.every == 0)
        return Outcome(100, 0, int(lost))

    def close(self):
        pass


def side(name, load=None):
    return Side(Server(name), load or Load(), [1] if name == "edge" else [])


def said(edge, kamailio, control=(), failed=0, retransmitted=0):
    """What is said of a case whose rounds took so many milliseconds for each of 1,000."""
    lines, rounds = [], Rounds()
    for name, values in (("edge", edge), ("kamailio", kamailio)):
        for number, value in enumerate(values):
            rounds.add(
                side(name),
                Outcome(1000, failed, retransmitted),
                value,
                control[number] if name == "edge" and control else 0.0,
            )
    rounds.say(
        lambda case, value, unit, **more: lines.append({"case": case, "value": value, **more}), "x", "register", 30
    )
    return {line["case"]: line for line in lines}


def test_medians_are_compared():
    lines = said([0.32, 0.3, 0.31], [0.1, 0.1, 0.1], [14, 15, 14.5])
    assert lines["x, edge"]["value"] == pytest.approx(0.31)
    assert lines["x, edge"]["rounds"] == [0.32, 0.3, 0.31]
    assert lines["x"]["value"] == pytest.approx(3.1)
    assert (lines["x"]["goal"], lines["x"]["trusted"], "note" in lines["x"]) == (2.5, True, False)
    assert lines["x"]["done"] == {"edge": 3000, "kamailio": 3000}
    assert lines["x, control plane"]["value"] == pytest.approx(14.5)


def test_rounds_that_differ_are_not_trusted():
    line = said([0.3, 0.34, 0.3], [0.1, 0.1, 0.1])["x"]
    assert line["spreads"] == {"edge": 0.13, "kamailio": 0.0}
    assert not line["trusted"]
    assert line["note"] == "the rounds differ by more than 10%: the ratio isn't to be trusted"


def test_rounds_in_which_much_fails_are_not_trusted():
    line = said([0.3] * 3, [0.1] * 3, failed=11, retransmitted=4)["x"]
    assert (line["failed"], line["retransmitted"]) == ({"edge": 33, "kamailio": 33}, {"edge": 12, "kamailio": 12})
    assert line["note"] == "more than 1% failed: the ratio isn't to be trusted"
    assert "note" not in said([0.3] * 3, [0.1] * 3, failed=9)["x"]


def test_the_highest_rate_is_found():
    load = Load(most=7500)
    found = bench_kamailio._highest(load, NUMBERS)
    assert 7500 / 1.07 < found <= 7500
    assert bench_kamailio._highest(Load(most=0), NUMBERS) == 0


def test_a_rate_that_fails_once_is_tried_again():
    assert bench_kamailio._highest(Load(most=7500, every=5), NUMBERS) > 7500 / 1.07


def test_a_load_that_is_late_does_not_do_its_rate(monkeypatch):
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr(bench_kamailio.time, "monotonic", lambda: next(now))
    assert not bench_kamailio._all_done(Load(), 1000, 0.8)
    assert bench_kamailio._all_done(Load(), 1000, 1.0)


def test_cpu_that_is_taken_without_work_is_left_out(monkeypatch):
    """Two seconds of work, one of idleness: 0.1 s of CPU a second belongs to nobody."""
    clock, spent = iter([0.0, 2.0, 3.0]), iter([1.0, 1.9, 2.0])
    monkeypatch.setattr(bench_servers, "cpu_seconds", lambda pids: next(spent))
    monkeypatch.setattr(bench_servers.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(bench_servers.time, "sleep", lambda seconds: None)
    assert bench_servers.spending([[1]], lambda: "done", 1.0) == ("done", [pytest.approx(0.7)])


@pytest.mark.parametrize("password", [quick_control.PASSWORD, "another"])
def test_the_quick_control_plane_knows_its_accounts(password):
    def md5(text):
        return hashlib.md5(text.encode()).hexdigest()

    user, uri = quick_control.username(7), f"sip:{DOMAIN}"
    secret, asked = md5(f"{user}:{DOMAIN}:{password}"), md5(f"REGISTER:{uri}")
    credentials = Credentials(
        username=user, realm=DOMAIN, nonce="n", uri=uri, nc="00000001", cnonce="c", qop="auth", algorithm="MD5",
        response=md5(f"{secret}:n:00000001:c:auth:{asked}"),
    )  # fmt: skip
    contact = ContactField(key="k", uri=f"sip:{user}@192.0.2.1")
    question = RegisterQuestion(
        request="r", address="192.0.2.9", epoch=1, aor=f"{user}@{DOMAIN}", credentials=credentials, contacts=[contact],
        call_id="c1", cseq=2, flow=("192.0.2.9", 5060, "udp", "192.0.2.1", 5060, 0),
    )  # fmt: skip
    decision = quick_control.decide(question)
    if password != quick_control.PASSWORD:
        assert decision == Challenge()
        return
    assert isinstance(decision, Accept)
    assert [(one.contact, one.flow, one.expires) for one in decision.bindings] == [(contact.uri, question.flow, 3600)]
    assert decision.grant.ha1_md5 == secret


def test_what_a_transport_and_a_relay_add_is_said():
    lines = []
    found = {("call", "udp"): 4.0, ("relayed", "udp"): 5.0, ("call", "tls"): 6.0, ("refresh", "wss"): 1.0}
    bench_kamailio._say_what_is_added(lambda *said, **more: lines.append(said), found)
    assert lines == [
        ("relayed udp, edge", 1.25, "times one that isn't relayed"),
        ("call tls, edge", 1.5, "times UDP's"),
    ]
