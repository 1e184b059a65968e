"""Answers that name other payload types than the offer: what the engine is told, and what becomes of its answer."""

from __future__ import annotations

import pytest

from edge.media.formats import restored, told

HEAD = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nt=0 0\r\n"


def body(*media: tuple[str, str], port: int = 4000) -> bytes:
    """``media`` are formats, and what follows in lines that ``/`` ends."""
    sections = [
        f"m=audio {port} RTP/AVP {formats}\r\n{lines.replace('/', chr(13) + chr(10))}" for formats, lines in media
    ]
    return (HEAD + "".join(sections)).encode()


OFFER = body(("0 101", "a=rtpmap:101 event/a=fmtp:101 0-16/a=sendrecv/"), ("97", "a=rtpmap:97 video/"))


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (body(("0 101", "a=rtpmap:101 event/"), ("97", "")), None),
        (body(("0", ""), ("97", "")), None),
        (body(("0 101", "")), None),
        (
            body(("96 0", "a=rtpmap:96 event/a=rtcp-fb:96 x/a=recvonly/"), ("97", "a=rtpmap:97 video/"), port=5000),
            body(("0 101", "a=rtpmap:101 event/a=fmtp:101 0-16/a=recvonly/"), ("97", "a=rtpmap:97 video/"), port=5000),
        ),
        (
            body(("0", "c=IN IP4 192.0.2.1/a=x/"), ("98", "c=IN IP4 192.0.2.1/")),
            body(("0", "c=IN IP4 192.0.2.1/a=x/"), ("97", "c=IN IP4 192.0.2.1/a=rtpmap:97 video/")),
        ),
        (
            body(("96", "c=IN IP4 192.0.2.1/a=rtpmap:96 event/a=x/"), ("97", "")),
            body(("0 101", "c=IN IP4 192.0.2.1/a=rtpmap:101 event/a=fmtp:101 0-16/a=x/"), ("97", "")),
        ),
    ],
    ids=["as offered", "fewer", "not an answer to that", "another number", "without attributes", "with others"],
)
def test_the_engine_is_told_numbers_that_were_offered(answer, seen):
    assert told(answer, OFFER) == (seen or answer)
    assert restored(told(answer, OFFER), answer) == answer


def test_what_the_engine_leaves_out_is_put_back():
    answer = body(("96 0", "a=rtpmap:96 event/a=sendrecv/"))
    engines = body(("0", "a=sendrecv/a=rtcp:30001/"), port=30000)
    assert restored(engines, answer) == body(("96 0", "a=rtpmap:96 event/a=sendrecv/a=rtcp:30001/"), port=30000)
    assert restored(answer, answer) == answer
