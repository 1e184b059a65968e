"""Valid messages that few phones send, and what an edge itself has to say."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from edge.proxy.stack.events import Received
from edge.sip.flow import Flow
from edge.sip.message import Request, Response
from edge.sip.parser import parse
from tests.support.agent import unique
from tests.support.world import DOMAIN, WALL, World

STRANGER = Flow("203.0.113.11", 5060, "tcp", "198.51.100.7", 4321, 1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pair(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    return alice, bob


def answer(world: World, method: str, uri: str, *lines: str, flow: Flow = STRANGER, **replaced: str) -> Response | None:
    fields = {
        "Via": f"SIP/2.0/TCP 192.0.2.9;branch={unique('z9hG4bK')}",
        "Max-Forwards": "70",
        "From": "<sip:x@elsewhere.example>;tag=1",
        "To": f"<{uri}>",
        "Call-ID": unique("c"),
        "CSeq": f"1 {method}",
    } | {key.replace("_", "-"): value for key, value in replaced.items()}
    text = "\r\n".join(
        [f"{method} {uri} SIP/2.0", *(f"{key}: {value}" for key, value in fields.items()), *lines, "l: 0"]
    )
    node = world.nodes["edge-a"]
    before = len(node.sent)
    node.handle(Received(flow, text.encode("utf-8", "surrogateescape") + b"\r\n\r\n"))
    return next((parse(sent.data) for sent in node.sent[before:]), None)


def forwarded(world: World, phone, other, request: Request) -> Request:
    """What ``other`` gets of a request of ``phone``'s, which answers the challenge."""
    phone.send(request.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(request))
    assert challenge.status == 407, challenge.status
    phone.send(phone.agent.authorize(request, challenge).to_bytes())
    return world.wait(lambda: next(iter(other.agent.requests(request.method)), None))


# For the edge itself


@pytest.mark.parametrize("uri", [f"sip:{DOMAIN}", "sip:203.0.113.11:5060", f"sip:{DOMAIN}.", "sip:alias.example"])
def test_what_is_for_the_edge_itself(world, uri):
    options = answer(world, "OPTIONS", uri, Max_Forwards="0")
    assert options.status == 200
    assert "REFER" in options.get("allow")
    assert "PUBLISH" not in options.get("allow")
    for key in ("accept", "accept-encoding", "accept-language", "supported"):
        assert options.get(key)
    for method in ("INFO", "SUBSCRIBE", "PUBLISH", "MESSAGE", "INVITE", "BYE"):
        refused = answer(world, method, uri, "Event: presence")
        assert (refused.status, refused.get("allow")) == (405, "OPTIONS, REGISTER")
    assert answer(world, "FOO", uri).status == 501
    required = answer(world, "OPTIONS", uri, "Require: one", "Require: path , two,")
    assert (required.status, required.get("unsupported")) == (420, "one, two")


def test_the_date_of_a_registration(world):
    alice = world.phone("alice")
    for _ in range(2):  # by a decision, and by the grant
        request = alice.agent.register_request()
        response = alice.transact(request)
        assert response.status == 200
        told = parsedate_to_datetime(response.get("date"))
        assert abs(told.timestamp() - WALL - world.now) < 2
        assert response.get("date").endswith(" GMT")
        world.run(30)


@pytest.mark.parametrize(
    ("to", "status"),
    [("isbn:2983792873", 400), ("tel:+4420", 400), (f"sips:alice@{DOMAIN}", 403), ("sip:a@elsewhere.example", 404)],
)
def test_an_address_of_record_is_one_of_ours(world, to, status):
    assert answer(world, "REGISTER", f"sip:{DOMAIN}", To=f"<{to}>").status == status
    assert answer(world, "REGISTER", f"sips:{DOMAIN}", To=f"<{to}>").status == 416


# For others


def test_a_name_written_to_its_end(world, pair):
    alice, bob = pair
    got = forwarded(world, alice, bob, alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}."))
    assert got.uri.startswith("sip:bob@10.0.0.9")


def test_no_hop_more_is_for_what_goes_on(world, pair):
    alice, bob = pair
    for method in ("MESSAGE", "INVITE", "OPTIONS", "BYE"):
        to = f"<sip:bob@{DOMAIN}>" + (";tag=1" if method == "BYE" else "")
        assert answer(world, method, f"sip:bob@{DOMAIN}", Max_Forwards="000", To=to).status == 483
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    cancel = invite.to_bytes().replace(b"INVITE", b"CANCEL").replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    alice.send(cancel)
    world.wait(lambda: 200 in alice.agent.statuses("CANCEL"))
    world.wait(lambda: bob.agent.requests("CANCEL"))


def test_extensions_refuse_neither_cancel_nor_ack(world, pair):
    """RFC 3261 §8.2.2.3."""
    alice, bob = pair
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    line = b"\r\nProxy-Require: none-such\r\nRequire: none-such\r\nCSeq"
    alice.send(invite.to_bytes().replace(b"INVITE", b"CANCEL").replace(b"\r\nCSeq", line))
    world.wait(lambda: bob.agent.requests("CANCEL"))
    bob.send(bob.agent.response(got, 487).to_bytes())
    world.wait(lambda: 487 in alice.agent.statuses("INVITE"))
    bob.agent.received.clear()
    again = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 200).to_bytes())
    dialog = alice.agent.caller_dialog(again, world.wait(lambda: alice.agent.final(again)))
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes().replace(b"\r\nCSeq", line))
    world.wait(lambda: bob.agent.requests("ACK"))
    bye = alice.agent.in_dialog(dialog, "BYE").to_bytes().replace(b"\r\nCSeq", line)
    alice.send(bye)
    world.wait(lambda: 420 in alice.agent.statuses("BYE"))


def test_a_timestamp_comes_back_in_the_100(world, pair):
    alice, _ = pair
    invite = alice.start_call(f"sip:bob@{DOMAIN}", ["Timestamp: 54.2"])
    world.wait(lambda: 100 in alice.agent.statuses("INVITE", invite.get("call-id")))
    trying = next(item for item in alice.agent.responses("INVITE") if item.status == 100)
    assert trying.get("timestamp") == "54.2"


@pytest.mark.parametrize(
    ("contact", "uri"),
    [
        ("<sip:bob@10.0.0.9:5060;method=BYE?Subject=x>", "sip:bob@10.0.0.9:5060"),
        ("<sip:bob@10.0.0.9;METHOD=MESSAGE;ob>", "sip:bob@10.0.0.9;ob"),
        ("<sip:bob@10.0.0.9;ob?Route=%3Csip:evil.example%3E>", "sip:bob@10.0.0.9;ob"),
    ],
)
def test_what_a_contact_has_and_a_request_uri_has_not(world, contact, uri):
    """RFC 3261 §19.1.1 table 1. The phone sees its Contact as it has registered it."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == 200
    request = bob.agent.register_request(contact=contact)
    assert bob.transact(request).get("contact").startswith(contact)
    alice.start_call(f"sip:bob@{DOMAIN}")
    assert world.wait(lambda: bob.agent.requests("INVITE"))[0].uri == uri


@pytest.mark.parametrize(
    "line", ["X-Long: " + "x" * 8192, "Subject: caf\udce9 \udcff", 'X: "a\\\0b"', "Identity: " + "y" * 8000]
)
def test_header_fields_that_nobody_reads_pass(world, pair, line):
    alice, bob = pair
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    request.headers.append((line.partition(":")[0].lower(), line))
    got = forwarded(world, alice, bob, request)
    assert line.encode("utf-8", "surrogateescape") in got.to_bytes()


def test_a_display_name_of_any_octets_passes(world, pair):
    alice, bob = pair
    request = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}", from_=f'"J\udcf6rg" <{alice.agent.aor}>;tag=1')
    assert "J\udcf6rg" in forwarded(world, alice, bob, request).get("from")


def test_lists_in_one_field_and_in_several(world, pair):
    """Commas in quotes and brackets are none; compact names are names."""
    alice, bob = pair
    invite = alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    lists = [
        ("record-route", 'Record-Route: "c, d" <sip:p1,x@192.0.2.1;lr>,<sip:192.0.2.2;lr>'),
        ("supported", "k: 100rel,\ttimer"),
        ("supported", "Supported: replaces"),
        ("accept", "Accept: application/sdp, text/plain"),
    ]
    invite.headers[1:1] = lists
    alice.send(invite.to_bytes())
    invite = alice.agent.authorize(invite, world.wait(lambda: alice.agent.final(invite)))
    more = ["SIP/2.0/TCP 10.0.0.7;branch=z9hG4bKb", 'SIP/2.0/UDP 10.0.0.8;y="c,";branch=z9hG4bKc']
    at = next(index for index, (key, _) in enumerate(invite.headers) if key == "via")
    invite.headers[at] = ("via", f'{invite.headers[at][1]};x="a, b" , {", ".join(more)}')
    alice.send(invite.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    for header in lists:
        assert header in got.headers
    bob.send(bob.agent.response(got, 200).to_bytes())
    answered = world.wait(lambda: next((r for r in alice.agent.responses("INVITE") if r.status == 200), None))
    vias = answered.split_values("via")
    assert vias[0].startswith("SIP/2.0/UDP 10.0.0.9:5060;rport=30000;branch=")
    assert ';x="a, b"' in vias[0]
    assert vias[1:] == more
    assert answered.split_values("record-route")[-2:] == ['"c, d" <sip:p1,x@192.0.2.1;lr>', "<sip:192.0.2.2;lr>"]
    dialog = alice.agent.caller_dialog(invite, answered)
    dialog.cseq += 1
    ours, others = dialog.routes[-2:], dialog.routes[:-2]
    assert len(others) == 2
    dialog.routes = [", ".join(dict.fromkeys((*ours, *others)))]
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.wait(lambda: bob.agent.requests("ACK"))


def test_several_contacts_in_one_field_and_in_several(world):
    bob = world.phone("bob")
    contacts = '"a, b" <sip:bob@10.0.0.1>;q=0.5 , <sip:bob@10.0.0.2>;+sip.instance="<urn:x,y>"'
    response = bob.transact(bob.agent.register_request(contact=contacts, headers=["m: <sip:bob,c@10.0.0.3>"]))
    assert response.status == 200
    assert len(response.split_values("contact")) == 3
