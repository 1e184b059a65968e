"""Contract versions: what older edges and control planes sent, recorded, is still understood, and the reverse."""

from __future__ import annotations

import json

import pytest

from lambdas.contract import (
    VERSION,
    Accept,
    CallAnswered,
    DecisionEnvelope,
    Grant,
    Heartbeat,
    HeartbeatReply,
    QuestionEnvelope,
    RegisterQuestion,
    ReportEnvelope,
    Route,
    wanted,
)
from lambdas.decisions import register
from lambdas.decisions.values import StoredAccount

FLOW = ["203.0.113.11", 5060, "udp", "198.51.100.7", 41000, 0]
CREDENTIALS = {
    "username": "alice", "realm": "example.com", "nonce": "00", "uri": "sip:example.com", "response": "0" * 32,
    "algorithm": "MD5", "qop": "auth", "nc": "00000001", "cnonce": "c",
}  # fmt: skip
CONTACT = {
    "key": "sip:alice@10.0.0.9:;",
    "uri": "sip:alice@10.0.0.9",
    "expires": None,
    "q": 1000,
    "instance": "",
    "reg_id": 0,
}

# Recorded from version 1.
REGISTER_1 = {
    "version": 1,
    "question": {
        "request": "r1", "address": "203.0.113.11", "epoch": 1795379043, "kind": "register", "aor": "alice@example.com",
        "credentials": CREDENTIALS, "contacts": [CONTACT], "star": False, "expires": 600, "call_id": "c1", "cseq": 2,
        "flow": FLOW, "user_agent": "phone 1.0",
    },
}  # fmt: skip
BEAT_1 = {
    "version": 1, "boot": "0a1b2c3d", "addresses": ["203.0.113.11"], "mesh": "203.0.113.11:5070", "certificate": "AA==",
    "domains": "", "changes_since": {"203.0.113.11": 1795379043000},
}  # fmt: skip
REPLY_1 = {
    "version": 1, "held": [{"address": "203.0.113.11", "epoch": 1795379043, "seconds": 10.0}], "refused": {},
    "fleet": [
        {
            "id": "edge-a", "mesh": "203.0.113.11:5070", "certificate": "AA==",
            "held": [{"address": "203.0.113.11", "epoch": 1795379043, "seconds": 10.0}],
        }
    ],
    "addresses": ["203.0.113.11"], "keys": [{"id": 1, "nonce": "AA==", "token": "AA==", "use": True}],
    "domains_version": "v", "domains": {"example.com": "example.com"}, "default_domain": "example.com",
    "changes": [
        {"id": "AAAAAAAAAAA", "aor": "alice@example.com", "contact": "sip:alice@10.0.0.9", "expires": 3000, "flow": FLOW}
    ],
    "cursors": {"203.0.113.11": 1795379043000}, "more": False,
}  # fmt: skip
ACCEPT_1 = {
    "version": 1,
    "decision": {
        "kind": "accept",
        "bindings": [
            {
                "id": "AAAAAAAAAAA", "aor": "alice@example.com", "contact": "sip:alice@10.0.0.9", "expires": 600,
                "flow": FLOW, "q": 1000, "instance": "", "reg_id": 0,
            }
        ],
    },
}  # fmt: skip


def test_an_old_edge_at_a_new_control_plane_gets_what_it_asked_for():
    """It can't refresh by itself, so its bindings are stored for what the phone asked, and it gets no grant."""
    question = QuestionEnvelope.model_validate(REGISTER_1).question
    assert isinstance(question, RegisterQuestion)
    assert not question.grants
    account = StoredAccount("alice@example.com", "t1", "0" * 32, "0" * 64)
    asked = wanted(question.contacts[0], question.expires)
    assert register._durable(question, asked, register.Expiries()) == 600
    new = question.model_copy(update={"grants": True})
    assert register._durable(new, asked, register.Expiries()) == 3600
    assert account.grant.version == 0
    beat = Heartbeat.model_validate(BEAT_1)
    assert (beat.driver, beat.takes, beat.feed) == ("none", [], {})


def test_a_new_edge_at_an_old_control_plane_does_without():
    accept = DecisionEnvelope.model_validate(ACCEPT_1).decision
    assert isinstance(accept, Accept)
    assert accept.grant is None
    reply = HeartbeatReply.model_validate(REPLY_1)
    assert reply.held[0].placed
    assert (reply.allowed, reply.feed, reply.feed_changes, reply.revalidate) == ([], {}, [], False)
    route = DecisionEnvelope.model_validate({"version": 1, "decision": {"kind": "route", "targets": []}}).decision
    assert isinstance(route, Route)
    assert route.tenant == ""  # nobody's call is recorded


def test_an_old_edge_lives_with_a_new_control_planes_answer():
    """Fields that it doesn't know are ignored; those that it knows are as they were."""
    new = Accept(bindings=[], grant=Grant(tenant="t1", version=1, ha1_md5="0" * 32, ha1_sha256="0" * 64))
    data = json.loads(DecisionEnvelope(version=VERSION, decision=new).model_dump_json())
    assert data["decision"]["kind"] == "accept"
    assert data["decision"]["bindings"] == []
    reply = json.loads(HeartbeatReply.model_validate(REPLY_1).model_dump_json())
    for key, value in REPLY_1.items():
        if key == "keys":
            assert [{name: kept[name] for name in old} for kept, old in zip(reply[key], value, strict=True)] == value
        elif key not in ("held", "fleet", "changes"):
            assert reply[key] == value


@pytest.mark.parametrize("extra", ["of_a_later_version"])
def test_fields_of_later_versions_are_ignored(extra):
    envelope = json.loads(json.dumps(REGISTER_1))
    envelope["question"][extra] = 1
    assert QuestionEnvelope.model_validate(envelope).question.request == "r1"


def test_secrets_are_not_shown():
    grant = Grant(tenant="t1", version=1, ha1_md5="deadbeef" * 4, ha1_sha256="cafebabe" * 8)
    assert "deadbeef" not in repr(Accept(bindings=[], grant=grant))
    assert "cafebabe" not in repr(grant)


def test_reports_are_told_apart_by_their_kind():
    report = CallAnswered(
        tenant="t1", call="c", call_id="c", caller="a", called="b", started=1, answered=2.0, edges=("x", "y")
    )
    envelope = ReportEnvelope(version=VERSION, reports=[report])
    assert ReportEnvelope.model_validate_json(envelope.model_dump_json()).reports == [report]
