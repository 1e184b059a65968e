"""Where descriptions have media sent."""

from __future__ import annotations

import pytest

from edge.media.destinations import held, hosts, is_phone, strict
from tests.support.media import description

HOLD = description("0.0.0.0", 4000)


def test_hosts_are_read_where_media_go():
    body = description("192.0.2.1", 4000, "c=IN IP4 192.0.2.2/127", "m=video 5 RTP/AVP 96", "c=IN IP6 2001:db8::1")
    assert hosts(body) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}


@pytest.mark.parametrize(
    "line",
    [
        "a=rtcp:9 IN IP4 127.0.0.1",
        "a=rtcp:9 in IP4 127.0.0.1",
        "a=rtcp:9 IN IP4 127.0.0.1 192.0.2.1",
        "a=rtcp:9  IN IP4 127.0.0.1",
        "A=RTCP:9 IN IP4 127.0.0.1",
        "a=rtcp:9",
    ],
)
def test_rtcp_goes_where_the_media_go(line):
    body = description("192.0.2.1", 4000, line)
    assert strict(body) == description("192.0.2.1", 4000, "a=rtcp:9")


@pytest.mark.parametrize(
    "line",
    [
        "c=IN IP4 127.0.0.1 192.0.2.1",
        "c=in IP4 127.0.0.1",
        "c=IN ip4 127.0.0.1",
        "c=IN  IP4 127.0.0.1",
        "C=IN IP4 127.0.0.1",
        "c =IN IP4 127.0.0.1",
        "M=audio 5 RTP/AVP 0",
        "O=- 1 1 IN IP4 127.0.0.1",
        "c=IN\tIP4\t127.0.0.1",
        "a=x\rc=IN IP4 127.0.0.1",
        "a=x\0",
        "a=rtcp:IN IP4 127.0.0.1",
        "a=rtcp: 9",
    ],
)
def test_what_an_engine_might_read_otherwise(line):
    assert strict(description("192.0.2.1", 4000, line)) is None


@pytest.mark.parametrize("host", ["pc.example.org", "127.1", "0x7f000001"])
@pytest.mark.parametrize(("source", "said"), [("198.51.100.7", "IP4 198.51.100.7"), ("2001:db8::7", "IP6 2001:db8::7")])
def test_a_hosts_name_is_where_the_description_came_from(host, source, said):
    """RFC 8866 §5.7 has names, too; an engine would look them up, if it reads them."""
    line = f"c=IN IP4 {host}"
    assert strict(description("192.0.2.1", 4000, line), source) == description("192.0.2.1", 4000, f"c=IN {said}")
    assert strict(description("192.0.2.1", 4000, line)) is None


@pytest.mark.parametrize("kind", ["TCP/BFCP *", "TCP/TLS/BFCP *", "TCP/MSRP *", "tcp/RTP/AVP 0", "TCP t38"])
def test_media_over_tcp_are_refused(kind):
    body = description("192.0.2.1", 4000, f"m=application 5000 {kind}", "a=setup:passive")
    assert strict(body) == body.replace(b"5000", b"0")


def test_an_origin_has_six_words():
    body = description("192.0.2.1", 4000)
    assert strict(body.replace(b"o=-", b"o=Alice at home")) == body


def test_lines_end_as_they_should():
    body = description("192.0.2.1", 4000)
    assert strict(body.replace(b"\r\n", b"\n")) == strict(body.removesuffix(b"\r\n")) == strict(body) == body


@pytest.mark.parametrize(
    ("host", "near", "may"),
    [
        ("192.168.1.5", False, True),
        ("0.0.0.0", False, True),
        ("127.0.0.1", False, False),
        ("127.0.0.1", True, True),
        ("::1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("239.1.1.1", True, False),
        ("169.254.169.254", True, False),
        ("phone.local", True, False),
    ],
)
def test_where_phones_may_be(host, near, may):
    assert is_phone(host, near) is may


@pytest.mark.parametrize(
    ("more", "direction"),
    [([], "sendonly"), (["a=sendrecv"], "sendonly"), (["a=recvonly"], "inactive"), (["a=inactive"], "inactive")],
)
def test_hold_is_said_by_a_direction(more, direction):
    said = description("192.0.2.1", 4000, f"a={direction}")
    assert held(description("0.0.0.0", 4000, *more), "192.0.2.1") == said


def test_a_direction_of_the_whole_session_is_each_mediums():
    body = HOLD.replace(b"t=0 0", b"t=0 0\r\na=recvonly") + b"m=video 4002 RTP/AVP 96\r\na=sendrecv\r\n"
    lines = held(body, "192.0.2.1").split(b"\r\n")
    assert [line for line in lines if line.startswith((b"m=", b"a=in", b"a=send", b"a=recv"))] == [
        b"m=audio 4000 RTP/AVP 0", b"a=inactive", b"m=video 4002 RTP/AVP 96", b"a=sendonly",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "host"),
    [
        (HOLD, ""),
        (HOLD, "2001:db8::1"),
        (description("0.0.0.0", 9, "a=ice-ufrag:x"), "192.0.2.1"),
        (description("192.0.2.7", 4000), "192.0.2.1"),
    ],
)
def test_what_stays_as_it_is(body, host):
    assert held(body, host) == body
