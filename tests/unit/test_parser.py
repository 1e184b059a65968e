"""The parser: torture messages, round trips, any split of the stream, and no exception but its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.sip.errors import ParseError
from edge.sip.framing import PONG, StreamFramer, UnreadableStream
from edge.sip.headers import NameAddr, Via, parse_cseq, parse_digest, parse_params, split_list
from edge.sip.message import MalformedMessage, Request, Response, make_response, tagged
from edge.sip.numbers import number_of
from edge.sip.parser import MAX_MESSAGE, parse, parse_head
from edge.sip.uri import Uri, request_uri, without_params

TORTURE_FILES = Path(__file__).parent.parent / "torture"
TORTURE = sorted(TORTURE_FILES.rglob("*.sip"))


@pytest.mark.parametrize("path", TORTURE, ids=lambda path: path.stem)
def test_what_is_read_is_written_as_it_came(path):
    try:
        message = parse(path.read_bytes())
    except ParseError:
        return
    again = parse(message.to_bytes())
    assert (again.start_line, again.headers, again.body) == (message.start_line, message.headers, message.body)


def test_folded_and_compact_forms_are_read():
    message = parse((TORTURE_FILES / "rfc4475" / "wsinv.sip").read_bytes())
    vias = [Via.parse(value).host for value in message.split_values("via")]
    assert vias == ["192.0.2.2", "spindle.example.com", "192.168.255.111"]
    assert NameAddr.parse(message.get("to")).tag == "1918181833n"
    assert NameAddr.parse(message.get("from")).tag == "98asjd8"
    assert parse_cseq(message.get("cseq")) == (9, "INVITE")


def test_body_ends_at_content_length():
    assert parse((TORTURE_FILES / "rfc4475" / "dblreq.sip").read_bytes()).body == b""


@given(st.binary(max_size=300))
@example(b"\r\n\r\n")
@example(b"\r\n\r\n\r\n\r\nINVITE sip:a SIP/2.0\r\n\r\n")
def test_bytes_raise_nothing_but_parse_errors(data):
    try:
        parse(data)
    except ParseError:
        pass


_sip_like = st.lists(
    st.sampled_from(
        [
            b"INVITE sip:a@b SIP/2.0", b"SIP/2.0 200 OK", b"\r\n", b"Via: SIP/2.0/UDP a;branch=z9", b"v:", b"From:",
            b'"', b"<", b">", b";", b",", b":", b"=", b"\\", b"Content-Length: ", b"5", b" ", b"\t", b"\n", b"\0", b"\xff",
            b"To: <sip:x@y>;tag=1", b"CSeq: 1 INVITE", b"sip:", b"@", b"[::1]", b"%41",
        ]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@given(_sip_like)
def test_sip_like_bytes_raise_nothing_but_parse_errors(data):
    try:
        message = parse(data + b"\r\n\r\n")
    except ParseError:
        return
    for reader in (Via.parse, NameAddr.parse, parse_cseq, parse_digest, split_list, parse_params, Uri.parse):
        for key in ("via", "from", "to", "cseq"):
            for value in message.values(key):
                try:
                    reader(value)
                except ParseError:
                    pass


@given(st.text(max_size=80))
@pytest.mark.parametrize(
    "reader", [Uri.parse, NameAddr.parse, Via.parse, parse_cseq, parse_digest, parse_params, split_list]
)
def test_values_raise_nothing_but_parse_errors(reader, text):
    try:
        reader(text)
    except ParseError:
        pass


_token = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-.!%*_+`'~", min_size=1, max_size=12)
_value = st.text(
    st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), max_size=40
).map(str.strip)  # fmt: skip
_names = _token.filter(lambda name: name.lower() not in ("l", "content-length"))


@given(_token, _token, st.lists(st.tuples(_names, _value), max_size=12), st.binary(max_size=50))
def test_round_trip(method, user, headers, body):
    lines = [f"{method} sip:{user}@example.com SIP/2.0"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body)}")
    data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    message = parse(data)
    assert isinstance(message, Request)
    assert message.to_bytes() == data
    assert [line for _, line in message.headers] == lines[1:]


def _message(number: int, body: bytes) -> bytes:
    head = f"MESSAGE sip:{number}@example.com SIP/2.0\r\nCall-ID: {number}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=5), st.data())
def test_any_split_of_a_stream_gives_the_same_messages(bodies, data):
    messages = [_message(number, body) for number, body in enumerate(bodies)]
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    framer, found = StreamFramer(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += framer.feed(stream[start:end])
    assert found == messages


def test_stream_byte_by_byte_with_keep_alives():
    one, two = _message(1, b"x"), _message(2, b"")
    stream = b"\r\n\r\n" + one + b"\r\n" + two + b"\r\n\r\n"
    framer, found = StreamFramer(), []
    for index in range(len(stream)):
        found += framer.feed(stream[index : index + 1])
    assert found == [one, two]
    assert framer.replies() == 2 * PONG
    assert framer.replies() == b""


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_streams_raise_nothing_but_parse_errors(pieces):
    framer = StreamFramer()
    for piece in pieces:
        framer.feed(piece)


@pytest.mark.parametrize(
    "stream",
    [
        b"INVITE sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nContent-Length: 65535\r\n\r\n",
        b"X" * (MAX_MESSAGE + 1),
        b"\rX",
    ],
    ids=["no content-length", "message too long", "head too long", "stray CR"],
)
def test_streams_that_cant_be_read_on(stream):
    framer = StreamFramer()
    good = _message(1, b"x")
    assert framer.feed(good + stream)[0] == good
    assert isinstance(framer.fault, UnreadableStream)
    assert framer.feed(good) == []


def test_a_response_copies_what_it_must():
    request = parse(
        b"OPTIONS sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP x;branch=1\r\nVia: SIP/2.0/UDP y;branch=2\r\nFrom: <sip:c@d>;tag=1\r\n"
        b"t: <sip:a@b>\r\ni: 5\r\nCSeq: 7 OPTIONS\r\nSubject: no\r\n\r\n"
    )
    assert isinstance(request, Request)
    response = make_response(request, 404, to_tag="tt")
    assert isinstance(response, Response)
    assert [line for _, line in response.headers] == [
        "v: SIP/2.0/UDP x;branch=1",
        "Via: SIP/2.0/UDP y;branch=2",
        "From: <sip:c@d>;tag=1",
        "t: <sip:a@b>;tag=tt",
        "i: 5",
        "CSeq: 7 OPTIONS",
        "Content-Length: 0",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a, "b, c" <d,e>, f', ["a", '"b, c" <d,e>', "f"]),
        ('"a\\", b", c', ['"a\\", b"', "c"]),
        ("a", ["a"]),
    ],
)
def test_lists_are_split_outside_quotes_and_brackets(text, expected):
    assert split_list(text) == expected


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("sip:alice@example.com", "alice", "example.com", 0),
        ("SIPS:Bob:secret@EXAMPLE.com:5061;transport=tcp?a=b", "Bob", "example.com", 5061),
        ("sip:[2001:db8::1]:5060", "", "[2001:db8::1]", 5060),
        ("sip:a;b?c@example.com", "a;b?c", "example.com", 0),
        ("sip:bob@example.com.", "bob", "example.com", 0),
        ("sip:bob@example.com.:0005060;x=1", "bob", "example.com", 5060),
        ("sip:%5a%5A%2b:a%20b@example.com", "ZZ+", "example.com", 0),
        ("sip:100%@example.com", "100%", "example.com", 0),
    ],
)
def test_uris(text, user, host, port):
    uri = Uri.parse(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "sip:a@",
        "sip:@b",
        "sip:a@b:0",
        "sip:a@b:99999",
        "sip:a@b c",
        "sip:[::1",
        "sip:.",
        "1a:b",
        "\xe9:b",
        ":b",
        "a b:c",
    ],
)
def test_bad_uris(text):
    with pytest.raises(ParseError):
        Uri.parse(text)


def test_digest_parameters():
    text = 'Digest username="a,b=c", realm="x \\"y\\"", qop=auth, nc=00000001, algorithm = MD5 ,uri="sip:a;b=c"'
    params = parse_digest(text)
    assert params == {
        "username": "a,b=c", "realm": 'x "y"', "qop": "auth", "nc": "00000001", "algorithm": "MD5", "uri": "sip:a;b=c"
    }  # fmt: skip
    assert parse_digest(text.replace('\\"', "'"))["realm"] == "x 'y'"
    assert parse_digest("Basic abc") is None


@pytest.mark.parametrize(
    ("text", "most", "number"),
    [
        ("0", 9, 0),
        ("0070", 255, 70),
        ("0" * 5000 + "255", 255, 255),
        ("0" * 5000 + "256", 255, None),
        ("9" * 5000, 2**31, None),
        ("2147483648", 2**31 - 1, None),
        ("2147483647", 2**31 - 1, 2**31 - 1),
        ("", 9, None),
        ("-1", 9, None),
        ("+1", 9, None),
        ("1 ", 9, None),
        ("\u0661", 9, None),
        ("1_0", 99, None),
    ],
)
def test_numbers_are_bound_by_their_value(text, most, number):
    assert number_of(text, most) == number


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("To: <sip:b@c>;tag=1", True),
        ("To: <sip:b@c>;TAG=1", True),
        ("To: <sip:b@c> ;  tag   =  abc", True),
        ("To: sip:b@c;x=y;tag\t=1", True),
        ("To: sip:b@c", False),
        ("To: <sip:b@c;tag=1>", False),
        ("To: <sip:b@c>;staged=1", False),
        ('To: "x;tag=y" <sip:b@c>', False),
        ('To: <sip:b@c>;x=">;tag=1"', False),
        ('To: <sip:b@c>;x=">;tag=1";tag=2', True),
        ('To: "a\\"b;tag=1" <sip:b@c>;tag=2', True),
        ('To: "open <sip:b@c>', False),
    ],
)
def test_whether_to_has_a_tag(line, has):
    assert tagged(line) == has
    request = Request("OPTIONS", "sip:b@c", [("to", line)])
    answered = next(text for key, text in make_response(request, 404, to_tag="ours").headers if key == "to")
    assert answered == (line if has else f"{line};tag=ours")


def test_a_timestamp_goes_back_in_a_100():
    """RFC 3261 §8.2.6.1."""
    request = Request("INVITE", "sip:b@c", [("timestamp", "Timestamp: 54")])
    assert make_response(request, 100).get("timestamp") == "54"
    assert make_response(request, 200).get("timestamp") is None


@pytest.mark.parametrize(
    ("contact", "uri"),
    [
        ("sip:a@b;transport=tcp", "sip:a@b;transport=tcp"),
        ("sip:a@b;method=BYE?Subject=x", "sip:a@b"),
        ("sip:a@b;METHOD=BYE;ob;x=method", "sip:a@b;ob;x=method"),
        ("sip:a;method=x?y@b:5070?Route=%3Csip:c%3E", "sip:a;method=x?y@b:5070"),
        ("sip:b;method=INVITE", "sip:b"),
        ("sip:[::1]:5061;methods=x", "sip:[::1]:5061;methods=x"),
    ],
)
def test_a_contact_as_a_request_uri(contact, uri):
    """RFC 3261 §19.1.1 table 1."""
    assert request_uri(contact) == uri


@pytest.mark.parametrize(
    ("uri", "rest"),
    [
        ("sip:a@h;x=1;transport=tcp;y", "sip:a@h;transport=tcp"),
        ("sip:a@h;X=1; Y =2;xy=3?x=1&y=2", "sip:a@h;xy=3?x=1&y=2"),
        ("sip:a;x=1@h;y", "sip:a;x=1@h"),
        ("sip:h;x", "sip:h"),
        ("sip:a@h", "sip:a@h"),
    ],
)
def test_a_uri_without_some_parameters(uri, rest):
    assert without_params(uri, frozenset(("x", "y"))) == rest


def test_of_what_cant_be_read_all_that_can_is_kept():
    """So that it can be answered, and a stream goes on behind it."""
    head = "OPTIONS  sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=1\r\nnonsense\r\n@: x\r\nl: 5"
    with pytest.raises(MalformedMessage) as caught:
        parse_head(head)
    error = caught.value
    assert (error.status, error.unframed) == (400, False)
    assert isinstance(error.message, Request)
    assert [key for key, _ in error.message.headers] == ["via", "content-length"]


@pytest.mark.parametrize(
    "bad", ["X: a\rl: 9", "X: a\nl: 9", "Content-Length: 0, 9", "Content-Length: 5\r\nl: 6", "l: +1", "l: 4000000000"]
)
def test_a_stream_ends_where_two_might_read_it_differently(bad):
    framer = StreamFramer()
    found = framer.feed(f"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{bad}\r\n\r\n".encode() + _message(1, b""))
    assert framer.fault is not None
    assert len(found) == 1
    with pytest.raises(MalformedMessage):
        parse(found[0], framed=True)


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nl: 65535\r\n\r\n", 513),
        (b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nX: " + b"x" * 66_000, 513),
        (b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n" + b"X: y\r\n" * 300 + b"l: 0\r\n\r\n", 513),
        (b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n\r\n", 400),
    ],
    ids=["message too long", "header too long", "too many header fields", "no length"],
)
def test_what_is_said_of_streams_that_are_too_much(stream, status):
    found = StreamFramer().feed(stream)
    with pytest.raises(MalformedMessage) as caught:
        parse(found[0], framed=True)
    assert caught.value.status == status
    assert caught.value.message.get("via") == "SIP/2.0/TCP h"


@pytest.mark.parametrize(
    "sent",
    ["SIP/2.0/UDP\th.example", "SIP\t/ 2.0/\tUDP \t h.example\t", "sip/2.0/udp h.example", "SIP/2.0/UDP h.example."],
)
def test_white_space_in_via(sent):
    via = Via.parse(f"{sent};branch =\tx")
    assert (via.transport, via.host, via.branch) == ("udp", "h.example", "x")


def test_what_came_in_a_datagram_may_go_on_by_a_stream():
    message = parse(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n\r\nbody")
    assert StreamFramer().feed(message.to_bytes()) == [
        b"OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\nbody"
    ]
