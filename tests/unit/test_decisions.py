"""The pure decisions, and the order in which registrations win."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdas.contract import Accept, Challenge, ContactField, Credentials, RegisterQuestion, Reject
from lambdas.decisions.digest import ha1, refuse, verify
from lambdas.decisions.register import Expiries, RegisterFacts, decide
from lambdas.decisions.values import StoredAccount, StoredBinding, newest, present

AOR = "alice@example.com"
ACCOUNT = StoredAccount(
    AOR, "t1", ha1("MD5", "alice", "example.com", "pw"), ha1("SHA-256", "alice", "example.com", "pw")
)
NOW = 1_800_000_000.0


def credentials(method="REGISTER", algorithm="MD5", password="pw", qop="auth") -> Credentials:
    import hashlib

    hasher = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]

    def digest(text):
        return hasher(text.encode()).hexdigest()

    first = digest(f"alice:example.com:{password}")
    middle = "n:00000001:c:auth" if qop else "n"
    response = digest(f"{first}:{middle}:{digest(f'{method}:sip:example.com')}")
    return Credentials(
        username="alice", realm="example.com", nonce="n", uri="sip:example.com", response=response,
        algorithm=algorithm, qop=qop, nc="00000001" if qop else "", cnonce="c" if qop else "",
    )  # fmt: skip


_requests = itertools.count()


def question(
    cseq, address="203.0.113.11", call_id="c1", expires=3600, key="k", request="", nonce_made=0.0
) -> RegisterQuestion:
    return RegisterQuestion(
        request=request or f"r{next(_requests)}",
        address=address,
        epoch=1,
        aor=AOR,
        credentials=credentials(),
        contacts=[ContactField(key=key, uri=f"sip:alice@10.0.0.9;cseq={cseq}", expires=expires)],
        call_id=call_id,
        cseq=cseq,
        flow=(address, 5060, "udp", "198.51.100.1", 5060, 0),
        nonce_made=nonce_made,
    )


class Table:
    """Conditional writes, all or none."""

    def __init__(self):
        self.items = {}

    def facts(self):
        return RegisterFacts(ACCOUNT, tuple(self.items.values()))

    def write(self, puts):
        for put in puts:
            old = self.items.get((put.binding.key, put.binding.address))
            if (old.revision if old else None) != put.seen:
                return False
        self.items |= {(put.binding.key, put.binding.address): put.binding for put in puts}
        return True


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", ["auth", ""])
def test_digest(algorithm, qop):
    assert verify(credentials(algorithm=algorithm, qop=qop), "REGISTER", ACCOUNT)
    assert not verify(credentials(algorithm=algorithm, qop=qop, password="no"), "REGISTER", ACCOUNT)
    assert not verify(credentials(algorithm=algorithm, qop=qop), "INVITE", ACCOUNT)
    assert not verify(credentials(algorithm=algorithm, qop=qop), "REGISTER", None)


def test_unknown_algorithms_and_qop_are_asked_for_again():
    for change in ({"algorithm": "SHA-512"}, {"qop": "auth-int"}):
        refusal = refuse(credentials().model_copy(update=change), "REGISTER", ACCOUNT, AOR)
        assert isinstance(refusal, Challenge)


def test_rfc_7616_example():
    """§3.9.1: user Mufasa, "Circle of Life"."""
    realm = "http-auth@example.org"
    account = StoredAccount(
        "x", "t", ha1("MD5", "Mufasa", realm, "Circle of Life"), ha1("SHA-256", "Mufasa", realm, "Circle of Life")
    )
    common = {
        "username": "Mufasa", "realm": realm, "uri": "/dir/index.html", "nc": "00000001", "qop": "auth",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    }  # fmt: skip
    for algorithm, response in (
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        assert verify(Credentials(algorithm=algorithm, response=response, **common), "GET", account)


def test_a_repeated_question_changes_nothing_and_is_accepted():
    table = Table()
    first = question(5, request="same")
    assert table.write(decide(first, table.facts(), NOW, Expiries()).puts)
    again = decide(first, table.facts(), NOW + 1, Expiries())
    assert isinstance(again.decision, Accept)
    assert again.puts == ()


def test_all_or_nothing():
    table = Table()
    assert table.write(decide(question(5, key="old"), table.facts(), NOW, Expiries()).puts)
    mixed = question(4).model_copy(
        update={"contacts": [ContactField(key="new", uri="sip:n@x"), ContactField(key="old", uri="sip:o@x")]}
    )
    outcome = decide(mixed, table.facts(), NOW, Expiries())
    assert isinstance(outcome.decision, Reject)
    assert outcome.puts == ()


@settings(max_examples=300)
@given(st.permutations(range(1, 6)), st.data())
def test_races_between_edges_end_in_cseq_order(order, data):
    """Five REGISTERs of one Call-ID, at two edges, in any order, each decided on facts that may be stale by the time it
    writes: the one with the highest CSeq stands, or has removed the binding."""
    table = Table()
    removes = data.draw(st.sets(st.sampled_from(order)))
    addresses = {cseq: f"203.0.113.{11 + data.draw(st.integers(0, 1))}" for cseq in order}
    now, waiting = NOW, []
    for cseq in order:
        asked = question(cseq, addresses[cseq], expires=0 if cseq in removes else 3600)
        waiting.append((asked, table.facts()))
        now += 1
        while waiting and (data.draw(st.booleans()) or len(waiting) > 2):
            late, facts = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            while not table.write((outcome := decide(late, facts, now, Expiries())).puts):
                facts = table.facts()
                assert outcome.puts
    for late, facts in waiting:
        while not table.write(decide(late, facts, now, Expiries()).puts):
            facts = table.facts()
    found = present(table.items.values(), now)
    last = max(order)
    if last in removes:
        assert found == []
    else:
        assert [item.contact for item in found] == [f"sip:alice@10.0.0.9;cseq={last}"]


@settings(max_examples=300)
@given(st.data())
def test_a_restarted_phone_races_what_it_sent_before(data):
    """REGISTERs of one Call-ID at two edges, decided late and on stale facts, each with a nonce that was made before it
    was sent. Half-way the phone starts anew: from CSeq 1, once all that it had sent has taken effect or is refused, with
    a nonce that is younger still. What counts is what it said last, and nothing of its life before comes back."""
    table = Table()
    now = NOW
    stands = None
    for life in range(2):
        waiting = []
        removes = data.draw(st.sets(st.integers(1, 4)))
        nonces = {}
        for cseq in range(1, 5):
            now += 1
            # A phone uses its nonce again, or gets a new one.
            nonces[cseq] = nonces[cseq - 1] if cseq > 1 and data.draw(st.booleans()) else now
            address = f"203.0.113.{11 + data.draw(st.integers(0, 1))}"
            asked = question(cseq, address, expires=0 if cseq in removes else 3600, nonce_made=nonces[cseq])
            asked = asked.model_copy(update={"user_agent": f"{life}"})
            waiting.append((asked, table.facts()))
        last = waiting[-1][0]
        for late, facts in data.draw(st.permutations(waiting)):
            now += 0.1
            while not table.write((outcome := decide(late, facts, now, Expiries())).puts):
                facts = table.facts()
            if late is last:
                assert isinstance(outcome.decision, Accept)
        stands = None if 4 in removes else f"{life}"
        found = present(table.items.values(), now)
        assert [item.user_agent for item in found] == ([] if stands is None else [stands])
        assert all(item.cseq == 4 for item in found)


def test_a_restarted_phone_at_another_edge_leaves_nothing_that_counts_for_more():
    """Though its CSeq is lower than what its first edge has of it."""
    table = Table()
    assert table.write(decide(question(9, nonce_made=NOW - 10), table.facts(), NOW, Expiries()).puts)
    late = question(8, "203.0.113.12", nonce_made=NOW - 10)
    assert isinstance(decide(late, table.facts(), NOW + 5, Expiries()).decision, Reject)
    anew = question(2, "203.0.113.12", nonce_made=NOW + 1)
    assert table.write(decide(anew, table.facts(), NOW + 5, Expiries()).puts)
    assert [(item.cseq, item.address) for item in present(table.items.values(), NOW + 6)] == [(2, "203.0.113.12")]
    back = question(3, "203.0.113.11", nonce_made=NOW + 1)
    assert table.write(decide(back, table.facts(), NOW + 7, Expiries()).puts)
    assert [(item.cseq, item.address) for item in present(table.items.values(), NOW + 8)] == [(3, "203.0.113.11")]


def stored(key, call_id, cseq, at, address="a", removed=False) -> StoredBinding:
    flow = (address, 5060, "udp", "h", 1, 0)
    return StoredBinding(
        aor=AOR, key=key, flow=flow, contact="sip:x", call_id=call_id, cseq=cseq, registered_at=at, changed_at=at,
        expires_at=NOW + 60, revision=f"{call_id}{cseq}{address}", tenant="t1", removed=removed,
    )  # fmt: skip


def test_newest_takes_cseq_within_a_call_id_and_time_between_them():
    late_but_older = stored("k", "c1", 5, 200, "a")
    newer = stored("k", "c1", 6, 100, "b")
    assert newest([late_but_older, newer])["k"] is newer
    rebooted = stored("k", "c2", 1, 300, "a")
    assert newest([late_but_older, newer, rebooted])["k"] is rebooted


def test_a_tombstone_wins_over_an_older_register_under_way():
    assert present([stored("k", "c1", 6, 100, "a", removed=True), stored("k", "c1", 5, 200, "b")], NOW) == []
