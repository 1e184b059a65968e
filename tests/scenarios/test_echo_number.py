"""The echo number: the edge answers as a user agent, in a call like others."""

from __future__ import annotations

import pytest

from edge.proxy.echo.echo_call import LONGEST
from edge.proxy.stack.events import HangUp
from lambdas.contract import CallAnswered, CallEnded, OpenCall, Reject, Route, Target
from tests.support.agent import SDP
from tests.support.world import DOMAIN, World

ECHO = f"sip:echo@{DOMAIN}"
TENANT = "t0123456789ab"


@pytest.fixture
def world() -> World:
    made = World(media=True)
    for name in ("alice", "bob"):
        made.control.add(name, f"pw-{name}", tenant=TENANT)
    return made


@pytest.fixture
def alice(world):
    phone = world.phone("alice", nat=30.0)
    assert phone.register() == 200
    return phone


def ring(world, phone, uri=ECHO):
    """The answer to a call of the echo number, and the dialog."""
    phone.agent.received.clear()
    invite = phone.start_call(uri)
    answer = world.wait(lambda: phone.agent.final(invite))
    return answer, phone.agent.caller_dialog(invite, answer)


def acknowledged(world, phone):
    answer, dialog = ring(world, phone)
    assert answer.status == 200
    phone.send(phone.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    return dialog


def calls(world, node="edge-a"):
    return world.nodes[node].core.gauges()["echo_calls"]


def ports(world, address="203.0.113.11"):
    """Those of each session: at which it hears the called side, and the caller."""
    return [pair for session in world.engines[address].sessions.values() for pair in session.branches.values()]


def reports(world, kind):
    return [one for one in world.control.reports if isinstance(one, kind)]


def test_the_edge_answers_with_what_was_offered(world, alice):
    answer, dialog = ring(world, alice)
    assert answer.status == 200
    (offer, said) = world.engines["203.0.113.11"].orders
    assert offer.body == SDP
    (port,) = [line for line in said.body.split(b"\r\n") if line.startswith(b"m=")]
    assert b"c=IN IP4 203.0.113.11\r\n" in said.body  # the engine itself is the other end
    assert port == b"m=audio 30001 RTP/AVP 8".replace(b"30001", str(ports(world)[0][0]).encode())
    assert b"m=audio %d RTP/AVP 8\r\n" % ports(world)[0][1] in answer.body
    assert answer.get("content-type") == "application/sdp"
    assert len(dialog.routes) == 2
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    assert alice.transact(alice.agent.in_dialog(dialog, "BYE")).status == 200
    world.run(1)
    answered, ended = reports(world, CallAnswered), reports(world, CallEnded)
    assert [(one.caller, one.called, one.legs[0].to) for one in answered] == [
        (f"alice@{DOMAIN}", f"echo@{DOMAIN}", ECHO)
    ]
    assert [(one.call, one.by) for one in ended] == [(answered[0].call, "caller")]
    assert not calls(world)
    assert not ports(world)


def test_it_has_a_number_too(world, alice):
    answer, _ = ring(world, alice, f"sip:*43@{DOMAIN}")
    assert answer.status == 200


def test_an_account_of_that_name_is_called_as_others(world, alice):
    world.control.add("echo", "pw-echo", tenant=TENANT)
    assert alice.transact(alice.agent.invite_request(ECHO)).status == 480
    world.control.add("echo", "pw-echo", tenant="tffffffffffff")
    assert alice.transact(alice.agent.invite_request(ECHO)).status == 200


def test_it_is_nobodys_while_there_are_older_edges(world, alice, monkeypatch):
    monkeypatch.setattr(world.control.facts, "spoken", lambda: 9)
    assert alice.transact(alice.agent.invite_request(ECHO)).status == 404


def test_it_takes_calls_only(world, alice):
    assert alice.transact(alice.agent.request("MESSAGE", ECHO)).status == 404


def test_who_wants_no_relay_has_his_echo_relayed_all_the_same(world, alice):
    world.control.decide = lambda question: Route(
        targets=[Target(uri=ECHO, flow=("", 0, "udp", "", 0, 0), binding="", echo=True, media="direct")], tenant=TENANT
    )
    answer, _ = ring(world, alice)
    assert answer.status == 200
    assert len(ports(world)) == 1


def test_without_the_engine_there_is_no_echo(world, alice):
    world.engines["203.0.113.11"].fault = "engine"
    assert alice.transact(alice.agent.invite_request(ECHO)).status == 503


def test_a_stranger_gets_no_answer(world):
    mallory = world.phone("mallory")
    mallory.agent.password = "wrong"
    invite = mallory.agent.invite_request(ECHO)
    mallory.send(invite.to_bytes())
    world.run(5)
    assert mallory.agent.statuses("INVITE") == [407]
    mallory.agent.received.clear()
    assert mallory.transact(mallory.agent.invite_request(ECHO)).status == 403
    assert not world.engines["203.0.113.11"].orders
    assert not calls(world)
    assert not reports(world, CallAnswered)


def test_nobody_calls_it_but_by_a_decision(world, alice):
    """Its own Contact isn't a way there."""
    answer, _ = ring(world, alice)
    contact = answer.get("contact").strip("<>")
    world.control.decide = lambda question: Reject(status=404)
    alice.agent.received.clear()
    assert alice.transact(alice.agent.invite_request(contact)).status == 404


def test_without_a_relay_there_is_no_echo(world, alice):
    world.media = False
    for node in world.nodes.values():
        world.inform(node)
    assert alice.transact(alice.agent.invite_request(ECHO)).status == 501


def test_an_offer_that_cant_be_sent_back_is_refused(world, alice):
    invite = alice.agent.request("INVITE", ECHO, headers=[f"Contact: {alice.agent.contact}"])
    assert alice.transact(invite).status == 488


def test_hold_and_resume(world, alice):
    dialog = acknowledged(world, alice)
    offer = alice.agent.invite_request(ECHO).body
    for said, expected in ((b"a=sendonly", b"a=recvonly"), (b"a=inactive", b"a=inactive"), (b"", b"a=sendrecv")):
        body = offer + (said + b"\r\n" if said else b"")
        request = alice.agent.in_dialog(dialog, "INVITE", body, ["Content-Type: application/sdp"])
        answer = alice.transact(request)
        assert answer.status == 200
        assert expected in answer.body
        ack = alice.agent.in_dialog(dialog, "ACK")
        alice.send(ack.to_bytes())
        world.run(1)
    before = len(alice.agent.responses("INVITE"))
    world.run(40)
    assert len(alice.agent.responses("INVITE")) == before


@pytest.mark.parametrize(("method", "status"), [("UPDATE", 200), ("INFO", 200), ("OPTIONS", 200), ("REFER", 405)])
def test_other_requests_in_the_call(world, alice, method, status):
    dialog = acknowledged(world, alice)
    assert alice.transact(alice.agent.in_dialog(dialog, method)).status == status


def test_the_answer_comes_again_until_it_is_acknowledged(world, alice):
    lost = []
    world.loss = lambda flow, data: data.startswith(b"SIP/2.0 200") and not lost.append(data) and len(lost) < 3
    answer, dialog = ring(world, alice)
    assert len(lost) == 3
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(20)
    assert len(lost) == 3


def test_a_call_that_is_never_acknowledged_ends(world, alice):
    ring(world, alice)
    bye = world.wait(lambda: next(iter(alice.agent.requests("BYE")), None))
    assert "never acknowledged" in bye.get("reason")
    alice.send(alice.agent.response(bye, 200).to_bytes())
    world.run(5)
    assert [one.by for one in reports(world, CallEnded)] == ["called"]
    assert not calls(world)
    assert not ports(world)


def test_a_call_ends_after_its_time(world, alice):
    dialog = acknowledged(world, alice)
    world.run(LONGEST - 5)
    assert not alice.agent.requests("BYE")
    bye = world.wait(lambda: next(iter(alice.agent.requests("BYE")), None))
    assert "The echo ends after 5 minutes" in bye.get("reason")
    assert bye.get("call-id") == dialog.call_id
    alice.send(alice.agent.response(bye, 200).to_bytes())
    world.run(5)
    assert [one.by for one in reports(world, CallEnded)] == ["called"]
    assert not calls(world)
    assert not ports(world)


def test_a_call_outlives_its_edges_process(world, alice):
    dialog = acknowledged(world, alice)
    world.restart("edge-a")
    request = alice.agent.in_dialog(dialog, "INVITE", alice.agent.invite_request(ECHO).body)
    answer = alice.transact(request)
    assert answer.status == 200
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    assert not calls(world)
    assert alice.transact(alice.agent.in_dialog(dialog, "BYE")).status == 200
    world.run(1)
    assert len(reports(world, CallEnded)) == 1
    assert not ports(world)


def test_it_is_called_by_tls_and_at_the_callers_edge(world):
    phone = world.phone("bob", "edge-b", "TLS")
    assert phone.register() == 200
    answer, dialog = ring(world, phone, f"sips:echo@{DOMAIN}")
    assert answer.status == 200
    assert answer.get("contact").startswith("<sips:echo@203.0.113.12")
    phone.send(phone.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    assert calls(world, "edge-b") == 1
    assert phone.transact(phone.agent.in_dialog(dialog, "BYE")).status == 200
    assert not calls(world, "edge-b")
    assert not ports(world, "203.0.113.12")


def test_somebody_outside_is_put_through_to_it(world, provider):
    target = Target(uri=ECHO, flow=("", 0, "udp", "", 0, 0), binding="", echo=True, media="relay")
    world.control.decide = lambda question: Route(targets=[target], tenant=TENANT)
    contact = f"Contact: <sip:caller@{provider.place[0]}>"
    invite = provider.agent.request("INVITE", provider.contact, headers=[contact], body=SDP)
    provider.send(invite.to_bytes())
    answer = world.wait(lambda: provider.agent.final(invite))
    assert answer.status == 200
    dialog = provider.agent.caller_dialog(invite, answer)
    provider.send(provider.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(LONGEST - 10)
    assert len(provider.agent.responses("INVITE")) == 2
    bye = world.wait(lambda: next(iter(provider.agent.requests("BYE")), None))
    provider.answer(provider.agent.response(bye, 200))
    world.run(5)
    assert [one.by for one in reports(world, CallEnded)] == ["called"]
    assert not calls(world)
    assert not ports(world)


def test_the_service_ends_it_as_other_calls(world, alice):
    acknowledged(world, alice)
    (answered,) = reports(world, CallAnswered)
    name = {"tenant": answered.tenant, "call": answered.call, "started": answered.started}
    node = world.nodes["edge-a"]
    node.handle(HangUp([OpenCall(**name, address=node.address, sides=answered.sides, why="suspended")]))
    bye = world.wait(lambda: next(iter(alice.agent.requests("BYE")), None))
    alice.send(alice.agent.response(bye, 200).to_bytes())
    world.run(1)
    assert [one.by for one in reports(world, CallEnded)] == ["service"]
    assert not calls(world)
    assert not ports(world)


def test_a_full_engine_has_no_echo(world, alice):
    world.engines["203.0.113.11"].fault = "full"
    assert alice.transact(alice.agent.invite_request(ECHO)).status == 503
    assert not calls(world)
