"""RFC 3261 §19.1.4, with its own examples."""

from __future__ import annotations

import pytest

from edge.sip.comparison import comparable


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:carol@chicago.com;a=1;b", "sip:carol@chicago.com;B;A=1"),
        ("SIP:carol@chicago.com", "sip:carol@chicago.com"),
        ("sip:%2d%2E%5f@h", "sip:-._@h"),
        ("sip:%c3%a9@h", "sip:é@h"),
        ("sip:%7e%24@h", "sip:~%24@h"),
    ],
)
def test_equal(one, other):
    assert comparable(one) == comparable(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a@h", "sip:h"),
        ("sip:a:b@h", "sip:a%3Ab@h"),
        ("sip:a%25b@h", "sip:a%b@h"),
        ("sip:a@h;x=a%3Bb", "sip:a@h;x=a;b"),
        ("sip:a@h;x", "sip:a@h;x="),
    ],
)
def test_not_equal(one, other):
    assert comparable(one) != comparable(other)


@pytest.mark.parametrize(
    "uri", ["sip:%@h", "sip:%4@h", "sip:%zz%4@h", "sip:a%\udc80@h", "sip:a@h;%;=;==", "sip:a@h?&=&%"]
)
def test_what_is_hardly_a_uri_is_told_apart_too(uri):
    assert comparable(uri).isascii()
