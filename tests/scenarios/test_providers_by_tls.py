"""Providers by TLS and IPv6: who has to be there, on which connection, and what is said where that fails."""

from __future__ import annotations

import pytest

from edge.proxy.stack.events import FlowClosed, Trust
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr
from edge.sip.server_names import server_name
from edge.sip.uri import Uri
from lambdas.contract import AccessQuestion, ProviderReport
from tests.scenarios.test_provider_calls import answered, arrives, dial
from tests.support.provider import ProviderDouble, account, assign, provider_world
from tests.support.world import World

A, B, A6, NAME = "203.0.113.11", "203.0.113.12", "2001:db8::11", "edge-a.example.net"
HOST, CA = "sip.voip.test", "-----BEGIN CERTIFICATE-----"


@pytest.fixture
def world() -> World:
    return provider_world(sides={A: (A6, NAME)})


@pytest.fixture
def provider(world) -> ProviderDouble:
    return ProviderDouble(world, transport="tls")


def by_tls(world, **kwargs):
    made = account(transport="tls", **kwargs)
    assign(world, made)
    world.run(2)
    return made


def flows(world, host="198.51.100.1"):
    return {one.flow for node in world.nodes.values() for one in node.sent if one.flow.host == host}


def last_report(world):
    world.run(0.2)
    return [one for one in world.control.reports if isinstance(one, ProviderReport)][-1]


def test_one_connection_to_the_domain_of_the_account_carries_all(world, provider, alice):
    by_tls(world)
    _, dialog, out, theirs = answered(world, alice, provider)
    contact = provider.registers[-1].get("contact")
    assert contact == f"<sip:contactvoip@{NAME}:5061;transport=tls>;expires=3600"
    assert out.get("via").startswith(f"SIP/2.0/TLS {NAME}:5061;branch=")
    assert NameAddr.parse(out.get("contact")).uri.endswith(f"@{NAME}:5061;transport=tls")
    alice.send(alice.agent.in_dialog(dialog, "INVITE").to_bytes())
    again = arrives(world, provider, number=1)
    provider.answer(provider.agent.response(again, 200))
    provider.send(provider.agent.in_dialog(theirs, "BYE").to_bytes())
    world.wait(lambda: alice.agent.requests("BYE"))
    world.run(30)
    assert provider.pings
    assert flows(world) == {Flow(A, 5061, "tls", "198.51.100.1", 5060, 0, HOST)}


def test_calls_come_in_by_that_connection_or_by_one_of_their_own(world, provider):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    by_tls(world)
    node = world.nodes["edge-a"]
    for number, flow in enumerate((provider.flow_to(node), Flow(A, 5061, "tls", "198.51.100.1", 40000, 77))):
        node.connections[flow] = provider
        invite = provider.agent.invite_request(provider.contact)
        provider.flow_to = lambda _, flow=flow: flow
        provider.send(invite.to_bytes())
        got = world.wait(lambda number=number: bob.agent.requests("INVITE")[number:])[0]
        ok = bob.agent.response(got, 200)
        bob.send(ok.to_bytes())
        final = world.wait(lambda invite=invite: provider.agent.final(invite))
        dialog = provider.agent.caller_dialog(invite, final)
        provider.send(provider.agent.in_dialog(dialog, "ACK").to_bytes())
        world.wait(lambda number=number: bob.agent.requests("ACK")[number:])
        bob.send(bob.agent.in_dialog(bob.agent.callee_dialog(got, ok), "BYE").to_bytes())
        bye = world.wait(lambda number=number: provider.agent.requests("BYE")[number:])[0]
        provider.answer(provider.agent.response(bye, 200))
        world.wait(lambda number=number: len(bob.agent.responses("BYE")) > number)


def test_a_server_that_is_another_is_left_for_the_next_and_the_reason_is_shown(world):
    first, second = ProviderDouble(world, transport="tls"), ProviderDouble(world, "198.51.100.2", transport="tls")
    why = "the certificate is for other.test, not for sip.voip.test"
    first.silent = second.silent = True
    by_tls(world)
    node = world.nodes["edge-a"]
    node.handle(FlowClosed(first.flow_to(node), why))
    world.run(2)
    assert second.registers or second.flow_to(node) is not None
    node.handle(FlowClosed(second.flow_to(node), why))
    report = last_report(world)
    assert (report.state, report.status, report.reason) == ("failing", 0, why)
    first.silent = False
    world.run(60)
    assert last_report(world).state == "registered"
    node.handle(FlowClosed(first.flow_to(node)))  # it has closed its connection
    world.run(2)
    assert len(first.registers) == 3  # challenged once, and registered again at once


def test_a_call_says_why_too(world, provider, alice):
    by_tls(world)
    invite = dial(world, alice)
    arrives(world, provider)
    world.nodes["edge-b"].core.stack.transactions.flow_closed(provider.flow_to(world.nodes["edge-a"]), world.now, "X")
    final = alice.agent.final(invite) or world.wait(lambda: alice.agent.final(invite))
    assert (final.status, final.reason) == (500, "Server Internal Error: X")


def test_two_names_or_cas_at_one_address_are_two_connections(world, provider):
    world.servers["other.voip.test"] = world.servers[HOST]
    node = world.nodes["edge-a"]
    for name, change in (("one", {}), ("two", {"host": "other.voip.test"}), ("three", {"ca": CA})):
        assign(world, account(name, transport="tls", **change))
    world.run(5)
    names = {flow.server for flow in flows(world)}
    assert names == {HOST, "other.voip.test", server_name(HOST, CA)}
    assert len(node.core.agent._registrants) == 3


def test_a_proxy_is_who_its_own_name_says(world):
    proxy = ProviderDouble(world, "198.51.100.5", "proxy.voip.test", transport="tls")
    by_tls(world, outbound_proxy="proxy.voip.test:5071")
    assert proxy.registers[-1].uri == f"sip:{HOST};transport=tls"
    assert proxy.registers[-1].get("route") == "<sip:proxy.voip.test:5071;transport=tls;lr>"
    assert {flow.server for flow in flows(world, "198.51.100.5")} == {"proxy.voip.test"}


def trusted(world, edge):
    """The CAs that this edge tells its sockets from now on."""
    node, found = world.nodes[edge], []
    carry_out = node._carry_out

    def listening(action):
        found.extend([action.ca] if isinstance(action, Trust) else [])
        carry_out(action)

    node._carry_out = listening
    return found


@pytest.mark.parametrize("registers", [True, False])
def test_a_call_goes_on_after_a_restart_with_the_accounts_own_ca(world, provider, registers):
    phone = world.phone("alice", "edge-a")
    assert phone.register() == 200
    provider.asks = False
    made = by_tls(world, ca=CA, registers=registers)
    _, dialog, *_ = answered(world, phone, provider)
    world.run(1)
    world.restart("edge-a")
    found = trusted(world, "edge-a")
    if registers:
        assign(world, made)
    provider.agent.received.clear()
    phone.send(phone.agent.in_dialog(dialog, "BYE").to_bytes())
    arrives(world, provider, "BYE")
    assert found[:1] == [CA]
    assert {flow.server for flow in flows(world)} == {server_name(HOST, CA)}
    assert any(isinstance(question, AccessQuestion) for question in world.control.questions) is not registers


def test_a_provider_by_ipv6_sees_the_ipv6_side(world, alice):
    provider = ProviderDouble(world, "2001:db8:5::1")
    assign(world, account())
    world.run(2)
    assert provider.registers[-1].get("contact") == f"<sip:contactvoip@[{A6}]:5060>;expires=3600"
    assert last_report(world).server == "udp:[2001:db8:5::1]:5060"
    _, _, out, _ = answered(world, alice, provider)
    assert out.get("via").startswith(f"SIP/2.0/UDP [{A6}]:5060;branch=")
    assert Uri.parse(NameAddr.parse(out.get("contact")).uri).host == f"[{A6}]"


def test_an_edge_address_without_an_ipv6_side_has_no_way_there(world):
    provider = ProviderDouble(world, "2001:db8:5::1")
    assign(world, account(), "edge-b")
    world.run(2)
    assert not provider.registers
    assert last_report(world).state == "failing"
    ProviderDouble(world, "198.51.100.9")
    world.run(60)
    assert last_report(world).server == "udp:198.51.100.9:5060"


def test_nobody_is_sent_on_from_tls_into_the_clear(world, provider, alice):
    by_tls(world)
    invite = dial(world, alice)
    for number, transport in enumerate((";transport=tcp", ";transport=udp")):
        out = arrives(world, provider, number=number)
        contact = f"Contact: <sip:+442079460000@{HOST}{transport}>"
        provider.answer(provider.agent.response(out, 302, headers=[contact]))
    assert world.wait(lambda: alice.agent.final(invite)).status == 302
    assert {flow.transport for flow in flows(world)} == {"tls"}


def test_a_sips_contact_is_followed_by_tls(world, alice):
    provider, secure = ProviderDouble(world), ProviderDouble(world, "198.51.100.2", transport="tls")
    secure.asks = False
    assign(world, account())
    world.run(2)
    dial(world, alice)
    out = arrives(world, provider)
    provider.answer(provider.agent.response(out, 302, headers=[f"Contact: <sips:+442079460000@{HOST}>"]))
    assert arrives(world, secure).get("via").startswith("SIP/2.0/TLS")


@pytest.mark.parametrize("elsewhere", ["edge-a", "edge-b"])
@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_call_by_a_connection_of_the_providers_goes_on_after_a_restart(world, transport, elsewhere):
    """Its connection has ended with the process: ours leads to where it came from, nowhere else. The phone's edge needn't
    be the one that registers the account."""
    bob = world.phone("bob", elsewhere)
    assert bob.register() == 200
    provider = ProviderDouble(world, transport=transport)
    made = account(transport=transport)
    assign(world, made)
    world.run(2)
    node = world.nodes["edge-a"]
    theirs = Flow(A, 5061 if transport == "tls" else 5060, transport, "198.51.100.1", 40000, 77)
    node.connections[theirs] = provider
    provider.flow_to = lambda _: theirs
    provider.agent.transport = transport.upper()
    invite = provider.agent.invite_request(provider.contact)
    provider.send(invite.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    final = world.wait(lambda: provider.agent.final(invite))
    provider.send(provider.agent.in_dialog(provider.agent.caller_dialog(invite, final), "ACK").to_bytes())
    world.run(1)
    world.restart("edge-a")
    assign(world, made)
    world.run(2)
    dialog = bob.agent.callee_dialog(got, ok)
    provider.agent.received.clear()
    del provider.flow_to
    bob.send(bob.agent.in_dialog(dialog, "INVITE").to_bytes())
    again = arrives(world, provider)
    provider.answer(provider.agent.response(again, 200))
    world.wait(lambda: 200 in bob.agent.statuses("INVITE"))
    bob.send(bob.agent.in_dialog(dialog, "ACK").to_bytes())
    arrives(world, provider, "ACK")
    bob.send(bob.agent.in_dialog(dialog, "BYE").to_bytes())
    arrives(world, provider, "BYE")
    assert {(flow.remote_port, flow.server) for flow in flows(world) if not flow.connection} == {
        (5060, "sip.voip.test" if transport == "tls" else "")
    }
