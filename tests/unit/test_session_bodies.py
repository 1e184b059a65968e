"""Session descriptions are found wherever a body has them, and what can't be read doesn't leave with one."""

from __future__ import annotations

import base64
import contextlib
import gzip
import time
import zlib

import pytest

from edge.sip.session_bodies import DEEPEST, MOST_PARTS, UnreadableBody, changed, descriptions

SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\nc=IN IP4 10.0.0.9\r\nm=audio 4000 RTP/AVP 8\r\n"
PUBLIC = SDP.replace(b"10.0.0.9", b"192.0.2.1")


def public(description: bytes) -> bytes:
    return description.replace(b"10.0.0.9", b"192.0.2.1")


def mixed(*parts: bytes, boundary: bytes = b"b1", line: bytes = b"\r\n") -> bytes:
    joined = b"".join(b"--" + boundary + line + part + line for part in parts)
    return b"a preamble" + line + joined + b"--" + boundary + b"--" + line + b"an epilogue"


def part(content_type: bytes = b"application/sdp", body: bytes = SDP, *fields: bytes) -> bytes:
    return b"\r\n".join([b"Content-Type: " + content_type, *fields, b"", body])


PIDF = part(b"application/pidf+xml", b"<presence>10.0.0.9</presence>")


@pytest.mark.parametrize(
    "kind", ["application/sdp", "Application/SDP ; charset=utf-8", "application/trickle-ice-sdpfrag", ""]
)
def test_the_body_itself(kind):
    assert changed(SDP, kind, "", public) == (PUBLIC, False)


@pytest.mark.parametrize("kind", ["text/plain", "application/sdp-like", "application/dtmf-relay"])
def test_other_bodies_are_nobodys_business(kind):
    assert changed(SDP, kind, "zip", public) == (SDP, False)


@pytest.mark.parametrize(
    "kind",
    ["multipart/mixed;boundary=b1", 'Multipart/Alternative; x=y; Boundary="b1"', "multipart/related; boundary=b1 "],
)
def test_a_part(kind):
    body = mixed(part(), PIDF)
    assert changed(body, kind, "", public) == (mixed(part(body=PUBLIC), PIDF), False)


def test_every_part_and_those_within_parts():
    inner = mixed(part(), PIDF, boundary=b"b1-inner")
    body = mixed(PIDF, part(b"multipart/alternative; boundary=b1-inner", inner), part())
    found, _ = changed(body, "multipart/mixed;boundary=b1", "", public)
    assert found == body.replace(SDP, PUBLIC)
    assert found.count(b"192.0.2.1") == 4


def test_line_feeds_alone_no_header_fields_and_a_part_that_is_not_closed():
    sdp = SDP.replace(b"\r\n", b"\n")
    body = (
        b"--b1\nContent-Type: application/sdp\n\n"
        + sdp
        + b"\n--b1\n\nplain text of 10.0.0.9\n--b1\nc:\n b\ncontent-type:\n application/sdp\n\n"
        + sdp
    )
    found, _ = changed(body, "multipart/mixed;boundary=b1", "", public)
    assert found.count(b"192.0.2.1") == 4
    assert found.count(b"10.0.0.9") == 1
    assert len(found) == len(body) + 4


def test_transfer_encodings_and_lengths():
    coded = base64.encodebytes(SDP).replace(b"\n", b"\r\n").rstrip()
    body = mixed(
        part(b"application/sdp", coded, b"Content-Transfer-Encoding: BASE64"),
        part(b"application/sdp", SDP.replace(b"=", b"=3D"), b"Content-Transfer-Encoding: quoted-printable"),
        part(b"application/sdp", SDP, b"Content-Length: %d" % len(SDP), b"Content-Transfer-Encoding: binary"),
    )
    found, _ = changed(body, "multipart/mixed;boundary=b1", "", public)
    assert [public(one) for one in descriptions(body, "multipart/mixed;boundary=b1")] == descriptions(
        found, "multipart/mixed;boundary=b1"
    )
    assert b"Content-Length" not in found
    assert b"10.0.0.9" not in found


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_content_codings_are_taken_off_for_a_change(coding):
    squeeze = gzip.compress if coding == "gzip" else zlib.compress
    assert changed(squeeze(SDP), "application/sdp", coding, public) == (PUBLIC, True)
    same = squeeze(PUBLIC)
    assert changed(same, "application/sdp", coding, public) == (same, False)
    body = squeeze(mixed(part()))
    assert changed(body, "multipart/mixed;boundary=b1", coding, public) == (mixed(part(body=PUBLIC)), True)


@pytest.mark.parametrize(
    ("body", "kind", "coding"),
    [
        (SDP, "application/sdp", "br"),
        (gzip.compress(gzip.compress(SDP, mtime=0), mtime=0), "application/sdp", "gzip, gzip"),
        (gzip.compress(SDP, mtime=0)[:-9], "application/sdp", "gzip"),
        (gzip.compress(bytes(10_000_000)), "application/sdp", "gzip"),
        (SDP, "application/sdp", "gzip"),
        (mixed(part()), "multipart/mixed", ""),
        (mixed(part()), 'multipart/mixed;boundary="b1', ""),
        (mixed(part()), "multipart/mixed;boundary=another", ""),
        (SDP + mixed(PIDF), "multipart/mixed;boundary=b1", ""),
        (mixed(PIDF) + SDP, "multipart/mixed;boundary=b1", ""),
        (mixed(part(b"application/sdp", b"!", b"Content-Transfer-Encoding: base64")), "multipart/mixed;boundary=b1", ""),
        (mixed(part(b"application/sdp", SDP, b"Content-Transfer-Encoding: uuencode")), "multipart/mixed;boundary=b1", ""),
        (mixed(part(b"application/sdp", SDP, b"Content-Encoding: gzip")), "multipart/mixed;boundary=b1", ""),
        (mixed(part(b"message/sip", b"INVITE sip:x SIP/2.0\r\n\r\n" + SDP)), "multipart/mixed;boundary=b1", ""),
        (b"INVITE sip:x SIP/2.0\r\n\r\n" + SDP, "message/sip", ""),
        (mixed(*[PIDF] * (MOST_PARTS + 1)), "multipart/mixed;boundary=b1", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_read_and_may_hold_one(body, kind, coding):
    with pytest.raises(UnreadableBody):
        changed(body, kind, coding, public)
    assert descriptions(body, kind, coding) == []


def test_what_cannot_be_read_and_holds_none():
    for body in (mixed(PIDF), b"", b"SIP/2.0 200 OK\r\n"):
        assert changed(body, "multipart/mixed", "", public) == (body, False)
        assert changed(body, "message/sipfrag", "", public) == (body, False)


def test_how_deep_it_is_looked():
    def nested(levels: int) -> bytes:
        body = part()
        for level in range(levels):
            body = part(b"multipart/mixed; boundary=l%d" % level, mixed(body, boundary=b"l%d" % level))
        return mixed(body)

    kind = "multipart/mixed;boundary=b1"
    assert b"10.0.0.9" not in changed(nested(DEEPEST - 1), kind, "", public)[0]
    with pytest.raises(UnreadableBody):
        changed(nested(DEEPEST), kind, "", public)


def test_hostile_ones_take_no_time():
    begun = time.perf_counter()
    for body in (b"--b\n" * 16_000, (b"--b\n" + b"\n" * 10) * 4000, b"--b\n" + b"x: y\n" * 13_000, b"--b--\n" * 10_000):
        for depth in range(3):
            with pytest.raises(UnreadableBody) if body.count(b"--b\n") > MOST_PARTS else contextlib.nullcontext():
                changed(body, f"multipart/mixed;boundary=b;{'x=y;' * depth}", "", public)
    assert time.perf_counter() - begun < 1
