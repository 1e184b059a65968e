"""``sips:`` never leaves TLS (RFC 3261 §26.2.2, RFC 5630): not to another phone, not in a dialog, not to a provider."""

from __future__ import annotations

import pytest

from edge.providers.leg_token import LegToProvider, open_way
from edge.sip.headers import NameAddr
from edge.sip.uri import Uri
from tests.scenarios.test_calls import answered_call, hang_up
from tests.scenarios.test_provider_calls import answered
from tests.scenarios.test_redirections import redirect
from tests.scenarios.test_transport_pairs import talk
from tests.support.provider import ProviderDouble, account, assign, provider_world
from tests.support.world import DOMAIN, World

BOB = f"sips:bob@{DOMAIN}"
A, B = "203.0.113.11", "203.0.113.12"


@pytest.fixture
def world() -> World:
    return provider_world(sides={A: ("", "edge-a.example.net"), B: ("", "edge-b.example.net")})


@pytest.fixture
def alice(world):
    return secure(world.phone("alice", "edge-a", "TLS"))


def secure(phone):
    """A phone with sips: Contacts."""
    phone.agent.scheme = "sips"
    assert phone.register() == 200
    return phone


def sent_in_the_clear(world):
    return [
        one
        for node in world.nodes.values()
        for one in node.sent
        if one.flow.transport not in ("tls", "wss") and one.data[:6] in (b"INVITE", b"BYE si", b"ACK si")
    ]


@pytest.mark.parametrize("transport", ["TLS", "WSS"])
@pytest.mark.parametrize("node", ["edge-a", "edge-b"])
def test_a_call_is_secure_on_both_sides_for_as_long_as_it_lasts(world, alice, transport, node):
    bob = secure(world.phone("bob", node, transport))
    other = world.phone("bob", "edge-a", "UDP")
    assert other.register() == 200
    mine, theirs = answered_call(world, alice, bob, BOB)
    uris = [Uri.parse(NameAddr.parse(route).uri) for route in mine.routes]
    assert [uri.scheme for uri in uris] == ["sips", "sips"]
    assert {uri.param("transport") for uri in uris} <= {None, "ws"}
    assert [uri.host for uri in uris] == ["edge-a.example.net", f"{node}.example.net"]
    assert bob.agent.requests("INVITE")[0].uri.startswith("sips:bob@")
    talk(world, alice, mine, bob, theirs)
    alice.agent.received.clear()
    bob.agent.received.clear()
    hang_up(world, bob, theirs, alice)
    assert not other.agent.requests("INVITE")
    assert not sent_in_the_clear(world)


@pytest.mark.parametrize("transport", ["UDP", "TCP", "WS"])
def test_nobody_is_called_in_the_clear(world, alice, transport):
    bob = world.phone("bob", "edge-b", transport)
    assert bob.register() == 200
    invite = alice.start_call(BOB)
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, final.get("warning")) == (480, '380 sipwizard "SIPS Not Allowed"')
    assert not bob.agent.requests("INVITE")
    hang_up(world, alice, answered_call(world, alice, bob, f"sip:bob@{DOMAIN}")[0], bob)


@pytest.mark.parametrize("transport", ["UDP", "TCP", "WS"])
def test_what_comes_in_the_clear_is_refused(world, transport):
    caller = world.phone("carol", "edge-a", transport)
    bob = secure(world.phone("bob", "edge-b", "TLS"))
    assert caller.register() == 200
    invite = caller.agent.invite_request(BOB)
    caller.send(invite.to_bytes())
    assert world.wait(lambda: caller.agent.final(invite)).status == 416
    assert not bob.agent.requests("INVITE")


def test_a_call_that_is_not_secure_does_not_say_that_it_is(world):
    """A phone with a sips: Contact has a sip: one as well (RFC 5630 §5.4)."""
    caller, bob = world.phone("carol", "edge-a"), secure(world.phone("bob", "edge-b", "TLS"))
    assert caller.register() == 200
    caller.start_call(f"sip:bob@{DOMAIN}")
    invite = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    assert invite.uri.startswith("sip:bob@")
    assert all("<sip:" in route for route in invite.values("record-route"))


def test_an_account_is_the_same_by_both_schemes(world, alice):
    request = alice.agent.register_request()
    request.headers = [
        (key, line.replace("<sip:", "<sips:") if key in ("to", "from") else line) for key, line in request.headers
    ]
    request.uri = f"sips:{DOMAIN}"
    answer = alice.transact(request)
    assert answer.status == 200
    assert [value.partition(">")[0] for value in answer.values("contact")] == [
        "<sips:alice@10.0.0.9:5060;transport=tls"
    ]
    bob = secure(world.phone("bob", "edge-b", "TLS"))
    for uri in (f"sips:alice@{DOMAIN}", f"sip:alice@{DOMAIN}"):
        dialog, _ = answered_call(world, bob, alice, uri)
        hang_up(world, bob, dialog, alice)


def test_whoever_goes_on_without_tls_hears_no_more_of_the_call(world, alice):
    bob = secure(world.phone("bob", "edge-b", "TLS"))
    mine, theirs = answered_call(world, alice, bob, BOB)
    bob.disconnect()
    bob.agent.scheme, bob.agent.transport = "sip", "UDP"
    assert bob.register() == 200
    world.run(3)
    bob.agent.received.clear()
    again = alice.agent.in_dialog(mine, "INVITE")
    alice.send(again.to_bytes())
    assert world.wait(lambda: alice.agent.final(again)).status in (430, 480)
    alice.send(alice.agent.in_dialog(mine, "ACK").to_bytes())
    world.run(3)
    assert not bob.agent.requests("INVITE")
    assert not bob.agent.requests("ACK")
    bye = bob.agent.in_dialog(theirs, "BYE")
    bob.send(bye.to_bytes())
    assert world.wait(lambda: bob.agent.final(bye)).status == 416
    assert not alice.agent.requests("BYE")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_provider_gets_it_by_tls_only(world, alice, transport):
    provider = ProviderDouble(world, transport=transport)
    assign(world, account(transport=transport))
    world.run(2)
    invite = alice.start_call(f"sips:02079460001@{DOMAIN}")
    if transport != "tls":
        assert world.wait(lambda: alice.agent.final(invite)).status == 480
        assert not provider.agent.requests("INVITE")
        return
    got = world.wait(lambda: next(iter(provider.agent.requests("INVITE")), None))
    assert "<sips:d." in got.get("contact")
    provider.answer(provider.agent.response(got, 200))
    answer = world.wait(lambda: alice.agent.final(invite))
    mine = alice.agent.caller_dialog(invite, answer)
    assert mine.target.startswith("sips:c.")
    assert all(route.startswith("<sips:r.") for route in mine.routes)
    alice.send(alice.agent.in_dialog(mine, "ACK").to_bytes())
    world.wait(lambda: provider.agent.requests("ACK"))
    way = open_way(Uri.parse(mine.routes[0][1:-1]).user, mine.call_id, world.tokens, mine.remote.partition("tag=")[2])
    assert isinstance(way, LegToProvider)
    assert (way.flow.transport, way.flow.server) == ("tls", "sip.voip.test")


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_who_is_put_through_to_a_sips_address_is_rung_by_tls(world, alice, transport):
    """And not at all for somebody outside who isn't reached so himself."""
    carol = secure(world.phone("carol", "edge-b", "WSS"))
    other = world.phone("carol", "edge-a")
    assert other.register() == 200
    provider = ProviderDouble(world, transport=transport)
    assign(world, account(transport=transport))
    world.run(2)
    _, mine, *_ = answered(world, alice, provider)
    refer = alice.agent.in_dialog(mine, "REFER", headers=[f"Refer-To: <sips:carol@{DOMAIN}>"])
    alice.send(refer.to_bytes())
    final = world.wait(lambda: alice.agent.final(refer))
    world.run(2)
    if transport == "udp":
        assert (final.status, carol.agent.requests("INVITE")) == (416, [])
    else:
        assert final.status == 202
        assert carol.agent.requests("INVITE")[0].uri.startswith("sips:carol@")
    assert not other.agent.requests("INVITE")


@pytest.mark.parametrize("first", ["TLS", "UDP"])
def test_a_phone_is_called_by_that_one_of_its_flows_that_is_secure(world, alice, first):
    flows = {}
    for reg_id, transport in enumerate((first, "TCP"), 1):
        phone = flows[transport] = world.phone("bob", "edge-b", transport)
        phone.agent.instance, phone.agent.reg_id = "urn:uuid:00000000-0000-1000-8000-000a95a0e128", reg_id
        assert phone.register() == 200
        world.run(1)
    invite = alice.start_call(BOB)
    world.run(1)
    assert not flows["TCP"].agent.requests("INVITE")
    if first == "TLS":
        assert flows[first].agent.requests("INVITE")
    else:
        assert not sent_in_the_clear(world)
        assert alice.agent.final(invite).status == 480


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
def test_who_is_redirected_to_a_sips_address_goes_there_by_tls(world, transport):
    """Or has to see for himself how he gets there."""
    caller, bob = world.phone("alice", "edge-a", transport), world.phone("bob", "edge-b", "TLS")
    carol, other = world.phone("carol", "edge-b", "WSS"), world.phone("carol", "edge-a")
    for phone in (caller, bob, carol, other):
        assert phone.register() == 200
    invite = caller.start_call(f"sip:bob@{DOMAIN}")
    rung = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    redirect(bob, rung, f"<sips:carol@{DOMAIN}>")
    world.run(2)
    assert not other.agent.requests("INVITE")
    if transport == "UDP":
        assert caller.agent.final(invite).status == 302
        assert not carol.agent.requests("INVITE")
    else:
        carol.send(carol.agent.response(carol.agent.requests("INVITE")[0], 200).to_bytes())
        answer = world.wait(lambda: caller.agent.final(invite))
        assert answer.status == 200
        dialog = caller.agent.caller_dialog(invite, answer)
        assert all(route.startswith("<sips:") for route in dialog.routes)
        caller.send(caller.agent.in_dialog(dialog, "ACK").to_bytes())
        world.wait(lambda: carol.agent.requests("ACK"))
