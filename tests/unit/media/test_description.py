"""What is read of session descriptions, and how an address that isn't known yet is mended."""

from __future__ import annotations

import pytest

from edge.media.description import mended, read
from tests.support.relayed import WEB, sdp


def test_what_a_phone_describes():
    found = read(sdp(20000, "192.0.2.1", "RTP/SAVP", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", "a=sendonly"))
    (audio,) = found.media
    assert audio == ("audio", 20000, "RTP/SAVP", "192.0.2.1", "sendonly", False, True, False, False)
    assert (found.address, found.profile, found.dtls, found.ice, found.candidates) == (
        "192.0.2.1",
        "RTP/SAVP",
        False,
        "",
        False,
    )


def test_what_a_browser_describes():
    found = read(WEB)
    assert (found.ice, found.candidates, found.dtls) == ("full", False, True)
    assert (found.media[0].rtcp_mux, found.media[0].fingerprint) == (True, True)
    assert read(WEB + b"a=candidate:1 1 UDP 1 192.0.2.1 5 typ host\r\n").candidates
    assert read(WEB.replace(b"t=0 0", b"t=0 0\r\na=ice-lite")).ice == "lite"


def test_what_holds_for_the_session_holds_for_its_media():
    body = sdp(20000).replace(b"t=0 0", b"t=0 0\r\na=inactive\r\na=fingerprint:sha-256 00\r\na=ice-ufrag:x")
    body += b"m=video 0 RTP/AVP 96\r\nm=audio 5/2 RTP/AVP 8\r\nc=IN IP6 2001:db8::1/127\r\na=sendrecv\r\n"
    first, video, other = read(body).media
    assert (first.direction, first.fingerprint, first.ice, video.port) == ("inactive", True, True, 0)
    assert (other.port, other.address, other.direction) == (5, "2001:db8::1", "sendrecv")


def test_a_refused_medium_is_nowhere():
    assert read(sdp(0)).address == ""
    assert read(sdp(0) + b"m=audio 5 RTP/AVP 8\r\nc=IN IP4 192.0.2.9\r\n").address == "192.0.2.9"
    assert read(sdp(20000, "192.0.2.1", "udptl")).profile == ""


def test_line_ends_without_a_return_do():
    assert read(sdp(20000).replace(b"\r\n", b"\n")) == read(sdp(20000))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"v=0\r\ns=-\r\n",
        b"v=0\r\nm=audio\r\n",
        b"v=0\r\nm=audio x RTP/AVP 8\r\n",
        b"v=0\r\nm=audio 5 \xff 8\r\n",
        b"v=0\r\nc=IN IP4\r\nm=audio 5 RTP/AVP 8\r\n",
        b"v=0" + b"\r\nm=audio 5 RTP/AVP 8" * 51,
    ],
)
def test_what_cannot_be_read_is_nothing(body):
    assert read(body) is None


@pytest.mark.parametrize(
    ("source", "address"), [("192.0.2.7", b"IN IP4 192.0.2.7"), ("2001:db8::7", b"IN IP6 2001:db8::7")]
)
def test_an_address_that_a_browser_does_not_know_yet_is_where_it_is(source, address):
    body = mended(WEB, source)
    assert b"c=" + address + b"\r\n" in body
    assert b"a=rtcp:9 " + address + b"\r\n" in body
    assert b"o=- 1 1 IN IP4 0.0.0.0\r\n" in body
    assert len(body.split(b"\r\n")) == len(WEB.split(b"\r\n"))


def test_hold_of_before_stays_hold():
    hold = sdp(20000, "0.0.0.0")
    assert mended(hold, "192.0.2.7") == hold
    assert mended(WEB, "") == WEB
    assert mended(sdp(20000), "192.0.2.7") == sdp(20000)
