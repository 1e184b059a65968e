"""Commands to rtpengine and its answers."""

from __future__ import annotations

import json

import pytest

from edge.media import ng
from edge.media.orders import DESCRIBE, FULL, OFFER, MediaOrder, MediaReply, Needs
from tests.support.media import description

PRIVATE, PUBLIC = description("192.168.1.5", 4000), description("203.0.113.5", 4000)


def describe(body, source="", needs=None, learning=ng.IMMEDIATE):
    order = MediaOrder("k", DESCRIBE, "a", body=body, source=source)
    return ng.describe("k-1", OFFER, "a", "=", order, needs or Needs(), learning, "")


def test_octets_that_are_no_text_survive():
    body = b'v=0\r\ns=\xff\xc3\xbc "\\\r\n'
    _, command = ng.read(ng.write("cookie", describe(body)))
    assert ng.reply({"result": "ok", "sdp": command["sdp"]}) == MediaReply(body)


def test_a_command_is_one_datagram_with_its_cookie_before_it():
    data = ng.write("c1", ng.delete("k-1"))
    assert data.startswith(b'c1 {"command":"delete"')
    assert ng.read(data) == ("c1", {"command": "delete", "call-id": "k-1", "delete-delay": 0})


@pytest.mark.parametrize("data", [b"", b"c1", b"c1 []", b"c1 {", b"\xff {}"])
def test_what_is_no_answer(data):
    with pytest.raises(ValueError, match=r".+"):
        ng.read(data)


@pytest.mark.parametrize(
    ("body", "source", "behind"),
    [
        (PRIVATE, "8.8.4.4", True),
        (PRIVATE, "", False),
        (PRIVATE, "10.0.0.9", False),
        (PUBLIC.replace(b"203.0.113.5", b"8.8.8.8"), "8.8.4.4", False),
        (PRIVATE.replace(b"192.168.1.5", b"0.0.0.0"), "8.8.4.4", False),
        (description("8.8.8.8", 4000, "c=IN IP4 10.0.0.2"), "8.8.4.4", True),
        (description("8.8.8.8", 4000, "m=video 5 RTP/AVP 96", "c=IN IP4 10.0.0.2"), "8.8.4.4", True),
        (description("fd00::5", 4000), "2001:4860::7", True),
    ],
)
def test_who_is_behind_a_nat_gets_media_where_signalling_comes_from(body, source, behind):
    command = describe(body, source)
    assert ("SIP-source-address" in command["flags"]) is behind
    assert ("trust-address" in command["flags"]) is not behind
    assert ("received-from" in command) is behind


def test_the_source_of_media_is_learnt_and_nobody_else_is_heard():
    assert "strict-source" in describe(PUBLIC)["flags"]
    told = [describe(PUBLIC, learning=way) for way in (ng.IMMEDIATE, ng.DELAYED, ng.NOTHING)]
    assert [one["endpoint-learning"] for one in told] == ["immediate", "delayed", "delayed"]
    assert ["asymmetric" in one["flags"] for one in told] == [False, False, True]


def test_needs_of_the_other_side():
    needs = Needs("UDP/TLS/RTP/SAVPF", "force", "IP6", "passive", "off", "require")
    said = describe(PUBLIC, needs=needs)
    named = ("transport-protocol", "ICE", "address-family", "DTLS", "SDES", "rtcp-mux")
    assert [said[name] for name in named] == ["UDP/TLS/RTP/SAVPF", "force", "IP6", "passive", ["off"], ["require"]]
    assert not {*named} - {"SDES"} & {*describe(PUBLIC)}


def test_no_suite_without_encryption_is_offered():
    assert {"no-NULL_HMAC_SHA1_80", "no-NULL_HMAC_SHA1_32"} <= {*describe(PUBLIC)["SDES"]}


def test_a_full_engine():
    assert ng.reply(json.loads('{"result":"load limit","message":"Parallel session limit reached"}')).fault == FULL
