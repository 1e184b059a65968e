"""What the holder of an address makes of orders: which session, offer or answer, and whether the engine has to know."""

from __future__ import annotations

import json

import pytest

from edge.media.orders import (
    ANSWER,
    DESCRIBE,
    DESCRIPTION,
    DROP,
    DROP_BRANCH,
    ENGINE,
    FULL,
    OFFER,
    RESTORE,
    UNKNOWN,
    MediaOrder,
    MediaReply,
    Needs,
)
from edge.media.sessions import Sessions
from tests.support.media import description

WEB = description("198.51.100.9", 4000, "a=rtcp-mux", "a=ice-ufrag:x", profile="UDP/TLS/RTP/SAVPF")
ONE, TWO, THREE = (description(f"198.51.100.{number}", 4000) for number in (1, 2, 3))


class Engine:
    """What an rtpengine would answer, and what it was told."""

    def __init__(self, capacity=100, near=False):
        self.sessions = Sessions(capacity, near)
        self.told = []
        self.calls = {}
        self.error = ""

    def give(self, order):
        step = self.sessions.take(order, 1.0)
        answers = [self._answer(command) for command in step.commands]
        return self.sessions.took(step, order, [answer for answer in answers if answer is not None])

    def _answer(self, command):
        if self.error:
            return {"result": "error", "error-reason": self.error} if self.error != "silent" else None
        self.told.append((command["command"], command["call-id"]))
        if command["command"] == "delete":
            self.calls.pop(command["call-id"], None)
            return {"result": "ok"}
        ends = self.calls.setdefault(command["call-id"], {})
        describes, other = ("from-tag", "to-tag") if command["command"] == OFFER else ("to-tag", "from-tag")
        ends.setdefault(command[other], None)
        ends[command[describes]] = command
        return {"result": "ok", "sdp": f"relayed {len(self.told)}"}

    def says(self, body, by="a", to="", branch="", role=OFFER, key="k", **more):
        return self.give(MediaOrder(key, DESCRIBE, by, to, branch, body, role=role, **more))


def call(engine, branch="1"):
    """An answered call of phones ``a`` and ``b``."""
    assert engine.says(ONE, branch=branch).body
    assert engine.says(TWO, "b", "a", branch, ANSWER).body


def test_an_offer_and_its_answer():
    engine = Engine()
    call(engine)
    assert engine.told == [("offer", "k-1"), ("answer", "k-1")]
    offer, answer = engine.calls["k-1"].values()
    assert (offer["from-tag"], offer["to-tag"]) == (answer["from-tag"], answer["to-tag"]) == ("a", "=")
    assert (len(engine.sessions), engine.sessions.ports) == (1, 4)
    assert engine.give(MediaOrder("k", DROP)) == MediaReply(None)
    assert (engine.calls, len(engine.sessions), engine.sessions.ports) == ({}, 0, 0)


@pytest.mark.parametrize(
    ("joins", "again", "told"),
    [
        ("force-relay", WEB.replace(b"ufrag:x", b"ufrag:y"), ["delete", "offer", "answer"]),
        ("force-relay", WEB + b"a=sendonly\r\n", ["offer", "answer"]),
        ("force", WEB.replace(b"ufrag:x", b"ufrag:y"), ["offer", "answer"]),
    ],
    ids=["restarted", "not restarted", "with the engine"],
)
def test_a_restart_of_ice_between_the_ends_begins_anew(joins, again, told):
    """The engine, which hears one port of each, is told of none that they had."""
    engine = Engine()
    engine.says(WEB, for_=Needs(ice=joins))
    engine.says(WEB, "b", "a", role=ANSWER)
    engine.told.clear()
    assert engine.says(again, "a", "b").body
    assert engine.says(WEB.replace(b"ufrag:x", b"ufrag:z"), "b", "a", role=ANSWER).body
    assert [command for command, _ in engine.told] == told
    learnt = {end["endpoint-learning"] for end in engine.calls["k"].values()}
    assert learnt == ({"immediate"} if told[0] == "delete" else {"delayed"})
    assert (len(engine.sessions), engine.sessions.ports) == (1, 4)


def test_a_restart_of_ice_that_is_refused_leaves_a_whole_session():
    engine = Engine()
    engine.says(WEB, for_=Needs(ice="force-relay"))
    engine.says(WEB, "b", "a", role=ANSWER)
    engine.says(WEB.replace(b"ufrag:x", b"ufrag:y"), "a", "b")
    engine.give(MediaOrder("k", RESTORE, "a", "b"))
    engine.told.clear()
    assert engine.says(WEB + b"a=sendonly\r\n", "a", "b").body
    assert engine.told == [("offer", "k")]


def test_in_the_dialog_either_side_offers():
    engine = Engine()
    call(engine)
    assert engine.says(THREE, "b", "a").body
    assert engine.says(THREE, "a", "b", role=ANSWER).body
    assert engine.told[2:] == [("offer", "k-1"), ("answer", "k-1")]
    assert engine.calls["k-1"]["="]["from-tag"] == engine.calls["k-1"]["a"]["from-tag"] == "="


def test_a_late_offer_is_the_called_phones():
    engine = Engine()
    assert engine.says(TWO, "b", "a", "1", OFFER).body
    assert engine.says(ONE, "a", "b", "", ANSWER).body
    assert engine.calls["k-1"]["b"]["command"] == OFFER
    assert engine.calls["k-1"]["="]["command"] == ANSWER


def test_in_a_prack_it_is_an_answer_if_an_offer_waits_for_one():
    engine = Engine()
    engine.says(TWO, "b", "a", "1", OFFER)
    engine.says(ONE, "a", "b", "", "")
    assert engine.told[-1][0] == ANSWER
    engine.says(THREE, "a", "b", "", "")
    assert engine.told[-1][0] == OFFER


def test_an_offer_that_is_tried_otherwise_begins_anew():
    """Its phone takes no such description (488), and the engine would go on as it was told first."""
    engine = Engine()
    engine.says(WEB, branch="1", for_=Needs("RTP/AVP", "remove"))
    engine.says(WEB, branch="1", for_=Needs(ice="remove"))
    assert engine.told == [("offer", "k-1"), ("delete", "k-1"), ("offer", "k-1")]
    assert engine.calls["k-1"]["a"]["endpoint-learning"] == "immediate"
    assert "transport-protocol" not in engine.calls["k-1"]["a"]
    assert (len(engine.sessions), engine.sessions.ports) == (1, 4)


def test_what_is_said_again_costs_the_engine_nothing():
    """The answer of a 183 in the 200, and the refresh of a session."""
    engine = Engine()
    call(engine)
    first = engine.says(TWO, "b", "a", "1", ANSWER)
    again = engine.says(ONE, "a", "b"), engine.says(TWO, "b", "a", role=ANSWER)
    assert [first.body, *(reply.body for reply in again)] == [b"relayed 2", b"relayed 1", b"relayed 2"]
    assert len(engine.told) == 2


def test_the_called_phone_refreshes_a_session():
    engine = Engine()
    engine.says(ONE, branch="1", for_=Needs("RTP/AVP", "remove"))
    engine.says(TWO, "b", "a", "1", ANSWER)
    replies = [engine.says(TWO, "b", "a"), engine.says(ONE, "a", "b", role=ANSWER), engine.says(ONE, "a", "b")]
    assert [reply.body for reply in replies] == [b"relayed 2", b"relayed 1", b"relayed 1"]
    assert len(engine.told) == 2


def test_keys_are_another_matter_in_an_offer_than_in_an_answer():
    engine = Engine()
    engine.says(ONE, branch="1")
    engine.says(WEB, "b", "a", "1", ANSWER)
    keyed = WEB.replace(b"a=rtcp-mux", b"a=setup:active")
    engine.says(keyed, "b", "a", role=ANSWER)
    engine.says(keyed, "b", "a")
    assert engine.told[2:] == [("answer", "k-1"), ("offer", "k-1")]


def test_another_answer_to_an_offer_said_again():
    """The engine has to hear the offer first, which it wasn't told."""
    engine = Engine()
    call(engine)
    engine.says(ONE, "a", "b")
    assert engine.says(THREE, "b", "a", role=ANSWER).body
    assert engine.told[2:] == [("offer", "k-1"), ("answer", "k-1")]
    assert engine.calls["k-1"]["a"]["sdp"].encode() == ONE


def test_the_same_answer_to_another_offer():
    engine = Engine()
    call(engine)
    engine.says(THREE, "a", "b")
    engine.says(TWO, "b", "a", role=ANSWER)
    assert engine.told[2:] == [("offer", "k-1"), ("answer", "k-1")]


def test_branches_of_a_fork_have_ports_of_their_own():
    engine = Engine()
    for branch in "123":
        engine.says(ONE, branch=branch, counts={"a@x": 1})
    assert engine.sessions.ports == 12
    engine.says(TWO, "b", "a", "2", ANSWER)
    engine.give(MediaOrder("k", DROP_BRANCH, branch="1"))
    engine.give(MediaOrder("k", DROP_BRANCH, branch="3"))
    assert list(engine.calls) == ["k-2"]
    assert engine.says(THREE, "a", "b").body  # in the dialog
    assert engine.told[-1] == ("offer", "k-2")


def test_two_branches_that_have_both_answered():
    engine = Engine()
    for branch, tag in (("1", "b"), ("2", "c")):
        engine.says(ONE, branch=branch)
        engine.says(TWO, tag, "a", branch, ANSWER)
    engine.says(THREE, "c", "a")
    assert engine.told[-1] == ("offer", "k-2")
    engine.give(MediaOrder("k", DROP, "a", "b"))
    assert list(engine.calls) == ["k-2"]
    engine.give(MediaOrder("k", DROP, "c", "a"))
    assert engine.calls == {}


def test_one_branch_that_answers_twice_has_one_pair_of_ports():
    """A provider forks as well. The dialog that stays counts once the other is over."""
    engine = Engine()
    engine.says(ONE, branch="1")
    engine.says(TWO, "b", "a", "1", ANSWER, leg="ab")
    engine.says(THREE, "c", "a", "1", ANSWER, leg="ac")
    assert set(engine.calls["k-1"]) == {"a", "="}
    engine.give(MediaOrder("k", DROP, "a", "c"))
    assert engine.calls["k-1"]["="]["sdp"].encode() == TWO
    engine.give(MediaOrder("k", DROP, "a", "b"))
    assert engine.calls == {}


def test_dialogs_that_stayed_early_keep_no_ports():
    """Of a proxy beyond us that forks: nobody says that they are over."""
    engine = Engine()
    engine.says(ONE, branch="1")
    engine.says(TWO, "b", "a", "1", ANSWER)
    engine.says(THREE, "c", "a", "1", ANSWER)
    engine.says(THREE, "c", "a", "1", ANSWER, leg="ac")
    engine.says(ONE, "a", "c", leg="ac")
    engine.give(MediaOrder("k", DROP, "a", "c"))
    assert (engine.calls, len(engine.sessions)) == ({}, 0)


def test_the_end_of_a_dialog_that_was_not_relayed_ends_no_other():
    engine = Engine()
    call(engine)
    engine.give(MediaOrder("k", DROP, "a", "z"))
    engine.give(MediaOrder("other", DROP, "a", "b"))
    assert list(engine.calls) == ["k-1"]


def test_an_answer_without_a_session():
    assert Engine().says(TWO, "b", "a", "1", ANSWER) == MediaReply(None, UNKNOWN)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("Ran out of ports", FULL),
        ("Failed to parse SDP", DESCRIPTION),
        ("Unknown call-id", UNKNOWN),
        ("anything", ENGINE),
        ("silent", ENGINE),
    ],
)
def test_a_session_that_the_engine_does_not_make(error, fault):
    engine = Engine()
    engine.error = error
    assert engine.says(ONE) == MediaReply(None, fault)
    assert (len(engine.sessions), engine.sessions.ports) == (0, 0)


def test_a_description_that_the_engine_can_not_read_ends_no_call():
    engine = Engine()
    call(engine)
    engine.error = "Failed to parse SDP"
    assert engine.says(THREE, "a", "b").fault == DESCRIPTION
    engine.error = ""
    assert engine.says(THREE, "b", "a").body == b"relayed 3"


@pytest.mark.parametrize("count", ["a@x", "t1"])
def test_sessions_of_an_account_or_a_tenant_are_limited(count):
    engine = Engine()
    for key in ("k1", "k2"):
        assert engine.says(ONE, key=key, counts={count: 2, "other": 9}).body
    assert engine.says(ONE, key="k3", counts={count: 2}).fault == FULL
    assert engine.says(ONE, key="k1", branch="2", counts={count: 2}).body  # one session's second branch
    engine.give(MediaOrder("k1", DROP))
    assert engine.says(ONE, key="k3", counts={count: 2}).body


def test_on_hold_nobody_is_learnt_anew():
    engine = Engine()
    call(engine)

    def keeps(end):
        return "asymmetric" in engine.calls["k-1"][end]["flags"]

    engine.says(ONE + b"a=sendonly\r\n", "a", "b")
    engine.says(TWO + b"a=recvonly\r\n", "b", "a", role=ANSWER)
    assert keeps("a")
    assert keeps("=")
    engine.says(ONE + b"a=sendrecv\r\n", "a", "b")
    engine.says(TWO, "b", "a", role=ANSWER)
    assert not keeps("a")
    assert not keeps("=")
    engine.says(THREE + b"a=sendonly\r\n", "a", "b")
    assert not keeps("a"), "it has moved"


def test_a_refused_offer_leaves_what_was_agreed():
    """The engine hears both descriptions of before."""
    engine = Engine()
    call(engine)
    agreed = [engine.calls["k-1"][end]["sdp"] for end in ("a", "=")]
    engine.says(THREE, "a", "b")
    engine.give(MediaOrder("k", RESTORE, "a", "b"))
    assert engine.told[2:] == [("offer", "k-1"), ("offer", "k-1"), ("answer", "k-1")]
    assert [engine.calls["k-1"][end]["sdp"] for end in ("a", "=")] == agreed
    told = len(engine.told)
    assert engine.says(ONE, "a", "b").body, "as it was"
    engine.give(MediaOrder("k", RESTORE, "a", "b"))
    engine.give(MediaOrder("k", RESTORE, "b", "a"))
    assert len(engine.told) == told
    assert len(engine.sessions) == 1


def test_of_two_offers_that_cross_the_last_counts():
    """Glare (RFC 3261 §14.1): each is refused by whoever has made the other one."""
    engine = Engine()
    call(engine)
    agreed = [engine.calls["k-1"][end]["sdp"] for end in ("a", "=")]
    engine.says(THREE, "a", "b")
    engine.says(THREE, "b", "a")
    for by, to in (("a", "b"), ("b", "a")):
        engine.give(MediaOrder("k", RESTORE, by, to))
    assert [engine.calls["k-1"][end]["sdp"] for end in ("a", "=")] == agreed


def test_what_a_newer_edge_wants_ends_nothing():
    engine = Engine()
    call(engine)
    assert engine.give(MediaOrder("k", "whatever", "a", "b")) == MediaReply(None)
    assert len(engine.sessions) == 1


def test_a_tenant_leaves_ports_to_others():
    engine = Engine(capacity=40)
    faults = [engine.says(ONE, key=f"k{number}", tenant="t1", counts={"t1": 9}).fault for number in range(7)]
    assert faults == [""] * 6 + [FULL]
    assert engine.says(ONE, key="other", tenant="t2").body
    more = description("198.51.100.7", 4000, "m=video 4002 RTP/AVP 96")
    assert engine.says(more, "a", "b", key="k1", tenant="t1").fault == FULL
    engine.give(MediaOrder("k2", DROP))
    assert engine.says(more, "a", "b", key="k1", tenant="t1").body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        description("198.51.100.7", 4000, *["m=audio 4000 RTP/AVP 0"] * 8),
        description("127.0.0.1", 2223),
        description("::ffff:127.0.0.1", 2223),
        description("169.254.169.254", 80),
        description("fe80::1", 4000),
        description("224.0.0.1", 4000),
        description("localhost", 4000),
        description("198.51.100.7", 4000, "c=IN IP4 127.0.0.1 198.51.100.7"),
        description("198.51.100.7", 4000, "m=audio 5 RTP/AVP 0", "c=IN IP4 127.0.0.1/127"),
    ],
)
def test_what_an_engine_must_not_be_told(body):
    engine = Engine()
    assert engine.says(body).fault == DESCRIPTION
    assert engine.told == []


def test_no_private_address_of_another_family_than_the_sources():
    engine = Engine()
    assert engine.says(description("fd00::5", 4000), source="8.8.4.4").fault == DESCRIPTION
    assert engine.says(description("fd00::5", 4000), source="10.0.0.4").body


def test_rtcp_is_sent_to_no_address_of_its_own():
    engine = Engine()
    assert engine.says(description("198.51.100.7", 4000, "a=rtcp:2223 IN IP4 127.0.0.1")).body
    assert "127.0.0.1" not in engine.calls["k"]["a"]["sdp"]


def test_phones_on_loopback_are_where_the_edge_is():
    assert Engine(near=True).says(description("127.0.0.1", 4000)).body


def test_what_the_engine_does_not_remember_by_itself():
    """Ports that are shared aren't offered to a phone that doesn't; and two browsers keep the relay as last resort."""
    engine = Engine()
    engine.says(WEB, branch="1", for_=Needs("RTP/AVP", "remove", rtcp_mux="demux"))
    engine.says(TWO, "b", "a", "1", ANSWER)
    engine.says(WEB + b"a=x:1\r\n", "a", "b")
    assert engine.calls["k-1"]["a"]["rtcp-mux"] == ["demux"]
    engine.says(THREE, "b", "a")
    assert "rtcp-mux" not in engine.calls["k-1"]["="]
    engine.says(WEB, key="w", for_=Needs(ice="force-relay"))
    engine.says(WEB, "b", "a", key="w", role=ANSWER)
    assert [command["ICE"] for command in engine.calls["w"].values()] == ["force-relay"] * 2


def query(label, described=True):
    """What an engine says of a call of ``a``."""
    flags = ["RTP", "filled"] if described else ["RTP"]
    media = {"flags": ["rtcp-mux"], "streams": [{"flags": flags}]}
    return {
        "created": 7,
        "tags": {
            "=": {"medias": [media]},
            "a": {"medias": [{**media, "streams": [{"flags": ["filled"]}]}], "label": label},
        },
    }


def test_another_process_finds_what_the_engine_has():
    engine = Engine()
    call(engine)
    before = next(iter(engine.sessions))
    engine.says(THREE, "a", "b", leg="L1", tenant="t1", began=5, counts={"a@x": 1})
    after = Engine()
    assert after.sessions.unknown(["k-1", "gone"]) == ["k-1", "gone"]
    assert after.sessions.found("k-1", query(json.dumps(["t1", 5, "L1", {"a@x": 1}])))
    assert not after.sessions.found("gone", query("", described=False))
    leg = next(iter(after.sessions))
    assert (leg.key, leg.branch, leg.tenant, leg.began, leg.report, leg.since) == ("k", "1", "t1", 5, "L1", 7)
    assert before.call == leg.call
    assert after.sessions.unknown(["k-1"]) == []
    assert after.says(TWO, key="new", counts={"a@x": 1}).fault == FULL
    assert after.says(THREE, "b", "a").body  # its tags aren't known, and it is the only one
    assert after.calls["k-1"]["="]["command"] == OFFER
    assert after.says(THREE, "a", "b", role=ANSWER).body
    after.give(MediaOrder("k", DROP, "b", "a"))
    assert len(after.sessions) == 0


def test_sessions_that_the_engine_has_lost_are_forgotten():
    engine = Engine()
    call(engine)
    assert engine.sessions.unknown([]) == []
    assert len(engine.sessions) == engine.sessions.ports == 0
    assert engine.says(THREE, "a", "b").body  # it begins anew


@pytest.mark.parametrize("answer", [{}, {"tags": {}}, {"tags": {"x": {}, "y": {}}}, {"result": "error"}])
def test_calls_of_others_are_none_of_an_edges(answer):
    assert not Engine().sessions.found("x", answer)
