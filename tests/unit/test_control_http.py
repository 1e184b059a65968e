"""Answers of control planes, read as they come."""

from __future__ import annotations

import pytest

from edge.control import http

HEAD = b"HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 18:14:03 GMT\r\n"
CASES = [
    (HEAD + b"Content-Length: 5\r\n\r\nhello", (200, b"hello", True)),
    (HEAD + b"content-length:0\r\n\r\n", (200, b"", True)),
    (HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", (200, b"hi", False)),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", (200, b"hi", False)),
    (b"HTTP/1.1 503\r\nContent-Length: 1\r\n\r\nx", (503, b"x", True)),
    (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", True)),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\nhi", (200, b"hi", True)),
    (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        (200, b"abc0123456789", True),
    ),
    (HEAD + b"Transfer-Encoding: Chunked\r\n\r\n0\r\nTrailer: 1\r\n\r\n", (200, b"", True)),
]


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_an_answer_is_the_same_whole_and_octet_by_octet(data, expected):
    assert http.read(bytearray(data)) == expected
    come = bytearray()
    for octet in data[:-1]:
        come.append(octet)
        assert http.read(come) is None
    come.append(data[-1])
    assert http.read(come) == expected


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_what_follows_an_answer_is_none_to_anything(data, expected):
    status, body, _ = expected
    assert http.read(bytearray(data + b"HTTP/1.1 200 OK\r\n")) == (status, body, False)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no answer of HTTP/1"),
        (b"HTTP/2 200 OK\r\n\r\n", "no answer of HTTP/1"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "no answer of HTTP/1"),
        (HEAD + b"\r\n", "Content-Length ''"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "Content-Length '-1'"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", "Content-Length '99999999999'"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "a chunk of b'xyz' octets"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "too long"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n", "too long"),
        (b"x" * 70_000, "too long"),
    ],
)
def test_what_is_no_answer_is_refused(data, fault):
    with pytest.raises(http.HttpError, match=fault):
        http.read(bytearray(data))
