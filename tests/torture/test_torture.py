"""RFC 4475, RFC 5118 and more through the core: over UDP, on a stream in one piece, and byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.proxy.stack.events import Received, Relay, Send
from edge.sip.flow import Flow
from edge.sip.framing import StreamFramer
from edge.sip.message import Message, Request, Response
from edge.sip.parser import parse
from tests.support.world import DOMAIN, World
from tests.torture.cases import CASES, MALFORMED, RELAYED, Case

HERE = Path(__file__).parent
UDP = Flow("203.0.113.11", 5060, "udp", "198.51.100.7", 4321)
TCP = Flow("203.0.113.11", 5060, "tcp", "198.51.100.7", 4321, 7)
NEXT = b"OPTIONS sip:203.0.113.11 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKnext\r\nMax-Forwards: 70\r\n" + (
    b"From: <sip:a@example.net>;tag=1\r\nTo: <sip:203.0.113.11>\r\nCall-ID: next\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n"
)
"""What shows that a stream can still be read."""


def data_of(name: str) -> bytes:
    return (HERE / f"{name}.sip").read_bytes()


def outcome(world: World, flow: Flow, messages: list[bytes]) -> list[int] | str:
    core = world.nodes["edge-a"].core
    answers: list[int] = []
    for data in messages:
        malformed = core.stack.counters["malformed"]
        actions = core.handle(Received(flow, data), world.now)
        sent = [parse(action.data) for action in actions if isinstance(action, Send)]
        if not sent and any(isinstance(action, Relay) for action in actions):
            return RELAYED
        if not sent and core.stack.counters["malformed"] > malformed:
            return MALFORMED
        for response in sent:
            assert isinstance(response, Response)
            assert response.get("via")
            to = next((line for key, line in response.headers if key == "to"), None)
            assert to is None or "tag" in to
            answers.append(response.status)
    assert core.gauges()["server_transactions"] == core.gauges()["questions"] == 0
    return answers


def test_every_file_has_its_case():
    files = {path.relative_to(HERE).with_suffix("").as_posix() for path in HERE.rglob("*.sip")}
    assert files == {case.name for case in CASES}
    assert len(CASES) == len(files)
    assert sum(name.startswith("rfc4475") for name in files) == 49
    assert sum(name.startswith("rfc5118") for name in files) == 12


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_a_datagram(case: Case):
    assert outcome(World(), UDP, [data_of(case.name)]) == case.answers


@pytest.mark.parametrize("step", [65_536, 1], ids=["in one piece", "byte by byte"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_on_a_stream(case: Case, step: int):
    stream = data_of(case.name)
    expected = case.answers if case.stream is None else case.stream
    goes_on = not case.closes and expected != []
    if goes_on:
        stream += NEXT
    framer, found = StreamFramer(), []
    for index in range(0, len(stream), step):
        found += framer.feed(stream[index : index + step])
    assert (framer.fault is not None) == case.closes
    if goes_on:
        assert found.pop() == NEXT
    assert outcome(World(), TCP, found) == expected


def test_what_an_account_sends_arrives_as_it_was_written():
    """The valid requests, from an account, to a phone: every line but those that a proxy sees to."""
    world = World()
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    valid = [
        case.name
        for case in CASES
        if case.name.startswith("rfc4475") and case.answers in ([403], [407]) and b" REGISTER" not in data_of(case.name)
    ]
    assert len(valid) == 14
    for name in valid:
        original = parse(data_of(name))
        assert isinstance(original, Request)
        request = worn(original)
        bob.agent.received.clear()
        alice.send(request.to_bytes())
        challenge = world.wait(lambda request=request: alice.agent.final(request))
        assert challenge.status == 407
        alice.send(alice.agent.authorize(request, challenge).to_bytes())
        got = world.wait(lambda: next((item for item in bob.agent.received if isinstance(item, Request)), None))
        assert got.method == original.method
        assert got.body == original.body
        assert kept(got) == kept(original)
        bob.send(bob.agent.response(got, 488).to_bytes())
        world.wait(lambda got=got: 488 in alice.agent.statuses(got.method, got.get("call-id") or ""))


def worn(original: Request) -> Request:
    """As alice's phone would send it, to bob."""
    headers = [("from", f"From: <sip:alice@{DOMAIN}>;tag=1"), ("via", "Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKw")]
    headers += [header for header in original.headers if header[0] not in ("from", "via", "route")]
    return Request(original.method, f"sip:bob@{DOMAIN}", headers, original.body)


def kept(message: Message) -> list[str]:
    ours = {"via", "from", "max-forwards", "max-breadth", "record-route", "route", "cseq", "proxy-authorization"}
    ours.add("session-expires")  # where a call says nothing of it (RFC 4028 §8.1)
    return [line for key, line in message.headers if key not in ours]


REGISTERS = {"regbadct": 400, "cparam01": 200, "cparam02": 200, "regescrt": 200, "escnull": 200, "scalar02": 400}


@pytest.mark.parametrize("name", REGISTERS)
def test_what_an_account_registers(name):
    world = World()
    alice = world.phone("alice")
    original = parse(data_of(f"rfc4475/{name}"))
    request = alice.agent.register_request()
    if name == "scalar02":
        request.headers = [header for header in request.headers if header[0] != "cseq"]
    contacts = [header for header in original.headers if header[0] in ("contact", "cseq")[: 1 + (name == "scalar02")]]
    request.headers = [header for header in request.headers if header[0] != "contact"] + contacts
    if name == "scalar02":
        alice.send(request.to_bytes())
        assert world.wait(lambda: alice.agent.received)[0].status == 400
    else:
        assert alice.transact(request).status == REGISTERS[name]
