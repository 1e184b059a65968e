"""What tokens say of relayed media, and how a session is found by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.providers.leg_token import DialogNames, LegToPhone, LegToProvider, RelayedMedia, open_way, seal_way
from edge.proxy.forwarding.media_session import SessionNames, between, in_dialog
from edge.proxy.stack.flow_token import CallReference, Destination, TokenKeys
from edge.proxy.stack.validation import examine
from edge.sip.flow import Flow
from edge.sip.parser import parse

KEYS = TokenKeys({7: bytes(range(64))}, 7)
FLOW = Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 5060)
MEDIA = RelayedMedia("203.0.113.11", "0123456789abcdef")
TENANT = "t0123456789ab"


@pytest.mark.parametrize("nth", [0, 15])
def test_a_flow_token_says_that_there_is_a_session(nth):
    call = CallReference(TENANT, 1_800_000_000, True, withheld=True, relayed=True, nth=nth)
    token = KEYS.seal(FLOW, "", "a@b", call, ("one",))
    assert KEYS.open(token, "a@b", FLOW.address, 5060, "two", "one").call == call
    assert len(token) == len(KEYS.seal(FLOW, "", "a@b", CallReference(TENANT, 1_800_000_000), ("one",)))


@pytest.mark.parametrize("dialog", [None, DialogNames("x@y", "<sip:a@b>;tag=1", "<sip:c@d>;tag=2")])
def test_ways_across_a_border_name_it(dialog):
    out = LegToProvider("t1/voip", FLOW, 3, "t1", 1, False, salt="s", theirs=0, dialog=dialog, media=MEDIA)
    back = LegToPhone("t1/voip", FLOW, "", "", "t1", 1, False, True, out, theirs=0, dialog=dialog, media=MEDIA)
    for way in (out, back, replace(out, media=None), replace(back, media=None)):
        assert open_way(seal_way(way, "a@b", KEYS, "tag"), "a@b", KEYS, "tag") == way


def invite(tag="one", to_tag="", flow=FLOW):
    text = (
        f"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag={tag}\r\n"
        f"To: <sip:bob@example.com>{f';tag={to_tag}' if to_tag else ''}\r\nCall-ID: a@b\r\nCSeq: 1 INVITE\r\n\r\n"
    )
    return examine(flow, parse(text.encode()), ("key",))


def test_every_request_of_a_dialog_finds_the_session_that_its_invite_has_begun():
    call = CallReference(TENANT, 1_800_000_000)
    session, nth = SessionNames().begun_by(invite(), call)
    there = call._replace(relayed=True, nth=nth)
    callers, called = Destination(FLOW, "", there._replace(to_caller=True)), Destination(FLOW, "", there)
    elsewhere = FLOW._replace(address="203.0.113.12")
    assert in_dialog(invite("one", "two", elsewhere), called, FLOW.address) == session
    assert in_dialog(invite("two", "one", elsewhere), callers, FLOW.address) == session
    assert in_dialog(invite("one", "two"), called, "") == session
    assert in_dialog(invite("three", "two"), called, FLOW.address) != session
    assert in_dialog(invite("one", "two"), replace(called, call=call), FLOW.address) is None


def test_no_two_calls_have_one_session():
    names = SessionNames()
    call = CallReference(TENANT, 1_800_000_000)
    made = [names.begun_by(invite(), call) for _ in range(17)]
    assert [nth for _, nth in made] == [*range(16), 0]
    assert len({session for session, _ in made[:16]}) == 16
    assert made[16][0] is None
    later, nth = names.begun_by(invite(), call._replace(started=call.started + 1))
    assert (later not in dict(made), nth) == (True, 0)
    assert names.begun_by(invite("two"), call)[0] not in dict(made)
    assert between(FLOW.address, "x") != between(FLOW.address, "y")
