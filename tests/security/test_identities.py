"""What a phone may say of itself to another, and what is promised."""

from __future__ import annotations

import pytest

from edge.proxy.stack import stack
from edge.sip.transaction import layer
from tests.support.world import DOMAIN, World

CLAIMS = [
    "P-Asserted-Identity: <sip:boss@example.com>",
    "P-Preferred-Identity: <sip:boss@example.com>",
    "Remote-Party-ID: <sip:boss@example.com>;party=calling;screen=yes",
    "Call-Info: <sip:example.com>;answer-after=0",
    "Alert-Info: <http://www.example.com>;info=alert-autoanswer",
    "Alert-Info: Auto Answer",
    "Answer-Mode: Auto;require",
    "Priv-Answer-Mode: Auto",
]


@pytest.fixture
def world():
    return World()


@pytest.fixture
def pair(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    return alice, bob


@pytest.mark.parametrize("line", CLAIMS, ids=lambda line: line.partition(":")[0])
def test_claims_and_commands_do_not_reach_other_phones(world, pair, line):
    alice, bob = pair
    name = line.partition(":")[0].lower()
    invite = alice.start_call(f"sip:bob@{DOMAIN}", [line])
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    assert line not in got.to_bytes().decode()
    assert not got.values(name)
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    final = world.wait(lambda: alice.agent.final(invite))
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    bob.agent.received.clear()
    alice.send(alice.agent.in_dialog(dialog, "INVITE", headers=[line]).to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    assert not got.values(name)


@pytest.mark.parametrize(
    "line", ["Call-Info: <http://example.com/photo.jpg>;purpose=icon", "Alert-Info: <http://example.com/ring>"]
)
def test_what_is_no_command_stays(world, pair, line):
    alice, bob = pair
    alice.start_call(f"sip:bob@{DOMAIN}", [line])
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    assert got.values(line.partition(":")[0].lower())


def test_sips_is_refused_where_nothing_is_secret(world, pair):
    alice, bob = pair
    invite = alice.agent.invite_request(f"sips:bob@{DOMAIN}")
    alice.send(invite.to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 416
    request = alice.agent.register_request()
    index = next(at for at, (key, _) in enumerate(request.headers) if key == "contact")
    request.headers[index] = ("contact", request.headers[index][1].replace("<sip:", "<sips:"))
    assert alice.transact(request).status == 403
    request = alice.agent.register_request()
    index = next(at for at, (key, _) in enumerate(request.headers) if key == "to")
    request.headers[index] = ("to", request.headers[index][1].replace("<sip:", "<sips:"))
    assert alice.transact(request).status == 403
    assert not bob.agent.requests("INVITE")


def test_transactions_have_a_bound_in_number_and_octets(world, pair, monkeypatch):
    alice, _ = pair
    kept = world.nodes["edge-a"].core.stack.transactions._kept
    assert kept.total > 0
    world.run(60)
    assert kept.total == 0
    for name, value in (("MOST_SERVERS", 0), ("MOST_OCTETS", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(layer, name, value)
            assert alice.register() == 503
    with monkeypatch.context() as patch:
        patch.setattr(stack, "SHARE", 0.0)
        newcomer = world.phone("carol")
        assert newcomer.register() == 503
        assert alice.register() == 200
    assert alice.register() == 200
