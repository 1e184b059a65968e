"""What one has seen of a dialog is of no use to anybody else, nor before somebody has answered, nor to whom has been
suspended; and phones that move go on with their calls."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack.events import Fed
from edge.proxy.stack.flow_token import MAX_TOKEN, BadToken, CallReference
from edge.sip.flow import Flow
from lambdas.contract import Change, DialogQuestion
from tests.support.agent import Dialog
from tests.support.world import World

TENANT = "t0000000000aa"
DOMAIN = "example.com"
CONTACT = "Contact: <sip:boss@198.51.100.66:5060>"


@pytest.fixture
def world():
    made = World()
    for name in ("alice", "bob", "eve"):
        made.control.add(name, f"pw-{name}", TENANT)
    return made


@pytest.fixture
def pair(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b", nat=300.0)
    assert alice.register() == bob.register() == 200
    return alice, bob


def ringing(world, alice, bob):
    """bob's phone rings: the INVITE, what alice knows of the dialog, and what bob does."""
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    rings = bob.agent.response(got, 180)
    bob.send(rings.to_bytes())
    seen = world.wait(lambda: next((one for one in alice.agent.responses("INVITE") if one.status == 180), None))
    return got, invite, alice.agent.caller_dialog(invite, seen), bob.agent.callee_dialog(got, rings)


def answer(world, alice, bob, got, mine):
    bob.send(bob.agent.response(got, 200).to_bytes())
    world.wait(lambda: 200 in alice.agent.statuses("INVITE"))
    alice.send(alice.agent.in_dialog(mine, "ACK").to_bytes())
    world.run(1)
    bob.agent.received.clear()
    alice.agent.received.clear()


def talking(world, alice, bob):
    got, _, mine, theirs = ringing(world, alice, bob)
    answer(world, alice, bob, got, mine)
    return mine, theirs


def decline(world, bob, got):
    bob.send(bob.agent.response(got, 603).to_bytes())
    world.run(1)
    bob.agent.received.clear()


def suspend(world, name):
    account = world.control.accounts[f"{name}@{DOMAIN}"]
    world.control.accounts[account.aor] = replace(account, suspended="fraud", enabled=False)
    for node in world.nodes.values():
        node.handle(Fed([Change(aor=account.aor, version=account.version + 1)], False))


METHODS = ("MESSAGE", "NOTIFY", "REFER", "INVITE", "REGISTER", "PUBLISH")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tag", ["", "invented"])
def test_what_was_seen_of_a_call_that_nobody_took_rings_nobody(world, pair, method, tag):
    """From elsewhere, without credentials, in another's name, after the caller's suspension."""
    alice, bob = pair
    got, _, mine, _ = ringing(world, alice, bob)
    decline(world, bob, got)
    suspend(world, "alice")
    eve = world.phone("eve")
    forged = replace(mine, remote=mine.remote.partition(";tag=")[0] + f";tag={tag}") if tag else mine
    request = eve.agent.in_dialog(forged, method, headers=[CONTACT, "Event: check-sync", "Refer-To: <sip:1@x.example>"])
    eve.send(request.to_bytes())
    world.run(5)
    assert not bob.agent.received
    assert eve.agent.statuses(method)[-1] in (403, 405, 407, 481)


@pytest.mark.parametrize("method", ["INVITE", "REFER", "NOTIFY", "SUBSCRIBE", "OPTIONS"])
def test_a_call_has_to_be_answered_before_anybody_rings_in_it(world, pair, method):
    """From the caller's own flow, with the right tags."""
    alice, bob = pair
    got, _, mine, _ = ringing(world, alice, bob)
    bob.agent.received.clear()
    request = alice.agent.in_dialog(mine, method)
    alice.send(request.to_bytes())
    assert world.wait(lambda: alice.agent.final(request)).status in (491, 500)
    assert not bob.agent.requests(method)
    for allowed in ("UPDATE", "PRACK", "INFO"):
        alice.send(alice.agent.in_dialog(mine, allowed).to_bytes())
        world.wait(lambda allowed=allowed: bob.agent.requests(allowed))
    answer(world, alice, bob, got, mine)
    alice.send(alice.agent.in_dialog(mine, method).to_bytes())
    world.wait(lambda: bob.agent.requests(method))


def test_the_called_one_has_to_answer_as_well(world, pair):
    alice, bob = pair
    _, _, _, theirs = ringing(world, alice, bob)
    alice.agent.received.clear()
    request = bob.agent.in_dialog(theirs, "INVITE")
    bob.send(request.to_bytes())
    assert world.wait(lambda: bob.agent.final(request)).status == 491
    assert not alice.agent.requests("INVITE")


def test_both_ends_hold_and_hang_up_without_being_asked_anything(world, pair):
    alice, bob = pair
    mine, theirs = talking(world, alice, bob)
    asked = len(world.control.questions)
    for one, dialog, other in ((alice, mine, bob), (bob, theirs, alice)):
        one.send(one.agent.in_dialog(dialog, "INVITE").to_bytes())
        got = world.wait(lambda other=other: next(iter(other.agent.requests("INVITE")), None))
        other.send(other.agent.response(got, 200).to_bytes())
        world.wait(lambda one=one: 200 in one.agent.statuses("INVITE"))
    bob.send(bob.agent.in_dialog(theirs, "BYE").to_bytes())
    world.wait(lambda: alice.agent.requests("BYE"))
    assert len(world.control.questions) == asked


def test_somebody_elses_credentials_are_no_help(world, pair):
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    eve = world.phone("eve")
    assert eve.register() == 200
    for method in ("INVITE", "BYE"):
        request = eve.agent.in_dialog(mine, method, headers=[CONTACT])
        assert eve.transact(request).status == 403
    assert not bob.agent.requests("INVITE")
    assert not bob.agent.requests("BYE")
    assert not eve.agent.statuses("ACK")


def test_an_ack_whose_tags_do_not_fit_is_dropped(world, pair):
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    for forged in (
        replace(mine, remote=f"<sip:bob@{DOMAIN}>;tag=x"),
        replace(mine, local=f"<sip:alice@{DOMAIN}>;tag=x"),
    ):
        alice.send(alice.agent.in_dialog(forged, "ACK").to_bytes())
    world.run(2)
    assert not bob.agent.requests("ACK")


def moved(world, phone):
    """The phone's NAT gives it another address, of which nobody has heard."""
    del world.phones[phone.public]
    phone.public = ("192.0.2.250", 41_000)
    world.phones[phone.public] = phone


@pytest.mark.parametrize("who", ["caller", "called"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_mobile_phone_that_has_moved_holds_and_hangs_up(world, pair, who, restarted):
    alice, bob = pair
    mine, theirs = talking(world, alice, bob)
    one, dialog, other = (alice, mine, bob) if who == "caller" else (bob, theirs, alice)
    if restarted:
        world.restart(one.node)
    moved(world, one)

    def answered_by_other(method):
        def take():
            got = next((request for request in other.agent.requests(method)), None)
            if got is not None:
                other.send(other.agent.response(got, 200).to_bytes())
                other.agent.received.clear()
            else:
                world.after(0.05, take)

        take()

    for method in ("INVITE", "BYE"):
        answered_by_other(method)
        assert one.transact(one.agent.in_dialog(dialog, method)).status == 200


def test_one_that_has_registered_again_is_known_by_that(world, pair):
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    moved(world, alice)
    assert alice.register() == 200
    asked = len(world.control.questions)
    alice.send(alice.agent.in_dialog(mine, "BYE").to_bytes())
    world.wait(lambda: bob.agent.requests("BYE"))
    assert len(world.control.questions) == asked


def test_a_suspended_phone_that_has_moved_is_refused(world, pair):
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    moved(world, alice)
    suspend(world, "alice")
    assert alice.transact(alice.agent.in_dialog(mine, "INVITE")).status == 403
    assert not bob.agent.requests("INVITE")


def test_once_accounts_change_the_control_plane_is_asked_again(world, pair):
    """A suspension takes effect at once, whatever an edge remembers."""
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    suspend(world, "alice")
    asked = len(world.control.questions)
    alice.send(alice.agent.in_dialog(mine, "INVITE").to_bytes())
    world.run(1)
    assert any(isinstance(question, DialogQuestion) for question in world.control.questions[asked:])


def test_a_call_that_has_ended_is_over(world, pair):
    alice, bob = pair
    mine, theirs = talking(world, alice, bob)
    bob.send(bob.agent.in_dialog(theirs, "BYE").to_bytes())
    got = world.wait(lambda: next(iter(alice.agent.requests("BYE")), None))
    alice.send(alice.agent.response(got, 200).to_bytes())
    world.run(1)
    bob.agent.received.clear()
    request = alice.agent.in_dialog(mine, "INVITE")
    alice.send(request.to_bytes())
    assert world.wait(lambda: alice.agent.final(request)).status == 481
    assert not bob.agent.requests("INVITE")


def test_in_the_dark_where_it_comes_from_is_enough(world, pair):
    alice, bob = pair
    mine, _ = talking(world, alice, bob)
    world.restart("edge-a")
    world.run(1)
    world.control.dark = True
    alice.send(alice.agent.in_dialog(mine, "INVITE").to_bytes())
    world.wait(lambda: bob.agent.requests("INVITE"))
    eve = world.phone("eve")
    eve.send(eve.agent.in_dialog(mine, "INVITE", headers=[CONTACT]).to_bytes())
    world.run(10)
    assert len({request.get("via") for request in bob.agent.requests("INVITE")}) == 1
    assert eve.agent.statuses("INVITE")[-1] == 407


# Tokens


def test_a_token_is_of_one_dialog_and_has_no_room_to_spare():
    keys = World().tokens
    call = CallReference(TENANT, 1_800_000_000, True)
    for flow in (
        Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 5060),
        Flow("203.0.113.11", 5060, "tcp", "2001:db8::1", 1, 9),
    ):
        where = (flow.address, flow.port)
        callers = keys.seal(flow, "AAAAAAAAAAA", "c@h", call, ("f", "t"))
        called = keys.seal(flow, "AAAAAAAAAAA", "c@h", call, ("f",))
        before = keys.seal(flow, "AAAAAAAAAAA", "c@h", call)
        assert max(map(len, (callers, called, before))) <= MAX_TOKEN
        assert keys.open(callers, "c@h", *where, "f", "t").call == call
        assert keys.open(called, "c@h", *where, "t", "f").flow == flow
        assert keys.open(called, "c@h", *where, "another", "f").flow == flow
        assert keys.open(before, "c@h", *where, "any", "tags").flow == flow
        for token, *tags in (
            (callers, "t", "f"),
            (callers, "f", "x"),
            (callers, "x", "t"),
            (called, "f", "t"),
            (called, "t", "x"),
        ):
            with pytest.raises(BadToken):
                keys.open(token, "c@h", *where, *tags)


def test_nothing_is_made_that_an_older_edge_could_not_read(world, pair):
    for node in world.nodes.values():
        fleet = replace(node.core.stack.fleet, spoken=6)
        node.core.stack.fleet = fleet
    alice, bob = pair
    _, _, mine, theirs = ringing(world, alice, bob)
    keys = world.tokens
    for dialog in (mine, theirs):
        assert isinstance(dialog, Dialog)
        for route in dialog.routes:
            user, _, rest = route.strip("<>").removeprefix("sip:").partition("@")
            host = rest.partition(":")[0]
            assert keys.open(user, dialog.call_id, host, 5060).call.tenant == TENANT
