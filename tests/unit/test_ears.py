"""Ears that don't say that they have heard what wasn't there."""

from __future__ import annotations

import struct
from array import array

import pytest

from scripts.tones import listen, one_frame
from tests.support import ears
from tests.support.wire_ear import rtp_payload


class Line:
    """What is said on it, ``loudness`` times as loud as tones are, with a ``pause`` of so many frames now and then."""

    def __init__(self, frequency: int, loudness: float = 1.0, pause: int = 0) -> None:
        self._frame = array("h", (int(sample * loudness) for sample in one_frame(frequency)))
        self._pause = pause
        self._asked = 0

    def new_sound(self) -> array[int]:
        self._asked += 1
        return array("h", bytes(320)) if self._asked % 40 < self._pause else self._frame


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """No time passes."""

    def record(wanted, seconds):
        return [array("h", [sample for _ in range(int(seconds * 50)) for sample in ear.new_sound()]) for ear in wanted]

    monkeypatch.setattr(ears, "record", record)
    monkeypatch.setattr(ears, "PATIENCE", 0.0)
    monkeypatch.setattr(ears, "slowness", lambda: 1.0)


def test_a_tone_is_heard():
    ears.hear([(Line(450), 450), (Line(700), 700)])


@pytest.mark.parametrize(
    "line",
    [Line(700), Line(450, 0.0), Line(450, 0.3), Line(450, 2.0), Line(450, pause=15)],
    ids=["another's", "silence", "softly", "loudly", "with gaps"],
)
def test_anything_else_isnt_heard(line):
    with pytest.raises(AssertionError, match="not heard as it should be"):
        ears.hear([(Line(450), 450), (line, 450)])


def test_nothing_is_heard():
    ears.hear_nothing([(Line(450, 0.0), 450), (Line(700), 450)])
    with pytest.raises(AssertionError, match="still heard"):
        ears.hear_nothing([(Line(450, 0.0), 450), (Line(450), 450)])


def frame(payload: bytes, kind: int = 0x0800, protocol: int = 17, first: int = 0x80, payload_type: int = 8) -> bytes:
    rtp = struct.pack("!BBHII", first, payload_type, 1, 160, 7) + payload
    udp = struct.pack("!HHHH", 4000, 5000, 8 + len(rtp), 0) + rtp
    ip = {
        0x0800: struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, protocol, 0) + bytes(8),
        0x86DD: struct.pack("!IHBB", 6 << 28, len(udp), protocol, 64) + bytes(32),
    }.get(kind, b"")
    return bytes(12) + struct.pack("!H", kind) + ip + udp


@pytest.mark.parametrize("kind", [0x0800, 0x86DD], ids=["IPv4", "IPv6"])
def test_the_cable_is_read(kind):
    said = bytes(range(160))
    assert rtp_payload(frame(said, kind)) == said
    assert rtp_payload(frame(said, kind) + bytes(6)) == said  # padding of the Ethernet


@pytest.mark.parametrize(
    "data",
    [
        frame(b"x" * 160, 0x0806),
        frame(b"x" * 160, protocol=6),
        frame(b"x" * 160, first=0x00),  # STUN
        frame(b"x" * 160, payload_type=72),  # RTCP
        frame(b"x" * 160)[:40],
    ],
    ids=["ARP", "TCP", "STUN", "RTCP", "too short"],
)
def test_nothing_else_on_the_cable_is(data):
    assert rtp_payload(data) == b""


def test_a_law_is_read():
    """450 Hz as ITU-T G.711 has it: 0xD5 is the smallest value above 0, 0x2A the greatest one below it in size."""
    from tests.support.wire_ear import _LINEAR

    assert [_LINEAR[octet] for octet in (0xD5, 0x55, 0xAA, 0x2A)] == [8, -8, 32256, -32256]
    coded = bytes(
        min(range(256), key=lambda octet, wanted=sample: abs(_LINEAR[octet] - wanted)) for sample in one_frame(450)
    )
    assert listen([_LINEAR[octet] for octet in coded] * 10, 450).share == 1.0
