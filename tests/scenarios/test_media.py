"""Media of calls between phones: when they are relayed, what each side gets to see, and that nothing is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.media.judging import Networks
from edge.media.orders import ANSWER, DESCRIPTION, DROP_BRANCH, FULL, OFFER
from edge.proxy.stack.events import HangUp
from edge.sip.transaction.client import make_cancel
from lambdas.contract import RELAYED_OF_ACCOUNT, RELAYED_OF_TENANT, CallAnswered, OpenCall, Route, Stage
from lambdas.decisions.route import targets_of
from tests.support.relayed import (
    TYPE,
    WEB,
    invited,
    media_said,
    orders,
    place,
    relaying,
    roles,
    rung,
    says,
    sdp,
)
from tests.support.world import DOMAIN, Phone, World

BOB = f"sip:bob@{DOMAIN}"
HERE, THERE = "203.0.113.11", "203.0.113.12"
ALICES, BOBS = sdp(20000), sdp(21000, "192.168.1.7")


@pytest.fixture
def world():
    yield from relaying(World(media=True))


class Call:
    """Two phones of ours, and their dialogs once it is answered."""

    def __init__(self, world: World, caller: Phone, callee: Phone) -> None:
        self.world, self.caller, self.callee = world, caller, callee

    def begin(self, offer: bytes = ALICES, headers: tuple[str, ...] = ()) -> None:
        self.invite = invited(self.world, self.caller, BOB, offer, headers)
        self.got = rung(self.world, self.callee)

    def answer(self, body: bytes = BOBS, ack: bytes = b"") -> None:
        self.ok = says(self.callee, self.got, 200, body)
        self.final = self.world.wait(lambda: self.caller.agent.final(self.invite))
        assert self.final.status == 200
        self.mine = self.caller.agent.caller_dialog(self.invite, self.final)
        self.theirs = self.callee.agent.callee_dialog(self.got, self.ok)
        self.caller.send(self.caller.agent.in_dialog(self.mine, "ACK", ack, [TYPE] if ack else []).to_bytes())
        self.ack = self.world.wait(lambda: self.callee.agent.requests("ACK"))[-1]

    def from_caller(self):
        return self.caller, self.mine, self.callee

    def from_callee(self):
        return self.callee, self.theirs, self.caller

    def ask(self, side, method: str, offer: bytes, answer: bytes):
        """A request in the dialog, and its answer: as the other side got it, and as its sender did."""
        one, dialog, other = side
        other.agent.received.clear()
        request = one.agent.in_dialog(dialog, method, offer, [TYPE] if offer else [])
        one.send(request.to_bytes())
        got = self.world.wait(lambda: other.agent.requests(method))[-1]
        says(other, got, 200, answer)
        return got, self.world.wait(lambda: one.agent.final(request))

    def acknowledge(self, side, body: bytes = b""):
        one, dialog, other = side
        one.send(one.agent.in_dialog(dialog, "ACK", body, [TYPE] if body else []).to_bytes())
        return self.world.wait(lambda: other.agent.requests("ACK"))[-1]

    def end(self, side=None) -> None:
        one, dialog, other = side or self.from_caller()
        bye = one.agent.in_dialog(dialog, "BYE")
        one.send(bye.to_bytes())
        got = self.world.wait(lambda: other.agent.requests("BYE"))[-1]
        says(other, got, 200)
        assert self.world.wait(lambda: one.agent.final(bye)).status == 200


def registered(world, *names, **kwargs):
    phones = [world.phone(name, f"edge-{'ab'[n % 2]}", **kwargs) for n, name in enumerate(names)]
    assert [phone.register() for phone in phones] == [200] * len(phones)
    return phones


@pytest.fixture
def call(world):
    return Call(world, *registered(world, "alice", "bob", nat=30.0))


def answered(world):
    world.run(1)
    (report,) = [one for one in world.control.reports if isinstance(one, CallAnswered)]
    return report


def records(world):
    world.run(1)
    return [(one.media, one.media_why) for one in world.control.reports if isinstance(one, CallAnswered)]


# A call


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_two_phones_behind_two_nats_hear_each_other_by_the_callers_edge(world, call, by):
    call.begin()
    assert place(call.got)[0] == HERE
    call.answer()
    assert place(call.final)[0] == HERE
    assert place(call.final) != place(call.got)
    assert call.final.get("content-length") == str(len(call.final.body))
    assert roles(world) == [OFFER, ANSWER]
    assert roles(world, "edge-b") == []
    offer, answer = orders(world)
    assert (offer.by, offer.to, offer.source) == (answer.to, "", call.caller.public[0])
    assert (answer.by, answer.branch, answer.source) == ("tag-bob", offer.branch, call.callee.public[0])
    assert (len(call.world.engines[HERE].sessions), world.engines[HERE].ports) == (1, 2)
    call.end(call.from_caller() if by == "caller" else call.from_callee())
    assert records(world) == [("relayed", "nat")]
    assert world.nodes["edge-a"].core.stack.counters["calls_relayed"] == 1
    report = answered(world)
    assert (answer.leg, answer.tenant, answer.began) == (report.call, "t1", report.started)


def test_tokens_stay_as_short_as_they_were(world, call):
    call.begin()
    call.answer()
    for route in call.mine.routes:
        assert len(route.split("sip:")[1].split("@")[0]) <= 80
    call.end()


def test_without_engines_nothing_is_changed():
    for world in (World(), World(media=True)):
        if world.media:  # an edge of before couldn't go on with a relayed call
            world.spoken = 9
            for node in world.nodes.values():
                world.inform(node)
        call = Call(world, *registered(world, "alice", "bob"))
        call.begin()
        call.answer()
        assert (call.got.body, call.final.body) == (ALICES, BOBS)
        assert roles(world) == []
        call.end()
        assert records(world) == [("", "")]


def test_early_media_come_in_the_order_in_which_they_were_described(world, call):
    call.begin()
    for status, body in ((183, BOBS), (180, b""), (200, BOBS)):
        response = says(call.callee, call.got, status, body)
    final = world.wait(lambda: call.caller.agent.final(call.invite))
    assert call.caller.agent.statuses("INVITE")[1:] == [100, 183, 180, 200]
    early = next(one for one in call.caller.agent.responses("INVITE") if one.status == 183)
    assert early.body == final.body
    assert [order.leg for order in orders(world)] == ["", "", answered(world).call]
    call.callee.send(response.to_bytes())
    says(call.callee, call.got, 200, BOBS)
    world.run(1)
    assert roles(world) == [OFFER, ANSWER, ANSWER], "what was described once isn't asked about again"
    (session,) = world.engines[HERE].sessions.values()
    assert list(session.answered) == [frozenset((orders(world)[0].by, "tag-bob"))]
    call.mine = call.caller.agent.caller_dialog(call.invite, final)
    call.caller.send(call.caller.agent.in_dialog(call.mine, "ACK").to_bytes())
    call.end()


def test_a_call_that_nobody_takes_leaves_nothing(world, call):
    call.begin()
    says(call.callee, call.got, 183, BOBS)
    world.run(1)
    assert world.engines[HERE].ports == 2
    says(call.callee, call.got, 486)
    assert world.wait(lambda: call.caller.agent.final(call.invite)).status == 486
    world.run(1)
    assert world.engines[HERE].sessions == {}


@pytest.mark.parametrize("when", ["deciding", "asking", "ringing"])
def test_a_call_that_is_given_up_leaves_nothing(world, call, when):
    if when == "asking":
        world.engines[HERE].fault = "silent"
    call.invite = invited(world, call.caller, BOB, ALICES)
    if when == "asking":
        world.run(0.5)
    elif when == "ringing":
        says(call.callee, rung(world, call.callee), 180)
        world.run(0.1)
    call.caller.send(make_cancel(call.invite, "").to_bytes())
    assert world.wait(lambda: call.caller.agent.responses("CANCEL"))[0].status == 200
    if when == "ringing":
        says(call.callee, rung(world, call.callee), 487)
    assert world.wait(lambda: call.caller.agent.final(call.invite)).status == 487
    assert len(call.callee.agent.requests("INVITE")) == (when == "ringing")


def limit_relayed(world, most):
    decide = world.control.decide

    def limited(question):
        route = decide(question)
        return route.model_copy(update={"relayed_calls": most}) if isinstance(route, Route) else route

    world.control.decide = limited


def test_the_holder_is_told_to_whom_a_session_counts(world, call):
    most = {f"alice@{DOMAIN}": 2, "t1": 20}
    limit_relayed(world, most)
    call.begin()
    call.answer()
    assert [order.counts for order in orders(world)] == [most, most]
    call.end()


# Forks


@pytest.fixture
def fork(world):
    alice, one = registered(world, "alice", "bob")
    two = world.phone("bob")
    two.agent.host = "10.0.0.10"
    assert two.register() == 200
    invite = invited(world, alice, BOB, ALICES)
    return alice, invite, (one, rung(world, one)), (two, rung(world, two))


def ended(world, one, dialog, other):
    other.agent.received.clear()
    one.send(one.agent.in_dialog(dialog, "BYE").to_bytes())
    says(other, world.wait(lambda: other.agent.requests("BYE"))[0], 200)
    world.run(1)


def test_a_branch_that_loses_gives_its_ports_back_at_once(world, fork):
    alice, invite, (one, got), (two, other) = fork
    assert place(got) != place(other)
    assert world.engines[HERE].ports == 4
    says(one, got, 183, BOBS)
    says(two, other, 183, BOBS)
    world.run(1)
    says(two, other, 200, BOBS)
    final = world.wait(lambda: alice.agent.final(invite))
    says(one, got, 487)
    world.run(0.1)
    assert world.engines[HERE].ports == 2
    (drop,) = world.engines[HERE].drops
    assert (drop.kind, drop.branch) == (DROP_BRANCH, orders(world)[0].branch)
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    ended(world, alice, dialog, two)


def test_whoever_is_heard_last_is_whom_the_engine_knows(world, fork):
    """Early media of one phone after another's, and the first one takes the call."""
    alice, invite, (one, got), (two, other) = fork
    says(one, got, 183, BOBS, "one")
    world.run(0.1)
    says(two, other, 183, BOBS, "two")
    says(two, other, 183, BOBS, "two")
    world.run(0.1)
    says(one, got, 183, BOBS, "one")
    says(one, got, 200, BOBS, "one")
    final = world.wait(lambda: alice.agent.final(invite))
    assert [(order.role, order.by, bool(order.leg)) for order in orders(world)[2:]] == [
        (ANSWER, "one", False),
        (ANSWER, "two", False),
        (ANSWER, "one", False),
        (ANSWER, "one", True),
    ]
    says(two, other, 487)
    ended(world, alice, alice.agent.caller_dialog(invite, final), one)


def test_of_two_answers_each_is_a_call(world, fork):
    alice, invite, (one, got), (two, other) = fork
    says(one, got, 200, BOBS, "one")
    says(two, other, 200, BOBS, "two")
    finals = world.wait(lambda: [r for r in alice.agent.responses("INVITE") if r.status == 200][1:] and alice.agent)
    dialogs = [alice.agent.caller_dialog(invite, r) for r in finals.responses("INVITE") if r.status == 200]
    for dialog in dialogs:
        alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    by_tag = {dialog.remote.partition("tag=")[2]: dialog for dialog in dialogs}
    ended(world, alice, by_tag["one"], one)
    assert len(world.engines[HERE].sessions) == 1
    ended(world, alice, by_tag["two"], two)
    assert world.engines[HERE].sessions == {}


@pytest.mark.parametrize("answers", [True, False])
def test_a_phone_has_its_ports_as_long_as_it_may_answer(world, answers):
    """Also when it has had its time, and the next one is rung: its answer may be on its way."""
    alice, bob, carol = registered(world, "alice", "bob", "carol")
    decide = world.control.decide

    def staged(question):
        route = decide(question)
        if not isinstance(route, Route):
            return route
        others = targets_of(world.control.bindings(f"carol@{DOMAIN}"), world.control.clock())
        return route.model_copy(update={"timeout": 3.0, "stages": [Stage(targets=others)]})

    world.control.decide = staged
    invite = invited(world, alice, BOB, ALICES)
    got = rung(world, bob)
    says(bob, got, 180)
    other = rung(world, carol)
    assert world.engines[HERE].ports == 4
    says(bob, got, 200 if answers else 487, BOBS if answers else b"")
    if not answers:
        world.run(0.1)
        assert world.engines[HERE].ports == 2
        says(carol, other, 200, BOBS)
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, place(final)[0]) == (200, HERE)
    if answers:
        says(carol, other, 180)  # it hears of the CANCEL then
        world.wait(lambda: carol.agent.requests("CANCEL"))
        says(carol, other, 487)
    ended(world, alice, alice.agent.caller_dialog(invite, final), bob if answers else carol)


def test_an_invite_that_comes_twice_is_two_calls(world):
    """As a proxy before us forks: by Call-ID, tag and second it is one, and yet one may end without the other."""
    alice, bob, carol = registered(world, "alice", "bob", "carol")
    first = invited(world, alice, BOB, ALICES)
    got = rung(world, bob)
    second = alice.agent.request(
        "INVITE",
        f"sip:carol@{DOMAIN}",
        headers=[f"Contact: {alice.agent.contact}", TYPE, f"Proxy-Authorization: {credentials(alice, first)}"],
        body=ALICES,
        call_id=first.get("call-id"),
        cseq=int(first.get("cseq").split()[0]),
        from_=first.get("from"),
    )
    alice.send(second.to_bytes())
    other = rung(world, carol)
    assert len(world.engines[HERE].sessions) == 2
    says(carol, other, 486)
    assert world.wait(lambda: alice.agent.final(second)).status == 486
    says(bob, got, 200, BOBS)
    final = world.wait(lambda: alice.agent.final(first))
    assert len(world.engines[HERE].sessions) == 1
    ended(world, alice, alice.agent.caller_dialog(first, final), bob)


def credentials(phone, invite):
    from edge.sip.headers import parse_digest

    params = parse_digest(invite.get("proxy-authorization"))
    return phone.agent.credentials("INVITE", f"sip:carol@{DOMAIN}", params)


def test_a_call_that_is_picked_up_is_another_call(world, call):
    """Carol takes the call that rings at bob's (RFC 3891): her INVITE goes to alice's phone."""
    carol = world.phone("carol")
    assert carol.register() == 200
    call.begin()
    says(call.callee, call.got, 183, BOBS)
    world.run(0.1)
    replaces = f"Replaces: {call.invite.get('call-id')};to-tag=tag-bob;from-tag={orders(world)[0].by};early-only"
    picking = invited(world, carol, f"sip:alice@{DOMAIN}", sdp(26000), (replaces,))
    got = rung(world, call.caller)
    assert (place(got)[0], len(world.engines[HERE].sessions)) == (HERE, 2)
    says(call.caller, got, 200, ALICES)
    final = world.wait(lambda: carol.agent.final(picking))
    call.caller.send(make_cancel(call.invite, "").to_bytes())
    world.wait(lambda: call.callee.agent.requests("CANCEL"))
    says(call.callee, call.got, 487)
    world.run(1)
    assert len(world.engines[HERE].sessions) == 1
    ended(world, carol, carol.agent.caller_dialog(picking, final), call.caller)


# In the dialog


HELD = sdp(20000, "10.0.0.9", "RTP/AVP", "a=sendonly")


@pytest.mark.parametrize("side", ["from_caller", "from_callee"])
@pytest.mark.parametrize("restarted", [False, True])
def test_requests_of_both_sides_find_the_session(world, call, side, restarted):
    """By whichever edge they come: bob's come by his."""
    call.begin()
    call.answer()
    (key,) = world.engines[HERE].sessions
    if restarted:
        for edge in ("edge-a", "edge-b"):
            world.restart(edge)
    way = getattr(call, side)()
    for method, offer, answer in (
        ("INVITE", HELD, sdp(21000, "10.0.0.9", "RTP/AVP", "a=recvonly")),  # hold
        ("INVITE", ALICES, BOBS),  # and resume
        ("UPDATE", sdp(22000), sdp(23000)),
        ("PRACK", sdp(24000), sdp(25000)),
    ):
        seen = len(orders(world))
        got, final = call.ask(way, method, offer, answer)
        assert final.status == 200
        assert place(got)[0] == place(final)[0] == HERE
        assert [order.role for order in orders(world)[seen:]] == [OFFER, ANSWER]
        assert {order.key for order in orders(world)} == {key}
        if offer is HELD:
            assert b"a=sendonly" in got.body
        if method == "INVITE":
            call.acknowledge(way)
    assert roles(world, "edge-b") == []
    tags = {orders(world)[0].by, "tag-bob"}
    assert all({order.by, order.to} == tags for order in orders(world)[1:])
    assert len({order.leg for order in orders(world)[1:] if order.leg}) == 1
    call.end(way)


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_an_offer_that_comes_late_is_answered_in_the_ack(world, edge):
    """The first one, and one of a re-INVITE."""
    alice, bob = world.phone("alice"), world.phone("bob", edge)
    assert alice.register() == bob.register() == 200
    call = Call(world, alice, bob)
    call.begin(b"")
    assert call.got.body == b""
    assert world.engines[HERE].sessions == {}
    call.answer(BOBS, ALICES)
    assert place(call.final)[0] == place(call.ack)[0] == HERE
    assert [(order.role, order.by) for order in orders(world)] == [(OFFER, "tag-bob"), (ANSWER, orders(world)[0].to)]
    for way in (call.from_caller(), call.from_callee()):
        got, final = call.ask(way, "INVITE", b"", sdp(22000))
        assert got.body == b""
        ack = call.acknowledge(way, sdp(23000))
        assert place(final)[0] == place(ack)[0] == HERE
        seen = len(orders(world))
        again = call.acknowledge(way, sdp(23000))
        assert again.body == ack.body
        assert len(orders(world)) == seen, "what was described once isn't asked about again"
    assert roles(world) == [OFFER, ANSWER] * 3
    call.end()


def test_an_answer_in_an_ack_from_elsewhere_sends_no_media_there(world, call):
    """Whoever has seen a Route might have others' media."""
    thief = world.phone("mallory", nat=30.0)
    call.begin(b"")
    says(call.callee, call.got, 200, BOBS)
    final = world.wait(lambda: call.caller.agent.final(call.invite))
    call.mine = call.caller.agent.caller_dialog(call.invite, final)
    thief.send(call.caller.agent.in_dialog(call.mine, "ACK", sdp(6666), [TYPE]).to_bytes())
    world.run(1)
    assert roles(world) == [OFFER]
    assert world.nodes["edge-a"].core.stack.counters["media_refused"] == 1
    call.end()


def test_who_has_proven_nothing_has_no_session(world, call):
    """Outside a dialog, and in one."""
    stranger = world.phone("mallory", nat=30.0)
    lines = [f"Contact: {stranger.agent.contact}", TYPE]
    stranger.send(stranger.agent.request("INVITE", BOB, headers=lines, body=ALICES).to_bytes())
    assert world.wait(lambda: stranger.agent.responses("INVITE"))[0].status == 407
    assert roles(world) == []
    call.begin()
    call.answer()
    for dialog, agent in ((call.mine, call.caller.agent), (call.theirs, call.callee.agent)):
        for method in ("INVITE", "UPDATE"):
            stranger.agent.received.clear()
            stranger.send(agent.in_dialog(dialog, method, sdp(6666), [TYPE]).to_bytes())
            assert world.wait(lambda method=method: stranger.agent.responses(method))[0].status in (401, 407)
    assert roles(world) == [OFFER, ANSWER]
    call.end()


def test_a_late_offer_is_answered_in_the_prack(world, call):
    call.begin(b"", ("Supported: 100rel",))
    says(call.callee, call.got, 183, BOBS, "", "Require: 100rel", "RSeq: 1")
    early = world.wait(lambda: [one for one in call.caller.agent.responses("INVITE") if one.status == 183])[0]
    dialog = call.caller.agent.caller_dialog(call.invite, early)
    prack = call.caller.agent.in_dialog(dialog, "PRACK", ALICES, [TYPE, f"RAck: 1 {dialog.cseq} INVITE"])
    call.caller.send(prack.to_bytes())
    got = world.wait(lambda: call.callee.agent.requests("PRACK"))[0]
    assert place(got)[0] == HERE
    assert roles(world) == [OFFER, ANSWER]
    says(call.callee, got, 200)
    world.wait(lambda: call.caller.agent.final(prack))
    assert not any(order.leg for order in orders(world))
    response = call.callee.agent.response(call.got, 200)
    response.body = b""
    response.headers[-1] = ("content-length", "Content-Length: 0")
    call.callee.send(response.to_bytes())
    assert world.wait(lambda: call.caller.agent.final(call.invite)).body == b""
    assert orders(world)[-1].leg == answered(world).call
    call.mine = dialog
    call.end()


def test_early_dialogs_beyond_us_do_not_keep_a_session(world, call):
    """A provider's proxy has forked: two tags of one branch, of which one is answered."""
    call.begin()
    says(call.callee, call.got, 183, BOBS, "first")
    says(call.callee, call.got, 183, BOBS, "second")
    call.ok = says(call.callee, call.got, 200, BOBS, "second")
    call.final = world.wait(lambda: call.caller.agent.final(call.invite))
    call.mine = call.caller.agent.caller_dialog(call.invite, call.final)
    call.caller.send(call.caller.agent.in_dialog(call.mine, "ACK").to_bytes())
    call.end()
    assert world.engines[HERE].sessions == {}


def test_a_call_that_the_service_ends_leaves_nothing(world, call):
    call.begin()
    call.answer()
    report = answered(world)
    wanted = OpenCall(
        tenant="t1", call=report.call, started=report.started, address=HERE, sides=report.sides, why="enough"
    )
    for phone in (call.caller, call.callee):
        phone.agent.received.clear()
    world.nodes["edge-a"].handle(HangUp([wanted]))
    for phone in (call.caller, call.callee):
        says(phone, world.wait(lambda phone=phone: phone.agent.requests("BYE"))[0], 200)
    world.run(1)
    assert world.engines[HERE].sessions == {}


@pytest.mark.parametrize(("status", "left"), [(500, 1), (481, 0), (408, 0)])
def test_a_bye_that_is_refused_ends_what_the_call_has_if_it_ends_the_call(world, call, status, left):
    call.begin()
    call.answer()
    bye = call.caller.agent.in_dialog(call.mine, "BYE")
    call.caller.send(bye.to_bytes())
    says(call.callee, world.wait(lambda: call.callee.agent.requests("BYE"))[0], status)
    world.wait(lambda: call.caller.agent.final(bye))
    world.run(1)
    assert len(world.engines[HERE].sessions) == left
    if left:
        call.callee.agent.received.clear()
        call.end()


def test_other_bodies_pass_as_they_are(world, call):
    call.begin()
    call.answer()
    got, _ = call.ask(call.from_caller(), "INFO", b"", b"")
    t38 = ALICES.replace(b"audio 20000 RTP/AVP 8", b"image 20000 udptl t38") + b"a=T38FaxVersion:0\r\n"
    got, _ = call.ask(call.from_caller(), "INVITE", t38, t38)
    assert b"a=T38FaxVersion:0" in got.body
    call.acknowledge(call.from_caller())
    call.end()


# When


def test_media_that_nobody_is_to_relay_go_straight(world):
    media_said(world, media="direct")
    call = Call(world, *registered(world, "alice", "bob"))
    straight(world, call, "policy")


def test_phones_of_one_site_talk_straight(world):
    media_said(world, site="head-office")
    alice, bob = world.phone("alice"), world.phone("bob")
    world.phones[bob.public[0], bob.public[1]] = bob
    bob.public = (alice.public[0], bob.public[1])
    world.phones[bob.public] = bob
    bob.agent.host = "10.0.3.4"
    assert alice.register() == bob.register() == 200
    straight(world, Call(world, alice, bob), "one-site")


def test_an_account_that_wants_a_relay_has_one_at_its_site_too(world):
    """With what it and its tenant may have, which the holder of the engine keeps to."""
    media_said(world, media="direct", site="head-office", tenant="t1")
    aor = f"bob@{DOMAIN}"
    call = Call(world, *registered(world, "alice", "bob"))
    world.control.accounts[aor] = replace(world.control.accounts[aor], media="relay")
    call.begin(ALICES)
    call.answer()
    assert dict(orders(world)[0].counts) == {f"alice@{DOMAIN}": RELAYED_OF_ACCOUNT, "t1": RELAYED_OF_TENANT}
    call.end()
    assert records(world) == [("relayed", "policy")]


def test_ends_that_are_known_to_be_public_talk_straight(world):
    world.public_networks = Networks(["192.0.2.0/24"])
    for node in world.nodes.values():
        world.inform(node)
    call = Call(world, *registered(world, "alice", "bob"))
    straight(world, call, "public", sdp(20000, "192.0.2.1"))


def straight(world, call, why, offer=ALICES):
    call.begin(offer)
    call.answer()
    for way in (call.from_caller(), call.from_callee()):
        got, final = call.ask(way, "INVITE", offer, BOBS)
        assert (got.body, final.body) == (offer, BOBS)
        call.acknowledge(way)
    call.end()
    assert (roles(world), world.engines[HERE].drops) == ([], [])
    assert records(world) == [("direct", why)]


def web(world, user, node="edge-a"):
    phone = world.phone(user, node, "WSS")
    phone.agent.host = f"{user}.invalid"
    assert phone.register() == 200
    return phone


def test_two_browsers_get_the_relay_as_their_last_candidate(world):
    call = Call(world, web(world, "alice"), web(world, "bob", "edge-b"))
    call.begin(WEB)
    call.answer(WEB)
    assert [order.for_.ice for order in orders(world)] == ["force-relay"] * 2
    assert [order.for_.profile for order in orders(world)] == [""] * 2
    call.end()
    assert records(world) == [("", "ice")]


def test_a_browser_and_a_phone_are_bridged(world):
    """Also where nobody wants a relay. An address that isn't known yet isn't hold."""
    media_said(world, media="direct")
    browser, phone = web(world, "alice"), world.phone("bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, browser, phone)
    call.begin(WEB)
    needs = orders(world)[0].for_
    assert (needs.profile, needs.ice, needs.dtls, needs.rtcp_mux) == ("RTP/AVP", "remove", "off", "demux")
    assert b"IN IP4 0.0.0.0\r\ns=" in orders(world)[0].body  # in o= it says nothing
    assert orders(world)[0].body.count(f"IN IP4 {browser.public[0]}\r\n".encode()) == 2
    call.answer()
    call.end()
    assert records(world) == [("relayed", "profiles")]


@pytest.mark.parametrize("late", [False, True])
def test_a_phone_and_a_browser_are_bridged(world, late):
    phone, browser = world.phone("alice"), web(world, "bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, phone, browser)
    call.begin(b"" if late else ALICES)
    if late:
        call.answer(WEB, ALICES)
        assert orders(world)[0].for_.profile == "RTP/AVP"
    else:
        needs = orders(world)[0].for_
        assert (needs.profile, needs.ice, needs.sdes) == ("UDP/TLS/RTP/SAVPF", "force", "off")
        call.answer(WEB)
    call.end()


def test_what_takes_no_bridged_description_gets_the_callers(world):
    """A program that comes by WebSocket, and is no browser."""
    phone, soft = world.phone("alice"), web(world, "bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, phone, soft)
    call.begin()
    says(soft, call.got, 488)
    call.got = rung(world, soft, 1)
    assert [order.for_.profile for order in orders(world)] == ["UDP/TLS/RTP/SAVPF", ""]
    assert orders(world)[0].branch != orders(world)[1].branch  # the engine forgets no profile that it has been told
    call.answer()
    call.end()


def test_a_phone_that_speaks_as_browsers_do(world):
    """It isn't known as one by its flow; and finds the browser by ICE."""
    browser, phone = web(world, "alice"), world.phone("bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, browser, phone)
    call.begin(WEB)
    says(phone, call.got, 488)
    call.got = rung(world, phone, 1)
    assert [(order.for_.profile, order.for_.ice) for order in orders(world)] == [
        ("RTP/AVP", "remove"),
        ("", "force-relay"),
    ]
    call.answer(WEB)
    assert orders(world)[2].for_.ice == "force-relay"
    call.end()


def test_a_phone_that_takes_the_second_description_for_the_first_request(world):
    """baresip 1.0.0 answers 482 while it still has the transaction of the INVITE that it has refused; the next caller
    doesn't wait for that."""
    browser, phone = web(world, "alice"), world.phone("bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, browser, phone)
    call.begin(WEB)
    says(phone, call.got, 488)
    says(phone, rung(world, phone, 1), 482)
    world.run(5)
    assert len(phone.agent.requests("INVITE")) == 2
    world.run(1)
    call.got = rung(world, phone, 2)
    call.answer(WEB)
    call.end()
    phone.agent.received.clear()
    browser.agent.received.clear()
    again = Call(world, browser, phone)
    again.begin(WEB)
    assert (orders(world)[-1].for_.profile, orders(world)[-1].for_.ice) == ("", "force-relay")
    again.answer(WEB)
    again.end()


def test_a_caller_who_gives_up_while_it_is_tried_again(world):
    browser, phone = web(world, "alice"), world.phone("bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, browser, phone)
    call.begin(WEB)
    says(phone, call.got, 488)
    says(phone, rung(world, phone, 1), 482)
    world.run(1)
    browser.send(make_cancel(call.invite).to_bytes())
    assert world.wait(lambda: browser.agent.final(call.invite)).status == 487
    world.run(10)
    assert len(phone.agent.requests("INVITE")) == 2


def test_what_takes_neither_refuses(world):
    phone, soft = world.phone("alice"), web(world, "bob", "edge-b")
    assert phone.register() == 200
    call = Call(world, phone, soft)
    call.begin()
    says(soft, call.got, 488)
    says(soft, rung(world, soft, 1), 488)
    assert world.wait(lambda: phone.agent.final(call.invite)).status == 488
    world.run(1)
    assert len(soft.agent.requests("INVITE")) == 2


def test_two_families_are_bridged():
    made = World(media=True, sides={HERE: ("2001:db8::11", "")})
    for world in relaying(made):
        alice, bob = world.phone("alice", ipv6=True), world.phone("bob", "edge-b")
        assert alice.register() == bob.register() == 200
        call = Call(world, alice, bob)
        call.begin(ALICES.replace(b"c=IN IP4 10.0.0.9", b"c=IN IP6 2001:db8:1:1::2"))
        assert orders(world)[0].for_.family == "IP4"
        call.answer()
        call.end()
        assert records(world) == [("relayed", "families")]


# Without an answer


def test_without_ports_the_call_is_refused_and_others_go_on(world, call):
    call.begin()
    call.answer()
    world.engines[HERE].fault = FULL
    dave = world.phone("dave")
    assert dave.register() == 200
    invite = invited(world, dave, BOB, ALICES)
    final = world.wait(lambda: dave.agent.final(invite))
    assert (final.status, bool(final.get("retry-after"))) == (503, True)
    assert "no port" in final.reason
    assert len(world.engines[HERE].sessions) == 1
    call.end()


def test_whose_calls_may_never_be_relayed_is_not_told_to_come_again(world, call):
    limit_relayed(world, {f"alice@{DOMAIN}": 0})
    world.engines[HERE].fault = FULL
    invite = invited(world, call.caller, BOB, ALICES)
    final = world.wait(lambda: call.caller.agent.final(invite))
    assert (final.status, final.get("retry-after")) == (403, None)
    assert "relayed_calls is 0" in final.reason


def test_a_description_that_the_engine_cannot_read_is_refused(world, call):
    world.engines[HERE].fault = DESCRIPTION
    invite = invited(world, call.caller, BOB, ALICES)
    assert world.wait(lambda: call.caller.agent.final(invite)).status == 488


def test_without_a_word_from_the_engine_the_call_goes_on_as_if_there_were_none(world, call):
    world.engines[HERE].fault = "silent"
    call.begin()
    call.answer()
    assert (call.got.body, call.final.body) == (ALICES, BOBS)
    got, _ = call.ask(call.from_callee(), "INVITE", BOBS, ALICES)
    assert got.body == BOBS
    call.acknowledge(call.from_callee())
    call.end()
    assert records(world) == [("direct", "engine")]
    assert [order.kind for order in world.engines[HERE].drops] == [DROP_BRANCH], "it may only be late"


def test_without_a_word_from_the_engine_a_bridged_call_is_refused(world):
    browser, phone = web(world, "alice"), world.phone("bob", "edge-b")
    assert phone.register() == 200
    world.engines[HERE].fault = "silent"
    invite = invited(world, browser, BOB, WEB)
    assert world.wait(lambda: browser.agent.final(invite)).status == 503
    assert not phone.agent.requests("INVITE")


def test_a_call_that_is_to_be_relayed_whatever_it_takes_is_refused_without_an_engine(world, call):
    """It would show both ends where the other one is."""
    media_said(world, media="relay")
    world.engines[HERE].fault = "silent"
    invite = invited(world, call.caller, BOB, ALICES)
    final = world.wait(lambda: call.caller.agent.final(invite))
    assert (final.status, bool(final.get("retry-after"))) == (503, True)
    assert not call.callee.agent.requests("INVITE")


def test_without_an_engine_at_its_edge_such_a_call_is_refused_too():
    world = World()
    call = Call(world, *registered(world, "alice", "bob"))
    media_said(world, media="relay")
    invite = invited(world, call.caller, BOB, ALICES)
    final = world.wait(lambda: call.caller.agent.final(invite))
    assert (final.status, bool(final.get("retry-after"))) == (503, True)
    assert "has no media engine" in final.reason
    assert not call.callee.agent.requests("INVITE")


def test_an_answer_that_nobody_would_hear_ends_the_call(world, call):
    call.begin()
    world.engines[HERE].fault = "silent"
    says(call.callee, call.got, 183, BOBS)
    says(call.callee, call.got, 200, BOBS)
    assert world.wait(lambda: call.caller.agent.final(call.invite)).status == 503
    early = next(one for one in call.caller.agent.responses("INVITE") if 100 < one.status < 200)
    assert (early.status, early.body) == (180, b"")
    says(call.callee, world.wait(lambda: call.callee.agent.requests("BYE"))[0], 200)
    world.run(1)
    assert records(world) == []


def test_in_a_dialog_a_request_is_refused_and_the_call_stays(world, call):
    call.begin()
    call.answer()
    world.engines[HERE].fault = "silent"
    request = call.callee.agent.in_dialog(call.theirs, "INVITE", BOBS, [TYPE])
    call.callee.send(request.to_bytes())
    final = world.wait(lambda: call.callee.agent.final(request))
    assert (final.status, bool(final.get("retry-after"))) == (503, True)
    assert not call.caller.agent.requests("INVITE")
    world.engines[HERE].fault = ""
    assert call.ask(call.from_callee(), "INVITE", BOBS, ALICES)[1].status == 200
    call.acknowledge(call.from_callee())
    call.end()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("status", [488, 491, 500])
def test_a_refused_offer_leaves_the_session_as_it_was(world, call, method, status):
    """RFC 3261 §14.1, RFC 3311 §5.1."""
    call.begin()
    call.answer()
    caller, callee = call.caller, call.callee
    callee.agent.received.clear()
    request = caller.agent.in_dialog(call.mine, method, sdp(20100), [TYPE])
    caller.send(request.to_bytes())
    got = world.wait(lambda: callee.agent.requests(method))[0]
    says(callee, got, status)
    assert world.wait(lambda: caller.agent.final(request)).status == status
    tags = {name: (request.get(name) or "").partition("tag=")[2] for name in ("from", "to")}
    assert [(one.by, one.to) for one in world.engines[HERE].restores] == [(tags["from"], tags["to"])]
    got, final = call.ask(call.from_caller(), "INVITE", ALICES, BOBS)
    assert final.status == 200
    call.acknowledge(call.from_caller())
    assert len(world.engines[HERE].restores) == 1
    call.end()


def test_an_engine_that_has_lost_the_session_begins_it_anew(world, call):
    call.begin()
    call.answer()
    world.engines[HERE].sessions.clear()
    got, final = call.ask(call.from_caller(), "INVITE", ALICES, BOBS)
    assert place(got)[0] == place(final)[0] == HERE
    call.acknowledge(call.from_caller())
    call.end()


WRONG = b"v=0\r\nc=IN IP4\r\nm=audio\r\n"


def test_what_cannot_be_read_goes_on_and_is_counted(world, call):
    call.begin(WRONG)
    assert call.got.body == WRONG
    call.answer()
    call.end()
    assert world.nodes["edge-a"].core.stack.counters["media_unreadable"] == 1
    assert records(world) == [("direct", "unreadable")]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_what_cannot_be_read_leads_nobody_past_the_engine(world, call, method):
    """The other side sends to the engine, and goes on doing so."""
    call.begin()
    call.answer()
    request = call.caller.agent.in_dialog(call.mine, method, WRONG, [TYPE])
    call.caller.send(request.to_bytes())
    assert world.wait(lambda: call.caller.agent.final(request)).status == 488
    assert not call.callee.agent.requests("UPDATE")
    got, _ = call.ask(call.from_caller(), "INVITE", ALICES, BOBS)
    assert place(got)[0] == HERE
    call.acknowledge(call.from_caller())
    call.end()


def test_an_answer_that_cannot_be_read_ends_the_call(world, call):
    call.begin()
    says(call.callee, call.got, 200, WRONG)
    assert world.wait(lambda: call.caller.agent.final(call.invite)).status == 503
    says(call.callee, world.wait(lambda: call.callee.agent.requests("BYE"))[0], 200)


def test_what_is_sent_by_tcp_alone_needs_no_engine(world, call):
    """MSRP (RFC 4975): the engine relays UDP only."""
    chat = ALICES.replace(b"m=audio 20000 RTP/AVP 8", b"m=message 20000 TCP/MSRP *")
    call.begin(chat)
    assert call.got.body == chat
    call.answer(chat)
    call.end()
    assert records(world) == [("direct", "tcp")]
