"""Whatever is done to a message: the core raises nothing, and each side answers for itself only."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proxy.stack.events import Received, Send
from edge.sip.framing import StreamFramer
from edge.sip.message import Response
from edge.sip.parser import parse
from tests.support.world import DOMAIN, World
from tests.torture.test_torture import TCP, UDP

MESSAGES = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.sip"))]
PIECES = [
    b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"\xed\xb3\xbf", b"\\", b'"', b"<", b">", b";", b",", b":", b"=", b" ", b"\t",
    b"\r\n ", b"\r\n\r\n", b"0" * 5000, b"9" * 30, b"-1", b"SIP/2.0", b"sip:", b"sips:", b"tel:+1", b"@", b"?", b"[::1]",
    b"%00", b"%ff", b";tag=", b";tag", b"tag=1", b";rport", b";received=[::1]", b";branch=", b"*", b"l: 1\r\n",
    b"\r\nRoute: <sip:203.0.113.11;lr>", b"\r\nm: *", b"\r\nRequire: x", b"\r\nEvent: refer", b"\r\nVia: ,", b"ACK ", b"INVITE ",
    b"\r\nDiversion: <sip:a@b>;counter=" + b"9" * 5000, b"\r\nHistory-Info: \"", b"\r\nReason: \xff", b"\r\nRAck: 1 " + b"9" * 40,
]  # fmt: skip
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["insert", "replace", "cut", "repeat"]), st.sampled_from(PIECES)),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list[tuple[float, str, bytes]], head_only: bool = True) -> bytes:
    for place, kind, piece in changes:
        limit = data.find(b"\r\n\r\n") if head_only else len(data)
        at = int(place * (limit if limit > 0 else len(data)))
        match kind:
            case "insert":
                data = data[:at] + piece + data[at:]
            case "replace":
                data = data[:at] + piece + data[at + len(piece) :]
            case "cut":
                data = data[:at] + data[at + 7 :]
            case _:
                data = data[:at] + data[at : at + 40] + data[at:]
    return data


@given(st.sampled_from(MESSAGES), CHANGES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_mutated_messages_raise_nothing(message, changes, head_only):
    data = mutated(message, changes, head_only)
    world = World()
    core = world.nodes["edge-a"].core
    framer = StreamFramer()
    found = framer.feed(data) + framer.feed(b"\r\n\r\n")
    for flow, item in [(UDP, data), *[(TCP, one) for one in found]]:
        for action in core.handle(Received(flow, item), world.now):
            if isinstance(action, Send):
                assert isinstance(parse(action.data), Response)
                assert action.flow == flow


@given(st.sampled_from(["INVITE", "MESSAGE", "REGISTER", "REFER", "CANCEL", "BYE"]), CHANGES, st.integers(0, 2))
@settings(max_examples=150 if os.environ.get("LONG") else 75, deadline=None)
def test_mutated_requests_of_accounts_raise_nothing(method, changes, copies):
    world = World()
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    contact = [f"Contact: {alice.agent.contact}", "Refer-To: <sip:x@example.com>"]
    request = alice.agent.request("INVITE" if method == "CANCEL" else method, f"sip:bob@{DOMAIN}", headers=contact)
    if method == "REGISTER":
        request = alice.agent.register_request()
    alice.send(request.to_bytes())
    world.run(1)
    challenge = alice.agent.final(request)
    if challenge is not None and challenge.status in (401, 407):
        request = alice.agent.authorize(request, challenge)
    data = request.to_bytes()
    if method == "CANCEL":
        alice.send(data)
        data = data.replace(b"INVITE", b"CANCEL")
    for _ in range(copies + 1):
        alice.send(mutated(data, changes))
    world.run(40)


@given(st.sampled_from([100, 180, 200, 302, 407, 486, 600]), CHANGES)
@settings(max_examples=150 if os.environ.get("LONG") else 40, deadline=None)  # each plays 200 s
def test_mutated_responses_raise_nothing(status, changes):
    world = World()
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(mutated(bob.agent.response(got, status).to_bytes(), changes))
    world.run(1)
    bob.send(bob.agent.response(got, 200).to_bytes())
    for message in list(bob.agent.requests("CANCEL")):
        bob.send(mutated(bob.agent.response(message, 200).to_bytes(), changes))
    world.run(200)


@given(st.sampled_from(MESSAGES), CHANGES, st.lists(st.integers(1, 60), max_size=20))
@settings(max_examples=300, deadline=None)
def test_however_a_mutated_stream_is_cut_it_is_read_the_same(message, changes, cuts):
    data = mutated(message, changes, head_only=False) * 2
    whole, cut = StreamFramer(), StreamFramer()
    expected, found, at = whole.feed(data), [], 0
    for size in [*cuts, len(data)]:
        found += cut.feed(data[at : at + size])
        at += size
    assert found == expected or whole.fault is not None
    assert (whole.fault is None) == (cut.fault is None)
