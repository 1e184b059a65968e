"""STUN Binding requests, with the values of RFC 5769 §2.2 and §2.3 where it has any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sip import stun

ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
REQUEST = bytes.fromhex("000100002112a442") + ID
SOFTWARE = bytes.fromhex("80220004") + b"edge"
PRIORITY = bytes.fromhex("002400046e0001ff")  # of ICE: it would have to be understood
USERNAME = bytes.fromhex("00060003") + b"abc\0"


def request(*attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return REQUEST[:2] + len(body).to_bytes(2, "big") + REQUEST[4:] + body


def test_it_says_where_the_request_came_from():
    want = bytes.fromhex("0101000c2112a442") + ID + bytes.fromhex("002000080001a147e112a643")
    assert stun.answer(REQUEST, "192.0.2.1", 32853) == want
    want = bytes.fromhex("010100182112a442") + ID
    want += bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")
    assert stun.answer(REQUEST, "2001:db8:1234:5678:11:2233:4455:6677", 32853) == want
    assert stun.answer(request(SOFTWARE, USERNAME), "192.0.2.1", 32853) == stun.answer(REQUEST, "192.0.2.1", 32853)


def test_a_request_of_the_first_version_is_answered_in_its_words():
    old = REQUEST[:4] + b"\0\0\0\1" + ID
    assert stun.answer(old, "192.0.2.1", 5060) == bytes.fromhex("0101000c00000001") + ID + bytes.fromhex(
        "00010008000113c4c0000201"
    )


def test_what_has_to_be_understood_and_is_not_is_named():
    assert stun.answer(request(PRIORITY, SOFTWARE), "192.0.2.1", 5060) == bytes.fromhex("011100102112a442") + ID + (
        bytes.fromhex("0009000400000414") + bytes.fromhex("000a000200240000")
    )
    assert stun.answer(request(*[PRIORITY] * 50), "192.0.2.1", 5060)[-16:] == 8 * b"\0\x24"


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\0\0\0\0\0",
        REQUEST[:-1],
        REQUEST + b"\0\0\0\0",  # longer than it says
        b"\0\x11" + REQUEST[2:],  # an indication
        b"\1\1" + REQUEST[2:],  # a response
        b"\0\3" + REQUEST[2:],  # of TURN
        request(b"\0\x24\0\x99\0\0\0\0"),  # an attribute that goes on past the end
        b"OPTIONS sip:edge SIP/2.0",
    ],
)
def test_nothing_else_is_answered(other):
    assert stun.answer(other, "192.0.2.1", 5060) is None


@given(st.binary(max_size=120), st.sampled_from(["192.0.2.1", "2001:db8::1"]))
def test_an_answer_is_never_much_longer(body, host):
    body = body[: len(body) // 4 * 4]
    for data in (request(body), b"\0\1" + body):
        answer = stun.answer(data, host, 5060)
        assert answer is None or len(answer) <= 2.2 * len(data)
