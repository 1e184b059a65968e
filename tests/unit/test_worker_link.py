"""What processes of one edge say to each other comes whole, however it is cut."""

from __future__ import annotations

import typing

import pytest

from edge.proxy.stack import events
from edge.runtime.worker_link import Carry, Handed, Recording, WorkerLink, apart, whole
from edge.sip.flow import Flow

FLOW = Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 4711)
FRAMES = [Recording(True), Handed(1, FLOW, b"x" * 70_000), Carry(apart(events.Send(FLOW, b"y", "ref")))]


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


@pytest.mark.parametrize("size", [1, 3, 4096, 10**6])
def test_frames_come_whole_in_order(size):
    wire, got = Wire(), []
    sender, receiver = WorkerLink(got.append, lambda: None), WorkerLink(got.append, lambda: None)
    sender.connection_made(wire)
    for frame in FRAMES:
        sender.send(frame)
    for at in range(0, len(wire.data), size):
        receiver.data_received(wire.data[at : at + size])
    assert got == FRAMES


def test_nothing_is_sent_to_nobody():
    ended = []
    link = WorkerLink(lambda frame: None, lambda: ended.append(True))
    link.connection_made(Wire())
    link.connection_lost(None)
    link.send(Recording(True))
    assert ended == [True]


@pytest.mark.parametrize("kind", [*typing.get_args(events.Action), *typing.get_args(events.CoreEvent)])
def test_every_event_and_action_can_be_taken_apart(kind):
    fields = [object() for _ in kind.__match_args__]
    made = whole(apart(kind(*fields)))
    assert type(made) is kind
    assert [getattr(made, name) for name in kind.__match_args__] == fields
