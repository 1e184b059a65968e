"""Registrations and calls through two edges, in virtual time."""

from __future__ import annotations

import pytest

from tests.support.world import DOMAIN, World


@pytest.fixture
def world() -> World:
    return World()


def answered_call(world, caller, callee, uri=f"sip:bob@{DOMAIN}"):
    """Set up a call; (caller's dialog, callee's dialog)."""
    caller.agent.received.clear()
    callee.agent.received.clear()
    invite = caller.start_call(uri)
    incoming = world.wait(lambda: next(iter(callee.agent.requests("INVITE")), None))
    callee.send(callee.agent.response(incoming, 180).to_bytes())
    ok = callee.agent.response(incoming, 200)
    callee.send(ok.to_bytes())
    answer = world.wait(
        lambda: next((r for r in caller.agent.responses("INVITE", invite.get("call-id")) if r.status == 200), None)
    )
    dialog = caller.agent.caller_dialog(invite, answer)
    caller.send(caller.agent.in_dialog(dialog, "ACK").to_bytes())
    world.wait(lambda: callee.agent.requests("ACK"))
    return dialog, callee.agent.callee_dialog(incoming, ok)


def hang_up(world, one, dialog, other):
    bye = one.agent.in_dialog(dialog, "BYE")
    one.send(bye.to_bytes())
    got = world.wait(lambda: next(iter(other.agent.requests("BYE")), None))
    other.send(other.agent.response(got, 200).to_bytes())
    world.wait(lambda: 200 in one.agent.statuses("BYE"))
    return got


def test_register_lists_all_bindings(world):
    one, two = world.phone("alice"), world.phone("alice", "edge-b")
    two.agent.host = "10.0.0.10"
    assert one.register() == 200
    response = two.transact(two.agent.register_request(600))
    contacts = response.values("contact")
    assert response.status == 200
    assert len(contacts) == 2
    here, elsewhere = sorted(int(contact.rpartition("expires=")[2]) for contact in contacts)
    assert 90 <= here <= 120
    assert elsewhere in (3599, 3600)  # the durable expiry


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_register_with_each_algorithm(world, algorithm):
    phone = world.phone("alice")
    phone.agent.algorithm = algorithm
    assert phone.register() == 200


def test_call_across_edges_and_back(world):
    alice, bob = world.phone("alice", "edge-a", nat=30.0), world.phone("bob", "edge-b", nat=30.0)
    assert alice.register() == bob.register() == 200
    dialog, other = answered_call(world, alice, bob)
    assert alice.agent.statuses("INVITE")[1:] == [100, 180, 200]
    invite = bob.agent.requests("INVITE")[0]
    assert len(invite.values("via")) == 2
    assert len(invite.values("record-route")) == 2
    assert invite.get("max-forwards") == "69"
    assert invite.get("proxy-authorization") is None
    assert alice.dropped == bob.dropped == 0
    got = hang_up(world, alice, dialog, bob)
    assert got.get("route") is None
    dialog, other = answered_call(world, alice, bob)
    bob.agent.received.clear()
    hang_up(world, bob, other, alice)


def test_every_flow_token_is_short(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    dialog, _ = answered_call(world, alice, bob)
    for route in dialog.routes:
        assert len(route.split("sip:")[1].split("@")[0]) <= 80


def test_reinvite_and_other_methods_in_dialog(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    dialog, other = answered_call(world, alice, bob)
    asked = len(world.control.questions)
    for method in ("INVITE", "UPDATE", "INFO", "REFER", "NOTIFY", "SUBSCRIBE", "PRACK", "OPTIONS"):
        for one, mine, two in ((alice, dialog, bob), (bob, other, alice)):
            two.agent.received.clear()
            one.send(one.agent.in_dialog(mine, method).to_bytes())
            got = world.wait(lambda two=two, method=method: next(iter(two.agent.requests(method)), None))
            two.send(two.agent.response(got, 200).to_bytes())
            world.wait(lambda one=one, method=method: 200 in one.agent.statuses(method))
            if method == "INVITE":
                one.send(one.agent.in_dialog(mine, "ACK").to_bytes())
                world.wait(lambda two=two: two.agent.requests("ACK"))
            one.agent.received.clear()
    for method in ("MESSAGE", "PUBLISH", "REGISTER"):
        alice.send(alice.agent.in_dialog(dialog, method).to_bytes())
        world.wait(lambda method=method: 405 in alice.agent.statuses(method))
        assert not bob.agent.requests(method)
    assert len(world.control.questions) == asked, "in-dialog requests need no decision"


@pytest.mark.parametrize("method", ["OPTIONS", "MESSAGE", "INFO", "NOTIFY", "REFER", "UNHEARD-OF"])
def test_other_methods_outside_dialogs(world, method):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    request = alice.agent.request(method, f"sip:bob@{DOMAIN}", headers=[f"Contact: {alice.agent.contact}"])
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: next(iter(alice.agent.responses(method)), None))
    request = alice.agent.authorize(request, challenge)
    alice.send(request.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests(method)), None))
    bob.send(bob.agent.response(got, 202).to_bytes())
    world.wait(lambda: 202 in alice.agent.statuses(method))


@pytest.mark.parametrize("event", ["presence", "dialog", "unheard-of", ""])
@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH"])
def test_state_is_nobodys_to_keep(world, method, event):
    """RFC 6665 §4.2.1.1, RFC 3903 §6: neither a decision, nor a phone that would answer for all the others."""
    alice, desk, mobile = world.phone("alice"), world.phone("bob"), world.phone("bob", "edge-b")
    for phone in (alice, desk, mobile):
        assert phone.register() == 200
    asked = len(world.control.questions)
    headers = [f"Contact: {alice.agent.contact}", *([f"Event: {event}"] if event else [])]
    for called in ("bob", "alice"):
        request = alice.agent.request(method, f"sip:{called}@{DOMAIN}", headers=headers)
        response = alice.transact(request)
        assert (response.status, response.get("allow-events")) == (489, "refer, message-summary")
    world.run(1)
    assert not any(phone.agent.requests(method) for phone in (alice, desk, mobile))
    assert len(world.control.questions) == asked


def test_forking_cancels_the_losers(world):
    alice = world.phone("alice")
    desk, mobile = world.phone("bob", "edge-a"), world.phone("bob", "edge-b")
    mobile.agent.host = "10.0.0.10"
    assert alice.register() == desk.register() == mobile.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    first = world.wait(lambda: next(iter(desk.agent.requests("INVITE")), None))
    second = world.wait(lambda: next(iter(mobile.agent.requests("INVITE")), None))
    for phone, request in ((desk, first), (mobile, second)):
        phone.send(phone.agent.response(request, 180, tag=f"t{phone.public[1]}").to_bytes())
    world.run(1)
    desk.send(desk.agent.response(first, 200, tag="desk").to_bytes())
    cancel = world.wait(lambda: next(iter(mobile.agent.requests("CANCEL")), None))
    assert cancel.get("via") == second.get("via")
    mobile.send(mobile.agent.response(cancel, 200).to_bytes())
    mobile.send(mobile.agent.response(second, 487, tag="mobile").to_bytes())
    world.wait(lambda: mobile.agent.requests("ACK"))
    world.run(1)
    assert [status for status in alice.agent.statuses("INVITE", invite.get("call-id")) if status >= 200] == [407, 200]


def test_caller_cancels(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    from edge.sip.transaction.client import make_cancel

    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    alice.send(make_cancel(invite).to_bytes())
    cancel = world.wait(lambda: next(iter(bob.agent.requests("CANCEL")), None))
    bob.send(bob.agent.response(cancel, 200).to_bytes())
    bob.send(bob.agent.response(got, 487).to_bytes())
    world.wait(lambda: 487 in alice.agent.statuses("INVITE"))
    assert alice.agent.statuses("CANCEL") == [200]
    assert bob.agent.requests("ACK")


def test_cancel_while_deciding(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    world.decision_time = 1.0
    from edge.sip.transaction.client import make_cancel

    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    world.run(0.1)
    alice.send(make_cancel(invite).to_bytes())
    world.wait(lambda: 487 in alice.agent.statuses("INVITE"))
    world.run(3)
    assert not bob.agent.requests("INVITE")


def test_cancel_before_ringing_waits_for_the_first_provisional(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    from edge.sip.transaction.client import make_cancel

    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    alice.send(make_cancel(invite).to_bytes())
    world.run(0.3)
    assert not bob.agent.requests("CANCEL")
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.wait(lambda: bob.agent.requests("CANCEL"))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([486, 603], 603),
        ([486, 404], 486),
        ([500, 486], 486),
        ([503, 500], 500),
        ([503], 500),
        ([302, 486], 302),
        ([408, 486], 486),
    ],
)
def test_best_response(world, answers, expected):
    alice = world.phone("alice")
    phones = [world.phone("bob", f"edge-{'ab'[index % 2]}") for index in range(len(answers))]
    alice.register()
    for index, phone in enumerate(phones):
        phone.agent.host = f"10.0.1.{index}"
        assert phone.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    for phone, status in zip(phones, answers, strict=True):
        got = world.wait(lambda phone=phone: next(iter(phone.agent.requests("INVITE")), None))
        phone.send(phone.agent.response(got, status).to_bytes())
        world.run(0.2)
    final = world.wait(
        lambda: [s for s in alice.agent.statuses("INVITE", invite.get("call-id")) if s >= 200 and s != 407]
    )
    assert final == [expected]


def test_challenges_of_branches_are_gathered(world):
    alice = world.phone("alice")
    phones = [world.phone("bob"), world.phone("bob", "edge-b")]
    alice.register()
    for index, phone in enumerate(phones):
        phone.agent.host = f"10.0.1.{index}"
        phone.register()
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    for index, phone in enumerate(phones):
        got = world.wait(lambda phone=phone: next(iter(phone.agent.requests("INVITE")), None))
        challenge = f'Proxy-Authenticate: Digest realm="r{index}", nonce="n"'
        response = phone.agent.response(got, 407)
        response.headers.append(("proxy-authenticate", challenge))
        phone.send(response.to_bytes())
    final = world.wait(
        lambda: [r for r in alice.agent.responses("INVITE", invite.get("call-id")) if r.status == 407][1:]
    )[0]
    assert sorted(final.values("proxy-authenticate")) == [
        'Digest realm="r0", nonce="n"',
        'Digest realm="r1", nonce="n"',
    ]


def test_nobody_registered_and_nobody_there(world):
    alice = world.phone("alice")
    world.control.add("bob", "x")
    alice.register()
    for user, status in (("bob", 480), ("nobody", 404)):
        invite = alice.start_call(f"sip:{user}@{DOMAIN}")
        world.wait(lambda invite=invite, status=status: status in alice.agent.statuses("INVITE", invite.get("call-id")))


def test_timer_c_ends_a_call_that_rings_for_ever(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(got, 180).to_bytes())
    world.run(180)
    assert not bob.agent.requests("CANCEL")
    world.run(10)
    assert bob.agent.requests("CANCEL")
    world.run(40)  # bob answers neither
    assert [s for s in alice.agent.statuses("INVITE", invite.get("call-id")) if s >= 200][-1] == 408
    world.run(100)
    assert world.nodes["edge-a"].core.gauges()["client_transactions"] == 0
    assert world.nodes["edge-a"].core.gauges()["server_transactions"] == 0


def test_silent_phone_gives_408(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    world.run(33)
    assert 408 in alice.agent.statuses("INVITE", invite.get("call-id"))
    assert 6 <= len(bob.agent.requests("INVITE")) <= 7, "Timer A: 0.5, 1, 2, 4, 8, 16 s"


def test_lost_packets_are_made_up_for(world):
    drops = {"n": 0}

    def lossy(flow, data):
        drops["n"] += 1
        return drops["n"] % 2 == 0

    world.loss = lossy
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")

    repeat = (0.5, 1.5, 3.5, 7.5)
    assert alice.transact(alice.agent.register_request(), repeat).status == 200
    assert bob.transact(bob.agent.register_request(), repeat).status == 200
    invite = alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    for delay in (0.0, 0.5, 1.5):
        world.after(delay, lambda: alice.send(invite.to_bytes()))
    world.run(3)
    challenge = alice.agent.responses("INVITE")[0]
    alice.ack_refusal(invite, challenge)
    invite = alice.agent.authorize(invite, challenge)
    alice.send(invite.to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    ok = bob.agent.response(got, 200).to_bytes()
    for delay in (0, 0.5, 1.5, 3.5):
        world.after(delay, lambda: bob.send(ok))
    world.wait(lambda: 200 in alice.agent.statuses("INVITE"))


def test_private_headers_stay_behind_inside_dialogs_too(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    alice.register()
    bob.register()
    dialog, _ = answered_call(world, alice, bob)
    private = [f'Proxy-Authorization: Digest username="alice", realm="{DOMAIN}"', "P-Asserted-Identity: <sip:ceo@x>"]
    alice.send(alice.agent.in_dialog(dialog, "INFO", headers=private).to_bytes())
    got = world.wait(lambda: next(iter(bob.agent.requests("INFO")), None))
    assert got.get("proxy-authorization") is None
    assert got.get("p-asserted-identity") is None
