"""What is asked of a media engine crosses the mesh as it was."""

from __future__ import annotations

import json

import pytest

from edge.media.orders import ANSWER, DESCRIBE, DROP, FULL, MediaOrder, MediaReply, Needs

ORDER = MediaOrder(
    "k1",
    DESCRIBE,
    "a\udc80",
    "b",
    "z9hG4bK1",
    bytes(range(256)),
    Needs("RTP/AVP", ice="remove", family="IP4"),
    ANSWER,
    source="192.0.2.1",
    tenant="t1",
    began=1_800_000_000,
    leg="0123",
    counts={"alice@example.net": 5, "t1": 50},
)


def test_an_order_crosses_as_it_is():
    assert MediaOrder.unpack(ORDER.pack()) == ORDER


def test_what_says_nothing_takes_no_room():
    assert MediaOrder("k1", DROP).pack() == b'{"key":"k1","kind":"drop"}'


def test_what_a_newer_edge_says_besides_is_left_out():
    data = json.loads(ORDER.pack().decode("utf-8", "surrogatepass"))
    data["new"] = 1
    data["for_"]["newer"] = "x"
    assert MediaOrder.unpack(json.dumps(data).encode()) == ORDER


@pytest.mark.parametrize("reply", [MediaReply(b"v=0\r\n\xff"), MediaReply(b""), MediaReply(None, FULL)])
def test_a_reply_crosses_as_it_is(reply):
    assert MediaReply.unpack(reply.pack()) == reply


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"key":"k","kind":"drop","counts":1}',
        b'{"key":1,"kind":"drop"}',
        b'{"key":"k","kind":"drop","for_":[]}',
        b'{"key":"k","kind":"drop","body":"\xe2\x82\xac"}',
    ],
)
def test_what_is_no_order_is_refused(data):
    with pytest.raises(ValueError, match=r"order|object|text|codec|column"):
        MediaOrder.unpack(data)


def test_what_is_no_reply_is_refused():
    with pytest.raises(ValueError, match="not a text"):
        MediaReply.unpack(b'{"body":1}')
