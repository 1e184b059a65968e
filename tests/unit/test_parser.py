"""The parser: torture messages, round trips, any split of the stream, and no exception but its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.sip.errors import ParseError
from edge.sip.framing import StreamFramer, UnreadableStream
from edge.sip.headers import NameAddr, Via, parse_cseq, parse_digest, parse_params, split_list
from edge.sip.message import Request, Response, make_response
from edge.sip.parser import MAX_MESSAGE, parse
from edge.sip.uri import Uri

TORTURE = sorted((Path(__file__).parent / "torture").glob("*.sip"))


@pytest.mark.parametrize("path", TORTURE, ids=lambda path: path.stem)
def test_torture(path):
    data = path.read_bytes()
    if path.name.startswith("invalid"):
        with pytest.raises(ParseError):
            parse(data)
        return
    message = parse(data)
    for key, reader in (("via", Via.parse), ("from", NameAddr.parse), ("to", NameAddr.parse), ("cseq", parse_cseq)):
        for value in message.values(key):
            reader(value)
    again = parse(message.to_bytes())
    assert (again.start_line, again.headers, again.body) == (message.start_line, message.headers, message.body)


def test_folded_and_compact_forms_are_read():
    message = parse((Path(__file__).parent / "torture" / "valid-folded-and-compact.sip").read_bytes())
    assert [Via.parse(value).host for value in message.values("via")] == ["192.0.2.2", "spindle.example.com"]
    assert NameAddr.parse(message.get("to")).tag == "1918181833n"
    assert NameAddr.parse(message.get("from")).tag == "98asjd8"
    assert parse_cseq(message.get("cseq")) == (9, "INVITE")


def test_body_ends_at_content_length():
    message = parse((Path(__file__).parent / "torture" / "valid-trailing-octets.sip").read_bytes())
    assert message.body == b""


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
    assert found == [StreamFramer.PING, one, two, StreamFramer.PING]


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
    ],
)
def test_uris(text, user, host, port):
    uri = Uri.parse(text)
    assert (uri.user, uri.host, uri.port) == (user, host, port)


@pytest.mark.parametrize(
    "text", ["", "sip", "sip:", "sip:a@", "sip:@b", "sip:a@b:0", "sip:a@b:99999", "sip:a@b c", "sip:[::1"]
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
