"""Refreshes answered at the edge, and what it does while no decision can be had."""

from __future__ import annotations

import pytest

from edge.proxy.registrar.expiries import GRACE, SHORT, SHORT_SPREAD
from edge.proxy.stack.events import Fed, JournalChanged
from edge.sip.parser import parse
from lambdas.contract import BindingReport, CallAnswered, CallEnded, Change, RegisterQuestion
from lambdas.decisions.register import Expiries
from tests.support.world import DOMAIN, World

GONE = SHORT + SHORT_SPREAD + GRACE + 12  # until somebody has looked


@pytest.fixture
def world() -> World:
    made = World(beating=True)
    made.control.expiries = Expiries(max_expires=900)  # the durable expiry: an hour has too many pings for a quick test
    return made


def asked(world) -> int:
    return sum(isinstance(question, RegisterQuestion) for question in world.control.questions)


def bound(world, user="alice"):
    now = world.control.clock()
    return [item for item in world.control.bindings(f"{user}@{DOMAIN}") if item.live(now)]


def expires(response) -> int:
    return int(response.values("contact")[0].partition(";expires=")[2].partition(";")[0])


def test_refreshes_cost_nothing_until_the_durable_expiry_nears(world):
    phone = world.phone("alice")
    first = phone.transact(phone.agent.register_request())
    assert SHORT <= expires(first) < SHORT + SHORT_SPREAD
    writes = {item.revision for item in world.control.items.values()}
    for _ in range(8):
        world.run(80)
        assert expires(phone.transact(phone.agent.register_request())) == expires(first)
    assert asked(world) == 1
    assert {item.revision for item in world.control.items.values()} == writes
    for _ in range(4):
        world.run(80)
        assert phone.register() == 200
    assert asked(world) == 2
    assert len(bound(world)) == 1


@pytest.mark.parametrize("change", ["contact", "flow", "call_id", "instance", "query"])
def test_what_isnt_a_refresh_is_asked(world, change):
    phone = world.phone("alice")
    assert phone.register() == 200
    if change == "contact":
        phone.agent.port += 1
    elif change == "flow":
        world.phones.pop(phone.public)
        phone.public = (phone.public[0], phone.public[1] + 500)
        world.phones[phone.public] = phone
    elif change == "call_id":
        phone.agent.call_id += "x"
    elif change == "instance":
        phone.agent.instance = "urn:uuid:1"
    request = phone.agent.request_query() if change == "query" else phone.agent.register_request()
    assert phone.transact(request).status == 200
    assert asked(world) == 2


def test_a_replayed_refresh_is_challenged_and_an_older_one_asked(world):
    phone = world.phone("alice")
    request = phone.agent.register_request()
    phone.transact(request)
    request = phone.agent.register_request()
    phone.send(request.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(request))
    signed = phone.agent.authorize(request, challenge)
    phone.send(signed.to_bytes())
    assert world.wait(lambda: phone.agent.final(signed)).status == 200
    replay = parse(signed.to_bytes().replace(b"branch=", b"branch=z9hG4bKreplay"))
    phone.agent.received.clear()
    phone.send(replay.to_bytes())
    assert world.wait(lambda: phone.agent.final(replay)).status == 401
    assert world.nodes["edge-a"].core.stack.counters["refreshes"] == 1


def test_a_wrong_password_is_never_answered_from_a_grant(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    phone.agent.password = "guess"
    assert phone.register() == 403


def test_a_changed_password_is_refused_within_ten_seconds(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    world.control.add("alice", "another")
    world.run(2.1)
    assert phone.register() == 403
    phone.agent.password = "another"
    assert phone.register() == 200


def test_a_grant_older_than_its_revocation_is_not_kept(world):
    """A decision made in a Region that the change hasn't reached."""
    core = world.nodes["edge-a"].core
    phone = world.phone("alice")
    account = world.control.accounts[f"alice@{DOMAIN}"]
    core.stack.grants.revoke(account.aor, account.version + 1)
    assert phone.register() == 200
    assert core.stack.grants.known(account.aor) is None
    phone.register()
    assert asked(world) == 2


def test_a_removed_binding_has_to_be_decided_again(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    core = world.nodes["edge-a"].core
    core.handle(Fed([Change(aor=f"alice@{DOMAIN}", version=0, binding="*")], False), world.now)
    assert len(core.stack.bindings) == 0
    assert phone.register() == 200
    assert asked(world) == 2


def test_after_a_lost_change_every_grant_is_validated_once(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    world.nodes["edge-a"].handle(Fed([], True))
    for _ in range(3):
        assert phone.register() == 200
    assert asked(world) == 2


def test_a_phone_that_goes_missing_is_unregistered(world):
    phone = world.phone("alice")
    phone.agent.answers_options = False
    assert phone.register() == 200
    world.run(SHORT - 1)
    assert bound(world)
    world.run(GONE - SHORT + 1)
    assert not bound(world)
    assert [type(report) for report in world.control.reports] == [BindingReport]
    assert len(world.nodes["edge-a"].core.stack.bindings) == 0


def test_a_phone_that_answers_pings_isnt_missing(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    world.run(600)
    assert bound(world)
    world.run(400)  # but it can't have more than it asked for
    assert not bound(world)


def test_a_process_that_was_stopped_gives_phones_time(world):
    """SIGSTOP for ten minutes: nobody was heard, since nobody listened."""
    phone = world.phone("alice")
    assert phone.register() == 200
    node = world.nodes["edge-a"]
    node.alive = False
    world.run(600)
    node.alive = True
    node._tick()
    world.run(30)
    assert bound(world)
    assert phone.register() == 200
    world.run(60)
    assert bound(world)


def test_a_phone_is_promised_what_its_flow_is_kept_for(world):
    """Whatever address it writes into its Contact; a connection may be lost without a word, too."""
    for transport in ("UDP", "TCP"):
        phone = world.phone("alice", transport=transport)
        phone.agent.host, phone.agent.port = phone.public
        first = phone.transact(phone.agent.register_request())
        assert SHORT <= expires(first) < SHORT + SHORT_SPREAD
        assert "Flow-Timer" not in str(first.headers)
        assert expires(phone.transact(phone.agent.register_request())) == expires(first)


def test_refreshes_of_a_tcp_phone_cost_nothing(world):
    phone = world.phone("alice", transport="TCP")
    for _ in range(8):
        assert phone.register() == 200
        world.run(80)
    assert asked(world) == 1
    assert bound(world)
    world.run(GONE)
    assert not bound(world)


def test_a_tcp_phone_that_looks_after_its_flow_gets_the_durable_expiry(world):
    phone = world.phone("alice", transport="TCP")
    phone.agent.instance = "urn:uuid:1"
    answer = phone.transact(phone.agent.register_request(headers=["Supported: path, outbound"]))
    assert (expires(answer), answer.get("flow-timer"), answer.get("require")) == (900, "20", "outbound")


def test_networks_without_nat():
    """Their phones get what they ask for, and no others."""
    world = World(no_nat_networks=["192.0.2.1/32"])
    near, far = world.phone("alice"), world.phone("bob")
    assert expires(near.transact(near.agent.register_request())) == 3600
    assert expires(far.transact(far.agent.register_request())) < SHORT + SHORT_SPREAD


# Without control plane


def dark(world):
    world.control.dark = True
    world.decision_time = 0.0


def test_known_phones_register_and_call_on_both_edges(world):
    alice, bob, carol = world.phone("alice"), world.phone("bob", "edge-b"), world.phone("carol")
    for phone in (alice, bob, carol):
        assert phone.register() == 200
    dark(world)
    for _ in range(12):  # beyond the durable expiry
        world.run(85)
        for phone in (alice, bob, carol):
            assert phone.register() == 200
    for callee in (bob, carol):
        invite = alice.start_call(f"sip:{callee.agent.username}@{DOMAIN}")
        incoming = world.wait(lambda: next(iter(callee.agent.requests("INVITE")), None))
        callee.send(callee.agent.response(incoming, 200).to_bytes())
        assert world.wait(lambda: alice.agent.final(invite)).status == 200
    assert not bound(world)
    assert not world.control.reports
    world.control.dark = False
    world.run(15)
    for user in ("alice", "bob", "carol"):
        assert bound(world, user)
    assert sum(isinstance(report, CallAnswered) for report in world.control.reports) == 2


def test_a_phone_behind_a_new_mapping_registers_in_the_dark_and_is_known_afterwards(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    dark(world)
    world.phones.pop(bob.public)
    bob.public = ("192.0.2.99", 40000)
    world.phones[bob.public] = bob
    assert bob.register() == 200
    for lit in (False, True):
        if lit:
            world.control.dark = False
            world.run(5)
            assert bound(world, "bob")[0].flow[3] == "192.0.2.99"
        bob.agent.received.clear()
        alice.start_call(f"sip:bob@{DOMAIN}")
        world.wait(lambda: bob.agent.requests("INVITE"))


def test_what_is_unregistered_in_the_dark_stays_so(world):
    alice, bob = world.phone("alice"), world.phone("bob")
    assert alice.register() == bob.register() == 200
    dark(world)
    assert bob.register(expires=0) == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    assert world.wait(lambda: alice.agent.final(invite)).status == 503
    world.control.dark = False
    world.run(5)
    assert not bound(world, "bob")


def test_in_the_dark_strangers_and_wrong_passwords_wait(world):
    alice = world.phone("alice")
    assert alice.register() == 200
    dark(world)
    stranger = world.phone("bob")
    assert stranger.register() == 503
    alice.agent.password = "guess"
    assert alice.register() == 503
    invite = alice.start_call(f"sip:alice@{DOMAIN}")
    assert world.wait(lambda: alice.agent.final(invite)).status == 503


def test_tenants_cannot_call_each_other_in_the_dark(world):
    world.control.add("eve", "pw-eve", tenant="t2")
    eve, bob = world.phone("eve"), world.phone("bob", "edge-b")
    assert eve.register() == bob.register() == 200
    dark(world)
    invite = eve.start_call(f"sip:bob@{DOMAIN}")
    assert world.wait(lambda: eve.agent.final(invite)).status == 503
    assert not bob.agent.requests("INVITE")


def test_static_stability_ends_after_a_day(world):
    alice = world.phone("alice")
    world.control.expiries = Expiries(max_expires=300)
    assert alice.register() == 200
    dark(world)
    world.nodes["edge-a"].core.stack.static_seconds = 300
    statuses = []
    for _ in range(4):
        world.run(90)
        statuses.append(alice.register())
    assert statuses == [200, 200, 200, 503]


# Calls in the journal


def answered_call(world, alice, bob):
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    incoming = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    ok = bob.agent.response(incoming, 200)
    bob.send(ok.to_bytes())
    return invite, incoming, ok


def test_every_answered_call_and_its_end_are_reported_once(world):
    world.control.add("alice", "pw-alice", tenant="t00aa11bb22cc")
    world.control.add("bob", "pw-bob", tenant="t00aa11bb22cc")
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    for side in ("caller", "called"):
        world.control.reports.clear()
        bob.agent.received.clear()
        invite, incoming, ok = answered_call(world, alice, bob)
        answer = world.wait(lambda: alice.agent.final(invite))
        dialog = alice.agent.caller_dialog(invite, answer)
        other = bob.agent.callee_dialog(incoming, ok)
        bob.send(ok.to_bytes())  # a retransmission
        world.run(5)
        ender, dialog, callee = (alice, dialog, bob) if side == "caller" else (bob, other, alice)
        bye = ender.agent.in_dialog(dialog, "BYE")
        ender.send(bye.to_bytes())
        got = world.wait(lambda: next(iter(callee.agent.requests("BYE")), None))
        callee.send(callee.agent.response(got, 200).to_bytes())
        world.run(2)
        first, second = world.control.reports
        assert isinstance(first, CallAnswered)
        assert isinstance(second, CallEnded)
        assert first.call == second.call
        assert first.started == second.started
        assert (first.tenant, second.tenant) == ("t00aa11bb22cc", "t00aa11bb22cc")
        assert second.by == side
        assert (first.caller, first.called) == (f"alice@{DOMAIN}", f"bob@{DOMAIN}")


def test_no_new_calls_while_none_can_be_recorded(world):
    alice, bob = world.phone("alice"), world.phone("bob")
    assert alice.register() == bob.register() == 200
    world.nodes["edge-a"].handle(JournalChanged(False))
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    assert world.wait(lambda: alice.agent.final(invite)).status == 503
    assert alice.register() == 200


def test_a_2xx_waits_until_the_call_is_safe(world):
    alice, bob = world.phone("alice"), world.phone("bob")
    assert alice.register() == bob.register() == 200
    world.nodes["edge-a"].disk = False
    invite, _, _ = answered_call(world, alice, bob)
    world.run(1)
    assert not alice.agent.final(invite)
