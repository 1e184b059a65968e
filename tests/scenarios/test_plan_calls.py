"""What plans make of calls: on from one provider to another, diverted, limited, asked about again, and ended."""

from __future__ import annotations

import pytest

from edge.proxy.routing.kept_routes import KeptRoutes, with_phones
from edge.proxy.stack.events import Fed, HangUp
from edge.runtime.disk_format import read_route, route_key, route_name, write_route
from edge.sip.headers import NameAddr
from edge.sip.transaction.client import make_cancel
from lambdas.contract import (
    Q_STEP,
    CallAnswered,
    CallEnded,
    Change,
    IncomingQuestion,
    Keep,
    OpenCall,
    Reject,
    Route,
    RouteQuestion,
    Stage,
    Target,
)
from lambdas.decisions import outbound
from lambdas.decisions.numbers import read
from lambdas.decisions.outbound import Choice
from lambdas.decisions.route import targets_of
from lambdas.decisions.values import Account
from tests.support.agent import SDP
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

PAYER = Account("", "t0123456789ab", "", "")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def voip(world) -> ProviderDouble:
    made = ProviderDouble(world)
    assign(world, account(tenant="t0123456789ab"))
    return made


@pytest.fixture
def other(world) -> ProviderDouble:
    made = ProviderDouble(world, "198.51.100.2", "sip.other.test")
    assign(world, account("other", "t0123456789ab", host="sip.other.test", contact_user="contactother"), "edge-b")
    world.run(2)
    return made


@pytest.fixture
def phones(world):
    made = {name: world.phone(name, f"edge-{'ab'[n % 2]}") for n, name in enumerate(("alice", "bob", "carol"))}
    for phone in made.values():
        assert phone.register() == 200
    return made


def phone_target(world, name, **kwargs):
    (found,) = targets_of(world.control.bindings(f"{name}@{DOMAIN}"), world.control.clock())
    return found.model_copy(update=kwargs)


def number_target(world, provider="other", number="+447700900123", **kwargs):
    choice = Choice(read(number, "GB"), (provider,))
    (found,) = outbound.through(choice, [world.control.ways[provider]], PAYER).targets
    return found.model_copy(update=kwargs)


def decides(world, *routes):
    """The first call is routed so; when it is asked about again, by the next of ``routes``."""
    decide = world.control.decide
    asked = []

    def decided(question):
        if isinstance(question, RouteQuestion | IncomingQuestion) and question.method == "INVITE":
            asked.append(question)
            route = routes[min(len(asked), len(routes)) - 1]
            return Route(**{"tenant": "t0123456789ab", **route}) if isinstance(route, dict) else route
        return decide(question)

    world.control.decide = decided
    return asked


def rings(world, phone, number=0):
    return world.wait(lambda: phone.agent.requests("INVITE")[number:])[0]


def answer(phone, request, status=200, **kwargs):
    response = phone.agent.response(request, status, **kwargs)
    getattr(phone, "answer", lambda one: phone.send(one.to_bytes()))(response)
    return response


def call_in(provider, headers=()):
    invite = provider.agent.request(
        "INVITE", provider.contact, headers=[f"Contact: {provider.agent.contact}", *headers], body=SDP
    )
    provider.send(invite.to_bytes())
    return invite


def reports(world, kind):
    world.run(1)
    return [report for report in world.control.reports if isinstance(report, kind)]


def acknowledged(world, provider, invite):
    """The ACK of ``invite``."""
    number = invite.get("cseq").split()[0]
    return world.wait(lambda: [ack for ack in provider.agent.requests("ACK") if ack.get("cseq").split()[0] == number])[
        0
    ]


def connected(world, voip, other):
    """A call from ``voip`` that went on to ``other`` and was answered: the dialogs of both."""
    invite = call_in(voip)
    out = rings(world, other)
    ok = answer(other, out)
    final = world.wait(lambda: voip.agent.final(invite))
    assert final.status == 200
    theirs = voip.agent.caller_dialog(invite, final)
    voip.send(voip.agent.in_dialog(theirs, "ACK").to_bytes())
    acknowledged(world, other, out)
    return theirs, other.agent.callee_dialog(out, ok), out, invite


def test_a_call_goes_on_from_one_provider_to_another(world, voip, other):
    decides(world, {"targets": [number_target(world)]})
    theirs, others, out, invite = connected(world, voip, other)
    assert out.uri == "sip:+447700900123@sip.other.test"
    assert out.get("from").startswith("<sip:4420@sip.other.test>;tag=")
    assert 'username="4420"' in out.get("proxy-authorization")
    text = out.to_bytes().decode()
    for secret in ("sip.voip.test", invite.get("call-id"), "198.51.100.1"):
        assert secret not in text
    assert acknowledged(world, other, out).uri == "sip:4420@198.51.100.2:5060"
    # re-INVITEs both ways, then a BYE from either side
    again = voip.agent.in_dialog(theirs, "INVITE", SDP, [f"Contact: {voip.agent.contact}"])
    voip.send(again.to_bytes())
    got = rings(world, other, 1)
    assert int(got.get("cseq").split()[0]) > int(out.get("cseq").split()[0])
    answer(other, got)
    final = world.wait(lambda: voip.agent.final(again))
    theirs.target = NameAddr.parse(final.get("contact")).uri
    voip.send(voip.agent.in_dialog(theirs, "ACK").to_bytes())
    acknowledged(world, other, got)
    others.target = NameAddr.parse(got.get("contact")).uri
    back = other.agent.in_dialog(others, "INVITE", SDP, [f"Contact: {other.agent.contact}"])
    other.send(back.to_bytes(), "edge-b")
    got = rings(world, voip)
    assert got.uri == "sip:4420@198.51.100.1:5060"
    answer(voip, got)
    final = world.wait(lambda: other.agent.final(back))
    assert final.status == 200
    others.target = NameAddr.parse(final.get("contact")).uri
    other.send(other.agent.in_dialog(others, "ACK").to_bytes(), "edge-b")
    assert world.wait(lambda: voip.agent.requests("ACK"))[0].uri == "sip:4420@198.51.100.1:5060"
    bye = other.agent.in_dialog(others, "BYE")
    other.send(bye.to_bytes(), "edge-b")
    got = world.wait(lambda: voip.agent.requests("BYE"))[0]
    assert got.get("call-id") == invite.get("call-id")
    answer(voip, got)
    assert world.wait(lambda: other.agent.final(bye)).status == 200
    (start,), (end,) = reports(world, CallAnswered), reports(world, CallEnded)
    assert (start.call, start.tenant, end.by) == (end.call, "t0123456789ab", "called")


def test_the_first_provider_hangs_up_a_call_that_went_on(world, voip, other):
    decides(world, {"targets": [number_target(world)]})
    theirs, _, out, _ = connected(world, voip, other)
    bye = voip.agent.in_dialog(theirs, "BYE")
    voip.send(bye.to_bytes())
    got = world.wait(lambda: other.agent.requests("BYE"))[0]
    assert got.uri == "sip:4420@198.51.100.2:5060"
    answer(other, got)
    assert world.wait(lambda: voip.agent.final(bye)).status == 200
    assert reports(world, CallEnded)[0].by == "caller"
    assert world.nodes["edge-a"].core.gauges()["server_transactions"] < 20


def test_the_caller_gives_up_while_the_second_provider_rings(world, voip, other):
    decides(world, {"targets": [number_target(world)]})
    invite = call_in(voip)
    out = rings(world, other)
    answer(other, out, 180)
    assert world.wait(lambda: [r for r in voip.agent.responses("INVITE", invite.get("call-id")) if r.status == 180])
    voip.send(make_cancel(invite).to_bytes())
    world.wait(lambda: other.agent.requests("CANCEL"))
    answer(other, out, 487)
    assert world.wait(lambda: voip.agent.final(invite)).status == 487


def test_phones_then_the_other_provider_then_a_refusal(world, voip, other, phones):
    stages = [
        Stage(targets=[number_target(world, diverted="sip:4420@sip.voip.test", headers=["X-Why: night"])], timeout=10),
        Stage(targets=[], end=Reject(status=480, reason="Nobody")),
    ]
    asked = decides(
        world, {"targets": [phone_target(world, "bob"), phone_target(world, "carol")], "timeout": 5, "stages": stages}
    )
    invite = call_in(voip)
    bob, carol = rings(world, phones["bob"]), rings(world, phones["carol"])
    answer(phones["bob"], bob, 180)
    answer(phones["carol"], carol, 486)
    out = rings(world, other)
    # Of the two phones the busy one's refusal is the better response: somebody has made it (RFC 3261 §16.7 step 6).
    assert out.get("diversion") == "<sip:4420@sip.voip.test>;reason=user-busy;counter=1"
    assert out.get("history-info").startswith("<sip:4420@sip.voip.test?Reason=SIP%3Bcause%3D486>")
    assert out.get("x-why") == "night"
    answer(other, out, 486)
    final = world.wait(lambda: voip.agent.final(invite))
    assert (final.status, final.reason) == (480, "Nobody")
    assert len(asked) == 1  # all stages come with one decision


def test_a_made_up_name_gets_nobody_around(world, voip, other):
    decides(world, {"targets": [number_target(world)]})
    node = world.nodes["edge-a"]
    invite = voip.agent.request(
        "INVITE", f"sip:whoever@{node.address}:5060", headers=[f"Contact: {voip.agent.contact}"]
    )
    voip.send(invite.to_bytes())
    assert world.wait(lambda: voip.agent.final(invite)).status == 404


@pytest.mark.parametrize("status", [486, 503])
def test_somebody_else_is_tried_instead_of_who_isnt_there(world, phones, status):
    """A busy callee is the callee's answer; a server's fault isn't."""
    instead = [phone_target(world, "carol")]
    decides(world, {"targets": [phone_target(world, "bob", instead=instead)]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), status)
    if status == 486:
        assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 486
        assert not phones["carol"].agent.requests("INVITE")
    else:
        answer(phones["carol"], rings(world, phones["carol"]))
        assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200


def test_who_is_rung_instead_is_told_so(world, phones):
    diverted = phone_target(world, "carol", diverted=f"sip:bob@{DOMAIN}")
    decides(world, {"targets": [phone_target(world, "bob")], "timeout": 5, "stages": [Stage(targets=[diverted])]})
    known = "History-Info: <sip:zoe@example.net>;index=1"
    phones["alice"].start_call(f"sip:x@{DOMAIN}", [known, "Diversion: <sip:zoe@example.net>;reason=unconditional"])
    rings(world, phones["bob"])
    got = rings(world, phones["carol"])
    assert got.values("diversion") == [
        f"<sip:bob@{DOMAIN}>;reason=no-answer;counter=1",
        "<sip:zoe@example.net>;reason=unconditional",
    ]
    (history,) = got.values("history-info")
    assert history == (
        f"<sip:zoe@example.net>;index=1, <sip:bob@{DOMAIN}?Reason=SIP%3Bcause%3D408>;index=1.1, "
        f"<{got.uri}>;index=1.1.1;mp=1.1"
    )
    assert phones["bob"].agent.requests("INVITE")[0].values("diversion") == [
        "<sip:zoe@example.net>;reason=unconditional"
    ]


def test_how_often_a_call_was_diverted_is_asked_along(world, phones):
    asked = decides(world, Reject(status=480))
    lines = ["Diversion: <sip:a@x>;counter=3, <sip:b@x>;reason=no-answer", "Diversion: <sip:c@x>;counter=bad"]
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}", lines)
    world.wait(lambda: phones["alice"].agent.final(invite))
    assert asked[0].diversions == 5


def test_early_media_is_kept_from_the_caller(world, phones):
    targets = [phone_target(world, "bob"), phone_target(world, "carol")]
    decides(world, {"targets": targets, "early_media": "ringing"})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}", ["Supported: timer, 100rel"])
    got = rings(world, phones["bob"])
    assert got.get("supported") == "timer"
    progress = phones["bob"].agent.response(got, 183, headers=["Content-Type: application/sdp"], body=SDP)
    phones["bob"].send(progress.to_bytes())
    heard = world.wait(
        lambda: [
            r
            for r in phones["alice"].agent.responses("INVITE", invite.get("call-id"))
            if r.status > 100 and r.status < 200
        ]
    )[0]
    assert (heard.status, heard.body, heard.get("content-type"), heard.get("content-length")) == (180, b"", None, "0")


def test_asked_again_when_all_have_failed(world, phones):
    first = {
        "targets": [phone_target(world, "bob")],
        "timeout": 5,
        "stages": [Stage(targets=[], again="office 3 later 1 ")],
    }
    asked = decides(world, first, {"targets": [phone_target(world, "carol")]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    rings(world, phones["bob"])
    answer(phones["carol"], rings(world, phones["carol"]))
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
    assert [(question.again, question.outcomes) for question in asked] == [("", []), ("office 3 later 1 ", [408])]
    assert len(reports(world, CallAnswered)) == 1


def test_given_up_while_it_is_asked_again(world, phones):
    first = {"targets": [phone_target(world, "bob")], "stages": [Stage(targets=[], again="x 1 y 1 ")]}
    decides(world, first, {"targets": [phone_target(world, "carol")]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    world.decision_time = 2.0
    answer(phones["bob"], got, 486)
    world.run(1)
    phones["alice"].send(make_cancel(invite).to_bytes())
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 487
    world.run(5)
    assert not phones["carol"].agent.requests("INVITE")


def test_an_answer_that_comes_while_it_is_asked_again_counts(world, phones):
    first = {"targets": [phone_target(world, "bob")], "timeout": 5, "stages": [Stage(targets=[], again="x 1 y 1 ")]}
    asked = decides(world, first, {"targets": [phone_target(world, "carol")]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    world.decision_time = 2.0
    world.wait(lambda: asked[1:])
    answer(phones["bob"], got)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
    world.run(5)
    assert not phones["carol"].agent.requests("INVITE")


def test_what_belongs_to_a_stage_is_left_out_with_it(world, phones):
    stages = [
        Stage(targets=[phone_target(world, "carol")], when=[408]),
        Stage(targets=[], end=Reject(status=480, reason="Gone"), part_of=1),
        Stage(targets=[], end=Reject(status=603, reason="Closed")),
    ]
    decides(world, {"targets": [phone_target(world, "bob")], "stages": stages})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), 486)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 603


# Ended from outside


def open_call(report) -> OpenCall:
    return OpenCall(
        address=report.edges[0], tenant=report.tenant, call=report.call, started=report.started, sides=report.sides
    )


def hang_up(world, edge, call):
    world.nodes[edge].handle(HangUp([call] if call is not None else []))


@pytest.mark.parametrize("killed", [False, True])
def test_a_call_is_ended_even_if_the_edge_that_made_it_has_died(world, phones, killed):
    decides(world, {"targets": [phone_target(world, "bob")], "max_duration": 60})
    alice, bob = phones["alice"], phones["bob"]
    invite = alice.start_call(f"sip:x@{DOMAIN}")
    answer(bob, rings(world, bob))
    final = world.wait(lambda: alice.agent.final(invite))
    alice.send(alice.agent.in_dialog(alice.agent.caller_dialog(invite, final), "ACK").to_bytes())
    (report,) = reports(world, CallAnswered)
    assert (report.max_duration, len(report.sides)) == (60, 2)
    if killed:
        world.restart("edge-a")
    call = open_call(report)
    hang_up(world, "edge-a", call)
    hang_up(world, "edge-a", call)  # the next heartbeat says it again
    for phone, number in ((alice, 2**31 - 1), (bob, int(invite.get("cseq").split()[0]) + 65_536)):
        bye = world.wait(lambda phone=phone: phone.agent.requests("BYE"))[0]
        assert bye.get("cseq") == f"{number} BYE"
        assert bye.get("call-id") == invite.get("call-id")
        answer(phone, bye)
    assert [report.by for report in reports(world, CallEnded)] == ["service"]
    hang_up(world, "edge-a", call)
    world.run(40)
    assert len(alice.agent.requests("BYE")) == len(bob.agent.requests("BYE")) == 1
    hang_up(world, "edge-a", None)
    assert not world.nodes["edge-a"].core.hanging_up


def test_a_phone_that_is_gone_keeps_nobody_from_ending_the_call(world, phones):
    decides(world, {"targets": [phone_target(world, "bob")]})
    alice, bob = phones["alice"], phones["bob"]
    invite = alice.start_call(f"sip:x@{DOMAIN}")
    answer(bob, rings(world, bob))
    world.wait(lambda: alice.agent.final(invite))
    (report,) = reports(world, CallAnswered)
    hang_up(world, "edge-a", open_call(report))
    answer(alice, world.wait(lambda: alice.agent.requests("BYE"))[0])
    world.run(40)
    assert [report.by for report in reports(world, CallEnded)] == ["service"]


def test_a_call_through_providers_is_ended_on_both_sides(world, voip, other):
    decides(world, {"targets": [number_target(world)], "max_duration": 60})
    connected(world, voip, other)
    (report,) = reports(world, CallAnswered)
    hang_up(world, "edge-a", open_call(report))
    for provider in (voip, other):
        bye = world.wait(lambda provider=provider: provider.agent.requests("BYE"))[0]
        answer(provider, bye)
    assert [report.by for report in reports(world, CallEnded)] == ["service"]


def test_a_call_out_is_ended_on_both_sides(world, other, phones):
    decides(world, {"targets": [number_target(world)], "max_duration": 60})
    alice = phones["alice"]
    invite = alice.start_call(f"sip:+447700900123@{DOMAIN}")
    answer(other, rings(world, other))
    world.wait(lambda: alice.agent.final(invite))
    (report,) = reports(world, CallAnswered)
    hang_up(world, "edge-a", open_call(report))
    answer(alice, world.wait(lambda: alice.agent.requests("BYE"))[0])
    answer(other, world.wait(lambda: other.agent.requests("BYE"))[0])
    assert [report.by for report in reports(world, CallEnded)] == ["service"]


def test_the_routes_of_both_providers_are_kept(world, voip, other):
    """Their proxies want to be on the way, and there is no phone to remember them."""
    decides(world, {"targets": [number_target(world)]})
    invite = call_in(voip, ["Record-Route: <sip:198.51.100.1;lr>", "Record-Route: <sip:second.voip.test;lr>"])
    out = rings(world, other)
    assert not out.values("record-route")
    response = other.agent.response(out, 200, headers=[])
    response.headers += [("record-route", "Record-Route: <sip:far.other.test;lr>, <sip:198.51.100.2;lr>")]
    other.answer(response)
    final = world.wait(lambda: voip.agent.final(invite))
    theirs, others = voip.agent.caller_dialog(invite, final), other.agent.callee_dialog(out, response)
    theirs.routes = others.routes = []  # their own proxies take those out
    voip.send(voip.agent.in_dialog(theirs, "ACK").to_bytes())
    ack = acknowledged(world, other, out)
    assert ack.values("route") == ["<sip:198.51.100.2;lr>", "<sip:far.other.test;lr>"]
    bye = other.agent.in_dialog(others, "BYE")
    other.send(bye.to_bytes(), "edge-b")
    got = world.wait(lambda: voip.agent.requests("BYE"))[0]
    assert got.values("route") == ["<sip:198.51.100.1;lr>", "<sip:second.voip.test;lr>"]


# Without control plane


def test_the_last_decision_is_used_when_none_can_be_had(world, phones):
    """With the phones that there are now, for the callers and the time that it was said to hold for."""
    keep = Keep(seconds=600, plans=["t1/night"])
    stages = [Stage(targets=[], end=Reject(status=480, reason="Closed"))]
    decides(
        world, {"targets": [phone_target(world, "bob")], "timeout": 5, "stages": stages, "keep": keep, "tenant": "t1"}
    )

    def call(name="carol", uri=f"sip:x@{DOMAIN}"):
        invite = phones[name].start_call(uri)
        return world.wait(lambda: phones[name].agent.final(invite))

    final = call()
    assert (final.status, final.reason) == (480, "Closed")
    world.control.dark = True
    phones["bob"].public = ("192.0.2.99", 39999)
    world.phones[phones["bob"].public] = phones["bob"]
    phones["bob"].register()
    final = call()
    assert (final.status, final.reason) == (480, "Closed")
    assert len({request.get("call-id") for request in phones["bob"].agent.requests("INVITE")}) == 2
    world.run(700)
    assert call().status == 503


@pytest.mark.parametrize("change", [Change(version=0, plan="t1/night"), Change(version=1, aor=f"bob@{DOMAIN}")])
def test_a_kept_decision_goes_with_what_it_rests_on(world, phones, change):
    keep = Keep(seconds=600, plans=["t1/night"])
    decides(world, {"targets": [phone_target(world, "bob")], "timeout": 5, "keep": keep, "tenant": "t1"})
    invite = phones["carol"].start_call(f"sip:x@{DOMAIN}")
    world.wait(lambda: phones["carol"].agent.final(invite))
    core = world.nodes["edge-a"].core
    assert core.gauges()["kept_routes"] == 1
    core.handle(
        Fed([Change(version=0, plan="t1/day"), Change(version=5, aor=f"bob@{DOMAIN}", binding="x")], False), world.now
    )
    assert core.gauges()["kept_routes"] == 1
    core.handle(Fed([change], False), world.now)
    assert core.gauges()["kept_routes"] == 0


def test_kept_decisions_survive_a_restart_and_hold_for_one_caller_where_they_must():
    kept = KeptRoutes()
    route = Route(targets=[], tenant="t1", keep=Keep(caller="alice", seconds=60))
    kept.keep("t1", "bob", route, 1000.0)
    kept.keep("t1", "bob", Route(targets=[], tenant="t1"), 1000.0)  # not to be kept
    written = [(route_name(key), write_route(found)) for key, found in kept.take_changed(10)]
    again = KeptRoutes()
    again.restore([(route_key(name), read_route(data)) for name, data in written])
    assert again.find("t1", "bob", "alice", 1059.0) == route
    assert again.find("t1", "bob", "carol", 1001.0) is None
    assert again.find("t1", "bob", "alice", 1060.0) is None
    assert again.find("t2", "bob", "alice", 1001.0) is None
    assert again.take_changed(10) == []


def test_a_providers_call_in_the_dark_goes_where_the_last_one_went(world, voip, other, phones):
    decides(
        world,
        {
            "targets": [phone_target(world, "bob", aor=f"bob@{DOMAIN}")],
            "timeout": 5,
            "keep": Keep(seconds=600),
            "tenant": "t1",
        },
    )
    for dark in (False, True):
        world.control.dark = dark
        invite = call_in(voip)
        answer(phones["bob"], rings(world, phones["bob"], int(dark)), 486)
        assert world.wait(lambda: voip.agent.final(invite)).status == 486


# By q


def test_phones_with_a_lower_q_ring_later_or_when_the_others_have_failed(world):
    alice = world.phone("alice")
    desk, mobile = world.phone("bob", "edge-a"), world.phone("bob", "edge-b")
    assert alice.register() == 200
    for phone, q in ((desk, "1.0"), (mobile, "0.5")):
        request = phone.agent.register_request(contact=f"<sip:bob@10.0.0.{phone.public[1] % 250}>;q={q}")
        assert phone.transact(request).status == 200
    begun = world.now
    alice.start_call(f"sip:bob@{DOMAIN}")
    answer(desk, rings(world, desk), 180)
    rings(world, mobile)
    assert Q_STEP <= world.now - begun < Q_STEP + 1
    alice.start_call(f"sip:bob@{DOMAIN}")
    begun = world.now
    answer(desk, rings(world, desk, 1), 486)
    rings(world, mobile, 1)
    assert world.now - begun < 1


# Answers that come too late, and other crossings


def test_an_answer_that_crosses_the_end_of_the_last_stage_counts(world, phones):
    decides(
        world,
        {"targets": [phone_target(world, "bob")], "timeout": 5, "stages": [Stage(targets=[], end=Reject(status=480))]},
    )
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    world.wait(lambda: phones["bob"].agent.requests("CANCEL"))
    answer(phones["bob"], got)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200


def test_who_was_cancelled_at_the_end_counts_as_not_answering(world, phones):
    decides(world, {"targets": [phone_target(world, "bob")], "timeout": 5})
    begun = world.now
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    world.wait(lambda: phones["bob"].agent.requests("CANCEL"))
    answer(phones["bob"], got, 487)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 408
    assert world.now - begun < 6


@pytest.mark.parametrize("silent", [False, True])
def test_an_answer_after_the_refusal_is_hung_up(world, phones, silent):
    """The caller has been told that nobody answers: whoever picks up now must not wait for somebody to speak."""
    decides(world, {"targets": [phone_target(world, "bob")], "timeout": 5})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 408
    if silent:
        world.run(10)
    answer(phones["bob"], got)
    ack = world.wait(lambda: phones["bob"].agent.requests("ACK"))[0]
    bye = world.wait(lambda: phones["bob"].agent.requests("BYE"))[0]
    assert ack.get("call-id") == bye.get("call-id") == invite.get("call-id")
    assert int(bye.get("cseq").split()[0]) > int(got.get("cseq").split()[0])
    answer(phones["bob"], bye)
    world.run(10)
    assert len(phones["bob"].agent.requests("BYE")) == 1
    assert not reports(world, CallAnswered)


def test_a_provider_that_answers_too_late_is_hung_up(world, other, phones):
    decides(world, {"targets": [number_target(world)], "timeout": 5})
    invite = phones["alice"].start_call(f"sip:+447700900123@{DOMAIN}")
    out = rings(world, other)
    answer(other, out, 180)
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 408
    answer(other, out)
    acknowledged(world, other, out)
    answer(other, world.wait(lambda: other.agent.requests("BYE"))[0])
    assert not reports(world, CallAnswered)


def test_nobody_is_cancelled_twice(world, phones):
    targets = [phone_target(world, "bob"), phone_target(world, "carol")]
    decides(world, {"targets": targets, "timeout": 10, "stages": [Stage(targets=[], end=Reject(status=480))]})
    phones["alice"].start_call(f"sip:x@{DOMAIN}")
    bob, carol = rings(world, phones["bob"]), rings(world, phones["carol"])
    answer(phones["bob"], bob, 180)
    world.run(9)
    answer(phones["carol"], carol, 603)
    world.run(4)
    assert len({request.get("via") for request in phones["bob"].agent.requests("CANCEL")}) == 1


def test_a_delayed_leg_without_company_rings_at_once(world, phones):
    decides(world, {"targets": [phone_target(world, "bob", after=8.0)]})
    begun = world.now
    phones["alice"].start_call(f"sip:x@{DOMAIN}")
    rings(world, phones["bob"])
    assert world.now - begun < 1


def test_a_plan_that_is_asked_again_for_ever_ends(world, phones):
    more = [Stage(targets=[], status=486, part_of=-1)] * 40
    asked = decides(world, {"targets": [], "stages": [*more, Stage(targets=[], again="x 1 y 1 ")]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    final = world.wait(lambda: phones["alice"].agent.final(invite))
    assert (final.status, "no end" in final.reason, len(asked) < 20) == (500, True, True)


def test_headers_and_diversion_go_with_whoever_is_tried_instead(world, phones):
    instead = [phone_target(world, "carol", headers=["X-Line: 2"], diverted="sip:4420@x")]
    decides(world, {"targets": [phone_target(world, "bob", headers=["X-Line: 2"], instead=instead)]})
    phones["alice"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), 503)
    got = rings(world, phones["carol"])
    assert (got.get("x-line"), got.get("diversion")) == ("2", "<sip:4420@x>;reason=unconditional;counter=1")


def absent(name):
    return Target(uri="", flow=("", 0, "udp", "", 0, 0), binding="", aor=f"{name}@{DOMAIN}")


def test_who_had_no_phone_when_it_was_decided_rings_in_the_dark(world, phones):
    keep = Keep(seconds=600)
    decides(world, {"targets": [phone_target(world, "bob")], "absent": [absent("dave")], "keep": keep, "tenant": "t1"})
    dave = world.phone("dave", "edge-b")
    world.control.dark = False
    invite = phones["carol"].start_call(f"sip:x@{DOMAIN}")
    answer(phones["bob"], rings(world, phones["bob"]), 486)
    assert world.wait(lambda: phones["carol"].agent.final(invite)).status == 486
    assert dave.register() == 200
    world.control.dark = True
    phones["carol"].start_call(f"sip:x@{DOMAIN}")
    rings(world, phones["bob"], 1)
    rings(world, dave)


@pytest.mark.parametrize(
    "change",
    [
        Change(version=0, tenant="t1"),
        Change(version=1, provider="t1/voip"),
        Change(version=1, aor=f"dave@{DOMAIN}"),
        Change(version=0, plan="t1/none-yet"),
    ],
)
def test_everything_that_a_kept_decision_rests_on_drops_it(change):
    kept = KeptRoutes()
    route = Route(targets=[], absent=[absent("dave")], tenant="t1", keep=Keep(seconds=60, plans=["t1/none-yet"]))
    kept.keep("t1/voip", "4420", route, 0.0)
    kept.forget("t1/other", "t1/other", f"carol@{DOMAIN}", "t2")
    assert kept.find("t1/voip", "4420", "", 1.0)
    kept.forget(change.plan, change.provider, change.aor, change.tenant)
    assert kept.find("t1/voip", "4420", "", 1.0) is None
    assert len(kept) == 0


def test_no_owner_drives_out_anothers_kept_decisions():
    kept = KeptRoutes()
    route = Route(targets=[], tenant="t1", keep=Keep(seconds=60))
    kept.keep("t1", "bob", route, 0.0)
    for number in range(12_000):
        kept.keep("t2", f"n{number}", route, 0.0)
    assert kept.find("t1", "bob", "", 1.0)
    assert len(kept) == 1001


def test_phones_keep_their_order_in_the_dark():
    flow = ("203.0.113.11", 5060, "udp", "192.0.2.1", 5060, 0)
    first = Target(uri="sip:a", flow=flow, binding="a", q=1000, aor="bob@x", after=5.0, headers=["X-A: 1"])
    found = [Target(uri=f"sip:{q}", flow=flow, binding=str(q), q=q, aor="bob@x") for q in (500, 1000, 200)]
    ready = with_phones(Route(targets=[first]), {"bob@x": found})
    assert {target.q: target.after for target in ready.targets} == {1000: 5.0, 500: 5.0 + Q_STEP, 200: 5.0 + 2 * Q_STEP}
    assert all(target.headers == ["X-A: 1"] for target in ready.targets)


def test_a_kept_refusal_holds_in_the_dark(world, phones):
    keep = Keep(seconds=600)
    decides(world, {"targets": [], "end": Reject(status=603, reason="Closed"), "keep": keep, "tenant": "t1"})
    for dark in (False, True):
        world.control.dark = dark
        invite = phones["carol"].start_call(f"sip:bob@{DOMAIN}")
        final = world.wait(lambda invite=invite: phones["carol"].agent.final(invite))
        assert (final.status, final.reason) == (603, "Closed")
    assert not phones["bob"].agent.requests("INVITE")


def test_the_second_provider_is_cancelled_when_its_time_is_over(world, voip, other):
    stages = [Stage(targets=[], end=Reject(status=480, reason="Nobody"))]
    decides(world, {"targets": [number_target(world)], "timeout": 5, "early_media": "ringing", "stages": stages})
    invite = call_in(voip)
    out = rings(world, other)
    answer(other, out, 180)
    world.wait(lambda: other.agent.requests("CANCEL"))
    answer(other, out, 487)
    final = world.wait(lambda: voip.agent.final(invite))
    assert (final.status, final.reason) == (480, "Nobody")


def test_who_is_rung_after_others_rings_as_long_as_the_plan_says(world, voip, other, phones):
    then = Stage(targets=[number_target(world)], timeout=9, early_media="ringing")
    stages = [then, Stage(targets=[], end=Reject(status=480, reason="Nobody"))]
    decides(world, {"targets": [phone_target(world, "bob")], "timeout": 3, "stages": stages})
    invite = call_in(voip)
    rung = rings(world, phones["bob"])
    answer(phones["bob"], rung, 180)
    out = rings(world, other)
    answer(other, out, 180)
    world.run(8)
    assert not other.agent.requests("CANCEL")
    assert voip.agent.final(invite) is None
    world.wait(lambda: other.agent.requests("CANCEL"))
    answer(other, out, 487)
    final = world.wait(lambda: voip.agent.final(invite))
    assert (final.status, final.reason) == (480, "Nobody")
