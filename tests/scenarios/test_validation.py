"""Every request is answered, and a bad one says what is wrong (RFC 3261 §16.3)."""

from __future__ import annotations

from functools import partial

import pytest

from edge.proxy.core import Core
from edge.proxy.stack.events import Received
from edge.proxy.stack.questions import MAX_QUESTIONS
from edge.sip.flow import Flow
from edge.sip.message import Response
from edge.sip.parser import parse
from lambdas.contract import LocateQuestion
from tests.support.world import DOMAIN, CountedIds, World

FLOW = Flow("203.0.113.11", 5060, "udp", "198.51.100.7", 4321)
GOOD = {
    "Via": "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKgood;rport",
    "Max-Forwards": "70",
    "From": f"<sip:alice@{DOMAIN}>;tag=1",
    "To": f"<sip:bob@{DOMAIN}>",
    "Call-ID": "c1",
    "CSeq": "1 MESSAGE",
    "Content-Length": "0",
}


def message(start=f"MESSAGE sip:bob@{DOMAIN} SIP/2.0", **changes) -> bytes:
    fields = {**GOOD, **{key.replace("_", "-"): value for key, value in changes.items()}}
    lines = [start, *(f"{key}: {value}" for key, value in fields.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
def world() -> World:
    return World()


def answer(world, data: bytes) -> list[Response]:
    node = world.nodes["edge-a"]
    before = len(node.sent)
    node.handle(Received(FLOW, data))
    world.run(0.1)
    return [item for action in node.sent[before:] if isinstance(item := parse(action.data), Response)]


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (message(From=None), 400, "no from"),
        (message(To=None), 400, "no to"),
        (message(Call_ID=None), 400, "no call-id"),
        (message(CSeq=None), 400, "no cseq"),
        (message(CSeq="1 INVITE"), 400, "CSeq names another method"),
        (message(CSeq="x MESSAGE"), 400, "bad CSeq"),
        (message(CSeq="4294967296 MESSAGE"), 400, "bad CSeq"),
        (message(To='"open <sip:b@c>'), 400, "open quote"),
        (message(Max_Forwards="-1"), 400, "Max-Forwards"),
        (message(Max_Forwards="0"), 483, "Too Many Hops"),
        (message("MESSAGE im:bob@example.com SIP/2.0"), 416, "Unsupported URI Scheme"),
        (message("MESSAGE tel:+4420 SIP/2.0"), 407, "Authentication Required"),
        (message("MESSAGE sip:@ SIP/2.0"), 400, "Bad Request"),
        (message(Proxy_Require="quantum"), 420, "Bad Extension"),
        (message(f"REGISTER sip:{DOMAIN} SIP/2.0", CSeq="1 REGISTER", Require="quantum"), 420, "Bad Extension"),
        (message(To=f"<sip:bob@{DOMAIN}>;tag=x"), 481, "Does Not Exist"),
        (message("MESSAGE sip:bob@example.com SIP/3.0"), 505, "Version"),
        (message(Content_Length="abc"), 400, "Content-Length"),
        (message() .replace(b"Max-Forwards: 70", b"broken line"), 400, "without a name"),
        (message(From="<sip:x@elsewhere.example>;tag=1"), 407, "Authentication Required"),
        (message("MESSAGE sip:bob@elsewhere.example SIP/2.0", From="<sip:x@elsewhere.example>;tag=1"), 403,
          "only accounts of this service"),
        (message(f"MESSAGE sip:{DOMAIN} SIP/2.0"), 405, "Not Allowed"),
        (message(f"CANCEL sip:bob@{DOMAIN} SIP/2.0", CSeq="1 CANCEL"), 481, "Does Not Exist"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)  # fmt: skip
def test_bad_requests(world, data, status, reason):
    (response,) = answer(world, data)
    assert response.status == status
    assert reason in response.reason
    assert response.values("via")[0].startswith(
        "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKgood;rport=4321;received=198.51"
    )
    if status == 420:
        assert response.get("unsupported") == "quantum"
    assert not world.control.questions


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        message(Via=None),
        message(Via="nonsense"),
        message("ACK sip:bob@example.com SIP/2.0", CSeq="1 ACK"),
        message("ACK sip:bob@example.com SIP/2.0", CSeq="1 INVITE"),
        b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.11;branch=z9hG4bKedge-a.b1.forged\r\nCSeq: 1 INVITE\r\n\r\n",
    ],
)
def test_what_cant_be_answered_is_dropped_and_counted(world, data):
    before = sum(world.nodes["edge-a"].core.stack.counters.values())
    assert answer(world, data) == []
    assert sum(world.nodes["edge-a"].core.stack.counters.values()) == before + 1


def test_options_to_the_edge_itself(world):
    for uri in ("sip:203.0.113.11", "sip:203.0.113.12:5060", f"sip:{DOMAIN}"):
        data = message(f"OPTIONS {uri} SIP/2.0", CSeq="1 OPTIONS", From="<sip:x@elsewhere.example>;tag=1").replace(
            b"good", uri[4:].replace(":", "").encode()
        )
        (response,) = answer(world, data)
        assert response.status == 200
        assert "INVITE" in response.get("allow")


def test_max_forwards_is_added_where_missing(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    request.headers = [header for header in request.headers if header[0] != "max-forwards"]
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    alice.send(alice.agent.authorize(request, challenge).to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("MESSAGE")), None))
    assert got.get("max-forwards") == "69"


def test_a_loop_is_found(world):
    """A phone sends what it got straight back, as a misconfigured PBX would."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    alice.send(alice.agent.authorize(request, challenge).to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("MESSAGE")), None))
    got.headers.insert(0, ("via", "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKpbx;rport"))
    got.uri = f"sip:bob@{DOMAIN}"
    bob.send(got.to_bytes())
    world.wait(lambda: 482 in bob.agent.statuses("MESSAGE"))


def test_a_spiral_is_no_loop(world):
    """The same request coming back for somebody else is a forwarding, and goes on."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    alice.send(alice.agent.authorize(request, challenge).to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("MESSAGE")), None))
    got.headers.insert(0, ("via", "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKpbx;rport"))
    got.uri = f"sip:carol@{DOMAIN}"
    bob.send(got.to_bytes())
    assert world.wait(lambda: bob.agent.statuses("MESSAGE")) == [407]


def test_before_the_first_heartbeat_everything_gets_503():
    core = Core("edge-z", "b1", CountedIds("z"))
    (send,) = core.handle(Received(FLOW, message()), 1.0)
    response = parse(send.data)
    assert response.status == 503
    assert 5 <= int(response.get("retry-after")) <= 20


def about(address, ask):
    return LocateQuestion(request=ask, address=address, epoch=1, binding="")


def test_overload_is_answered_at_once(world):
    world.decision_time = 4.0
    node = world.nodes["edge-a"]
    questions = node.core.stack.questions
    for _ in range(MAX_QUESTIONS):
        questions.ask(partial(about, node.address), lambda decision, now: None, world.now)
    node.core.take_actions()
    alice = world.phone("alice")
    begun = world.now
    assert alice.register() == 503
    assert world.now - begun < 1


def test_credentials_for_another_uri_are_refused(world):
    alice = world.phone("alice")
    request = alice.agent.register_request()
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    again = alice.agent.authorize(request, challenge)
    wire = again.to_bytes().replace(f'uri="sip:{DOMAIN}"'.encode(), b'uri="sip:evil.example"')
    alice.send(wire)
    assert world.wait(lambda: alice.agent.final(again)).status == 400


def test_own_credentials_and_asserted_identity_are_not_passed_on(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    alice.start_call(f"sip:bob@{DOMAIN}", ["P-Asserted-Identity: <sip:ceo@example.com>", "Subject: hello"])
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    assert got.get("proxy-authorization") is None
    assert got.get("p-asserted-identity") is None
    assert got.get("subject") == "hello"


def test_other_tenants_look_like_nobody(world):
    alice = world.phone("alice")
    world.control.add("bob", "x", tenant="t2")
    alice.register()
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    world.wait(lambda: 404 in alice.agent.statuses("INVITE", invite.get("call-id")))


def test_from_must_be_the_callers_own(world):
    alice = world.phone("alice")
    world.phone("bob")
    alice.register()
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}", from_=f"<sip:bob@{DOMAIN}>;tag=1")
    assert alice.transact(request).status == 403


def test_a_phone_that_never_answers_a_message_gives_480_in_time(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    begun = world.now
    assert alice.transact(alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")).status == 480
    assert world.now - begun < 32


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(Via="SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKr1;rportx=1;rport"), 407),
        (message(Via='SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKr2;rport\r\nVia: a;branch="x,y'), 407),
        (message(Via="SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKr3; rport\r\nVia: garbage z9hG4bKxx-00000000"), 407),
        (message(Subject="cafe").replace(b"cafe", b"caf\xe9"), 407),
        (message(From=f'"cafe" <sip:alice@{DOMAIN}>;tag=1').replace(b"cafe", b"caf\xe9"), 407),
        (message(From=f"<sip:cafe@{DOMAIN}>;tag=1").replace(b"cafe", b"caf\xe9"), 400),
        (message(From=f"<sip:{'a' * 3000}@{DOMAIN}>;tag=1"), 400),
        (message(To=f'"x;tag=y" <sip:bob@{DOMAIN}>'), 407),
    ],
)
def test_odd_but_answerable(world, data, status):
    (response,) = answer(world, data)
    assert response.status == status
    assert (response.get("via") or "").count("rport=") <= 1
    assert response.get("to").count(";tag=") == (2 if b'"x;tag=y"' in data else 1)
    world.run(40)
    assert world.nodes["edge-a"].core.gauges()["server_transactions"] == 0


def test_contact_that_isnt_text_is_refused_and_nothing_stays_behind(world):
    phone = world.phone("alice")
    request = phone.agent.register_request(contact="<sip:aX@10.0.0.9>")
    phone.send(request.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(request))
    again = phone.agent.authorize(request, challenge)
    phone.send(again.to_bytes().replace(b"sip:aX@", b"sip:a\xff@"))
    assert world.wait(lambda: phone.agent.final(again)).status == 400
    world.run(40)
    assert world.nodes["edge-a"].core.gauges()["server_transactions"] == 0


@pytest.mark.parametrize("nc", ["0000000", "zzzzzzzz", "1" * 5000])
def test_nonce_counts_are_eight_hexadecimal_digits(world, nc):
    phone = world.phone("alice")
    request = phone.agent.register_request()
    phone.send(request.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(request))
    again = phone.agent.authorize(request, challenge)
    phone.send(again.to_bytes().replace(b"nc=00000001", f"nc={nc}".encode()))
    assert world.wait(lambda: phone.agent.final(again)).status == 400


def test_a_callees_odd_via_list_still_reaches_the_caller(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    ok = bob.agent.response(got, 200)
    ours = got.values("via")[0]
    ok.headers = [header for header in ok.headers if header[0] != "via"]
    ok.headers.insert(0, ("via", f'Via: {ours}, SIP/2.0/UDP next;x="y'))
    bob.send(ok.to_bytes())
    world.wait(lambda: 200 in alice.agent.statuses("INVITE", invite.get("call-id")))


def test_credentials_for_one_callee_dont_reach_another(world):
    alice = world.phone("alice")
    world.control.add("carol", "x")
    alice.register()
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    again = alice.agent.authorize(request, challenge)
    alice.send(again.to_bytes().replace(b"MESSAGE sip:bob@", b"MESSAGE sip:carol@"))
    assert world.wait(lambda: alice.agent.final(again)).status == 400


def test_challenges_keep_no_state(world):
    before = world.nodes["edge-a"].core.gauges()["server_transactions"]
    invite = message(f"INVITE sip:bob@{DOMAIN} SIP/2.0", CSeq="1 INVITE")
    assert [response.status for response in answer(world, invite)] == [407]
    sent = len(world.nodes["edge-a"].sent)
    world.run(40)
    assert len(world.nodes["edge-a"].sent) == sent, "a forged source gets one packet for one"
    assert world.nodes["edge-a"].core.gauges()["server_transactions"] == before
