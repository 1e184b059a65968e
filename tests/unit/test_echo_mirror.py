"""The answer that has a relay send to itself."""

from __future__ import annotations

import pytest

from edge.proxy.echo.mirror import mirrored

HEAD = "v=0\r\no=alice 1 1 IN IP4 203.0.113.11\r\ns=-\r\nc=IN IP4 203.0.113.11\r\nt=0 0\r\n"
AUDIO = "m=audio 30002 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:30003\r\n"
KEY = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


def answer(text: str) -> str:
    found = mirrored(text.encode(), 77, 3)
    assert found is not None
    return found.decode()


def test_the_answer_names_the_port_of_the_offer():
    assert answer(HEAD + AUDIO + "a=candidate:1 1 udp 1 203.0.113.11 30002 typ host\r\na=sendrecv\r\n") == (
        "v=0\r\no=- 77 3 IN IP4 203.0.113.11\r\ns=-\r\nc=IN IP4 203.0.113.11\r\nt=0 0\r\n" + AUDIO + "a=sendrecv\r\n"
    )


@pytest.mark.parametrize("where", ["session", "medium"])
@pytest.mark.parametrize(
    ("offered", "answered"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_what_one_sends_the_other_receives(where, offered, answered):
    line = f"a={offered}\r\n"
    found = answer(HEAD + line + AUDIO if where == "session" else HEAD + AUDIO + line)
    assert found.endswith(f"a={answered}\r\n")
    assert found.count("a=send") + found.count("a=recv") + found.count("a=inactive") == 1


def test_a_direction_of_the_medium_counts_for_more_than_the_sessions():
    assert answer(HEAD + "a=sendonly\r\n" + AUDIO + "a=inactive\r\n").endswith("a=inactive\r\n")


def test_other_media_are_refused_in_their_place():
    found = answer(
        HEAD + "m=video 30010 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n" + AUDIO + "m=image 30012 udptl t38\r\n"
    )
    assert [line for line in found.split("\r\n") if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 96",
        "m=audio 30002 RTP/AVP 0 8 101",
        "m=image 0 udptl t38",
    ]
    assert "VP8" not in found


def test_the_first_key_is_taken():
    offer = AUDIO.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:1 ONE {KEY}\r\na=crypto:2 TWO {KEY}\r\n"
    found = answer(HEAD + offer)
    assert f"a=crypto:1 ONE {KEY}\r\n" in found
    assert "TWO" not in found


def test_an_address_of_the_medium_counts_for_more_than_the_sessions():
    found = answer(HEAD + AUDIO.replace("101\r\n", "101\r\nc=IN IP6 2001:db8::1\r\n", 1))
    assert found.startswith("v=0\r\no=- 77 3 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\n")
    assert found.count("c=IN") == 1


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "no description",
        HEAD,
        HEAD + "m=video 30010 RTP/AVP 96\r\n",
        HEAD + AUDIO.replace("30002", "0"),
        HEAD + AUDIO.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF"),
        HEAD + AUDIO.replace("RTP/AVP", "RTP/SAVP"),
        HEAD + "m=audio\r\n",
        HEAD.replace("c=IN IP4 203.0.113.11\r\n", "") + AUDIO,
    ],
    ids=["nothing", "no SDP", "no media", "video alone", "refused", "DTLS", "no key", "cut short", "no address"],
)
def test_what_cant_come_back_has_no_answer(offer):
    assert mirrored(offer.encode(), 1, 1) is None
