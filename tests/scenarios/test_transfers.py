"""Calls from and to outside that are put through to somebody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack.events import FleetChanged, HangUp
from edge.sip.headers import NameAddr
from lambdas.contract import CallAnswered, CallEnded, CallName, CallTransferred, OpenCall
from lambdas.decisions.limits import CallLimits
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.rules import Plan
from tests.scenarios.test_provider_calls import acknowledged, answered, arrives, call_in, dial, number_of
from tests.support.agent import SDP
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN

CAROLS = SDP.replace(b"20000", b"30000")
THEIRS = SDP.replace(b"20000", b"40000")
CONTENT = "Content-Type: application/sdp"


@pytest.fixture
def carol(world):
    phone = world.phone("carol", "edge-a")
    assert phone.register() == 200
    return phone


class Outside:
    """A call between a phone and somebody outside: the phone's dialog and the provider's."""

    def __init__(self, world, provider, phone, way, said=b""):
        self.world, self.provider, self.phone = world, provider, phone
        if way == "out":
            _, self.mine, _, self.theirs = answered(world, phone, provider)
        else:
            assign(world, account(incoming=(f"{phone.agent.username}@{DOMAIN}",), version=2))
            invite = call_in(world, provider, octets=said)
            got = world.wait(lambda: phone.agent.requests("INVITE"))[-1]
            ok = phone.agent.response(got, 200)
            phone.send(ok.to_bytes())
            final = world.wait(lambda: provider.agent.final(invite))
            self.mine = phone.agent.callee_dialog(got, ok)
            self.theirs = provider.agent.caller_dialog(invite, final)
            self.theirs.routes = []
            provider.send(provider.agent.in_dialog(self.theirs, "ACK").to_bytes())
        world.run(1)
        for agent in (provider.agent, phone.agent):
            agent.received.clear()

    def refer(self, target, *headers, method="REFER"):
        """The REFER and its answer."""
        request = self.phone.agent.in_dialog(self.mine, method, headers=[f"Refer-To: <{target}>", *headers])
        self.phone.send(request.to_bytes())
        return request, self.world.wait(lambda: self.phone.agent.final(request))

    def told(self):
        """What the transferor was told so far; it answers, and its numbers only go up."""
        notifies = self.phone.agent.requests("NOTIFY")
        numbers = [number_of(notify) for notify in notifies]
        assert numbers == sorted(set(numbers))
        return [notify.body.decode().split(" ", 1)[1].strip() for notify in notifies]

    def last_word(self):
        return (self.told() or [""])[-1]


def answering(phone):
    """Have a phone answer NOTIFY and BYE."""
    take = phone.agent.take

    def taken(data):
        message = take(data)
        if getattr(message, "method", "") in ("NOTIFY", "BYE"):
            phone.send(phone.agent.response(message, 200).to_bytes())
        return message

    phone.agent.take = taken


def rings(world, phone):
    return world.wait(lambda: phone.agent.requests("INVITE"))[-1]


def takes(phone, invite):
    """Answer with an offer; our dialog."""
    ok = phone.agent.response(invite, 200, body=CAROLS, headers=[CONTENT])
    ok.headers = [("content-type", line) if line == CONTENT else (key, line) for key, line in ok.headers]
    phone.send(ok.to_bytes())
    return phone.agent.callee_dialog(invite, ok)


def put_through(world, provider, call, carol):
    """Carol has answered, and the provider agrees; carol's dialog, with the provider's in ``call`` brought up to
    date."""
    got = rings(world, carol)
    assert (got.body, got.get("content-type")) == (b"", None)
    dialog = takes(carol, got)
    reinvite = arrives(world, provider)
    assert b"m=audio 30000" in reinvite.body
    assert (reinvite.get("call-id"), reinvite.get("from"), reinvite.get("to")) == (
        call.theirs.call_id,
        call.theirs.remote,
        call.theirs.local,
    )
    ok = provider.agent.response(reinvite, 200, tag="none", body=THEIRS, headers=[CONTENT])
    ok.headers = [("content-type", line) if line == CONTENT else (key, line) for key, line in ok.headers]
    provider.answer(ok)
    call.theirs.target = NameAddr.parse(reinvite.get("contact")).uri
    assert acknowledged(world, provider, reinvite).body == b""
    ack = world.wait(lambda: carol.agent.requests("ACK"))[0]
    assert (ack.body, number_of(ack)) == (THEIRS, number_of(got))
    call.last = number_of(reinvite)
    return dialog


def hold_and_hang_up(world, provider, call, carol, dialog, by):
    """Both sides go on as in any call."""
    hold = carol.agent.in_dialog(dialog, "INVITE", SDP, [CONTENT])
    carol.send(hold.to_bytes())
    got = world.wait(lambda: [one for one in provider.agent.requests("INVITE") if number_of(one) > call.last + 8])[0]
    assert (got.get("call-id"), got.get("from")) == (call.theirs.call_id, call.theirs.remote)
    provider.answer(provider.agent.response(got, 200, tag="none"))
    final = world.wait(lambda: carol.agent.final(hold))
    assert final.status == 200
    dialog.target = NameAddr.parse(final.get("contact")).uri
    carol.send(carol.agent.in_dialog(dialog, "ACK").to_bytes())
    acknowledged(world, provider, got)
    call.theirs.target = NameAddr.parse(got.get("contact")).uri
    carol.agent.received.clear()
    again = provider.agent.in_dialog(call.theirs, "INVITE", SDP, [CONTENT])
    provider.send(again.to_bytes())
    got = rings(world, carol)
    assert (got.get("call-id"), got.get("to"), got.get("from")) == (dialog.call_id, dialog.local, dialog.remote)
    carol.send(carol.agent.response(got, 200, tag="none").to_bytes())
    final = world.wait(lambda: provider.agent.final(again))
    call.theirs.target = NameAddr.parse(final.get("contact")).uri
    provider.send(provider.agent.in_dialog(call.theirs, "ACK").to_bytes())
    ack = world.wait(lambda: carol.agent.requests("ACK"))[0]
    assert number_of(ack) == number_of(got)
    if by == "carol":
        bye = carol.agent.in_dialog(dialog, "BYE")
        carol.send(bye.to_bytes())
        got = arrives(world, provider, "BYE")
        provider.answer(provider.agent.response(got, 200, tag="none"))
        assert world.wait(lambda: carol.agent.final(bye)).status == 200
    else:
        bye = provider.agent.in_dialog(call.theirs, "BYE")
        provider.send(bye.to_bytes())
        got = world.wait(lambda: carol.agent.requests("BYE"))[0]
        carol.send(carol.agent.response(got, 200, tag="none").to_bytes())
        assert world.wait(lambda: provider.agent.final(bye)).status == 200
    world.run(1)


@pytest.mark.parametrize("by", ["carol", "provider"])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("way", ["out", "in"])
def test_a_call_is_put_through_and_goes_on_like_any_other(world, provider, alice, carol, way, restarted, by):
    call = Outside(world, provider, alice, way)
    answering(alice)
    _, accepted = call.refer(f"sip:carol@{DOMAIN}")
    assert accepted.status == 202
    got = rings(world, carol)
    carol.send(carol.agent.response(got, 180).to_bytes())
    dialog = put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")
    assert call.told() == ["100 Trying", "180 Unknown", "200 OK"]
    bye = alice.agent.in_dialog(call.mine, "BYE")
    alice.send(bye.to_bytes())
    assert world.wait(lambda: alice.agent.final(bye)).status == 200
    world.run(10)
    assert not provider.agent.requests("BYE")
    assert not alice.agent.requests("BYE")
    if restarted:
        world.restart("edge-a")
        world.restart("edge-b")
        assign(world, account())
        world.run(2)
    hold_and_hang_up(world, provider, call, carol, dialog, by)
    reports = world.control.reports
    first, second = [report for report in reports if isinstance(report, CallAnswered)]
    assert (second.called, second.transferred_by) == (f"carol@{DOMAIN}", f"alice@{DOMAIN}")
    moved = next(report for report in reports if isinstance(report, CallTransferred))
    assert ((moved.call, moved.started), (moved.to, moved.to_started)) == (
        (first.call, first.started),
        (second.call, second.started),
    )
    assert [report.call for report in reports if isinstance(report, CallEnded)] == [second.call]


@pytest.mark.parametrize(("way", "at"), [("out", "edge-b"), ("in", "edge-a")])
def test_a_session_timer_of_before_does_not_end_what_has_become_of_the_call(world, provider, alice, carol, way, at):
    call = Outside(world, provider, alice, way)
    start = next(one for one in world.control.reports if isinstance(one, CallAnswered))
    name = CallName(tenant=start.tenant, call=start.call, started=start.started)
    world.nodes[at].core.stack.session_timers.note(name, 600, world.now)
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    put_through(world, provider, call, carol)
    world.run(1)
    assert world.nodes[at].core.gauges()["timed_sessions"] == 0


def talk_on(world, provider, call):
    """The call is the transferor's as before: hold and retrieve, and the provider's requests reach him."""
    agent, phone = call.phone.agent, call.phone
    again = agent.in_dialog(call.mine, "INVITE", SDP, [CONTENT])
    phone.send(again.to_bytes())
    got = arrives(world, provider, number=len(provider.agent.requests("INVITE")))
    assert number_of(got) > getattr(call, "last", 0)
    provider.answer(provider.agent.response(got, 200, tag="none"))
    final = world.wait(lambda: agent.final(again))
    call.mine.target = NameAddr.parse(final.get("contact")).uri
    call.theirs.target = NameAddr.parse(got.get("contact")).uri
    phone.send(agent.in_dialog(call.mine, "ACK").to_bytes())
    acknowledged(world, provider, got)
    last = max([number_of(one) for one in agent.requests("NOTIFY")], default=0)
    bye = provider.agent.in_dialog(call.theirs, "BYE")
    provider.send(bye.to_bytes())
    assert number_of(world.wait(lambda: agent.requests("BYE"))[0]) > last
    assert world.wait(lambda: provider.agent.final(bye)).status == 200


@pytest.mark.parametrize("way", ["out", "in"])
@pytest.mark.parametrize(("status", "line"), [(486, "486 Unknown"), (603, "603 Decline"), (None, "480 Temporarily")])
def test_who_does_not_take_it_leaves_the_call_as_it_was(world, provider, alice, carol, way, status, line):
    call = Outside(world, provider, alice, way)
    answering(alice)
    if status is None:
        assert carol.register(0) == 200
    call.refer(f"sip:carol@{DOMAIN}")
    if status is not None:
        got = rings(world, carol)
        carol.send(carol.agent.response(got, status).to_bytes())
    world.wait(lambda: call.last_word().startswith(line))
    assert not provider.agent.received
    talk_on(world, provider, call)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (f"sip:nobody@{DOMAIN}", "404 Not Found: no such account"),
        ("sip:x@example.net", "404 Not Found"),
        (f"sip:+447700900000@{DOMAIN}", "403 Forbidden"),
        (f"sip:999@{DOMAIN}", "403 Forbidden"),
    ],
)
def test_whom_he_may_not_call_nobody_is_put_through_to(world, provider, alice, target, told):
    world.control.settings = TenantSettings(
        "GB", (), (StoredRoute("", ("voip",)),), account_limits=CallLimits(blocked_prefixes=("+447",))
    )
    account_of(world, "alice", limits=CallLimits(blocked_prefixes=("+447",)))
    call = Outside(world, provider, alice, "out")
    answering(alice)
    assert call.refer(target)[1].status == 202
    world.wait(lambda: call.last_word().startswith(told))
    assert not provider.agent.received
    talk_on(world, provider, call)


def account_of(world, username, **changes):
    aor = f"{username}@{DOMAIN}"
    world.control.accounts[aor] = replace(world.control.accounts[aor], **changes)


def test_a_transferred_call_counts_as_one_of_the_transferors(world, provider, alice, carol):
    account_of(world, "alice", limits=CallLimits(concurrent_calls=2))
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")
    world.run(1)
    started = [report for report in world.control.reports if isinstance(report, CallAnswered)]
    assert [report.counted for report in started] == [[f"alice@{DOMAIN}"]] * 2
    invite = dial(world, alice)  # the one with the provider and the one with carol are two
    assert world.wait(lambda: alice.agent.final(invite)).status == 403


def test_who_is_at_his_limit_puts_nobody_through(world, provider, alice, carol):
    account_of(world, "alice", limits=CallLimits(concurrent_calls=1))
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    world.wait(lambda: call.last_word().startswith("403 Forbidden"))
    assert not carol.agent.requests("INVITE")
    talk_on(world, provider, call)


@pytest.mark.parametrize("taken", [True, False])
def test_a_transferor_who_hangs_up_at_once(world, provider, alice, carol, taken):
    call = Outside(world, provider, alice, "in")
    call.refer(f"sip:carol@{DOMAIN}", "Refer-Sub: false")
    accepted = alice.agent.responses("REFER")[-1]
    assert (accepted.status, accepted.get("refer-sub")) == (202, "false")
    bye = alice.agent.in_dialog(call.mine, "BYE")
    alice.send(bye.to_bytes())
    assert world.wait(lambda: alice.agent.final(bye)).status == 200
    if taken:
        dialog = put_through(world, provider, call, carol)
        world.run(10)
        hold_and_hang_up(world, provider, call, carol, dialog, "provider")
    else:
        got = rings(world, carol)
        carol.send(carol.agent.response(got, 486).to_bytes())
        got = arrives(world, provider, "BYE")
        assert (got.get("call-id"), got.get("from")) == (call.theirs.call_id, call.theirs.remote)
        provider.answer(provider.agent.response(got, 200, tag="none"))
        world.run(1)
        ended = [report for report in world.control.reports if isinstance(report, CallEnded)]
        assert len(ended) == 1
    assert not alice.agent.requests("NOTIFY")


@pytest.mark.parametrize("way", ["out", "in"])
def test_a_provider_who_hangs_up_is_waited_for_no_more(world, provider, alice, carol, way):
    call = Outside(world, provider, alice, way)
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    got = rings(world, carol)
    carol.send(carol.agent.response(got, 180).to_bytes())
    world.run(1)
    bye = provider.agent.in_dialog(call.theirs, "BYE")
    provider.send(bye.to_bytes())
    assert world.wait(lambda: provider.agent.final(bye)).status == 200
    cancel = world.wait(lambda: carol.agent.requests("CANCEL"))[0]
    carol.send(carol.agent.response(cancel, 200).to_bytes())
    carol.send(carol.agent.response(got, 487).to_bytes())
    world.wait(lambda: call.last_word().startswith("487"))


@pytest.mark.parametrize("status", [488, 481])
def test_a_provider_that_does_not_take_the_new_description(world, provider, alice, carol, status):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    answering(carol)
    call.refer(f"sip:carol@{DOMAIN}")
    takes(carol, rings(world, carol))
    reinvite = arrives(world, provider)
    provider.answer(provider.agent.response(reinvite, status, tag="none"))
    assert world.wait(lambda: carol.agent.requests("BYE"))
    world.wait(lambda: call.last_word().startswith(str(status)))
    world.run(1)
    ended = [report.call for report in world.control.reports if isinstance(report, CallEnded)]
    answered_calls = [report.call for report in world.control.reports if isinstance(report, CallAnswered)]
    assert ended == answered_calls[1:]
    call.last = number_of(reinvite)
    talk_on(world, provider, call)


def test_a_re_invite_that_meets_another_one_is_sent_again(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    got = rings(world, carol)
    takes(carol, got)
    reinvite = arrives(world, provider)
    provider.answer(provider.agent.response(reinvite, 491, tag="none"))
    again = arrives(world, provider, number=1)
    assert number_of(again) > number_of(reinvite)
    provider.answer(provider.agent.response(again, 200, tag="none", body=THEIRS))
    assert acknowledged(world, provider, again)
    world.wait(lambda: call.last_word() == "200 OK")


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_a_challenge_of_the_re_invite_is_answered(world, provider, edge, carol):
    """By whatever edge has the transferor."""
    phone = world.phone("alice", edge)
    assert phone.register() == 200
    call = Outside(world, provider, phone, "in")
    answering(phone)
    provider.nonce = "fresh"
    call.refer(f"sip:carol@{DOMAIN}")
    dialog = put_through(world, provider, call, carol)
    assert 'nonce="fresh"' in provider.agent.requests("INVITE")[-1].get("proxy-authorization")
    hold_and_hang_up(world, provider, call, carol, dialog, "carol")


def test_requests_of_the_transferor_while_the_other_one_is_rung(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    got = rings(world, carol)
    for index in range(3):
        info = alice.agent.in_dialog(call.mine, "INFO")
        alice.send(info.to_bytes())
        provider.answer(provider.agent.response(arrives(world, provider, "INFO", index), 200, tag="none"))
        assert world.wait(lambda info=info: alice.agent.final(info)).status == 200
    dialog = put_through(world, provider, call, carol)
    assert call.last > number_of(provider.agent.requests("INFO")[-1])
    assert got.get("call-id") == dialog.call_id
    hold_and_hang_up(world, provider, call, carol, dialog, "carol")


def test_who_was_put_through_can_be_put_through_again(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    call.mine = put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")
    world.run(10)
    world.restart("edge-a")
    world.restart("edge-b")
    assign(world, account())
    world.run(2)
    dave = world.phone("dave", "edge-b")
    assert dave.register() == 200
    call.phone = carol
    for agent in (provider.agent, carol.agent):
        agent.received.clear()
    answering(carol)
    assert call.refer(f"sip:dave@{DOMAIN}")[1].status == 202
    first = call.last
    dialog = put_through(world, provider, call, dave)
    assert call.last > first
    world.wait(lambda: call.last_word() == "200 OK")
    hold_and_hang_up(world, provider, call, dave, dialog, "carol")


@pytest.mark.parametrize("user", ["x%0D%0AAlert-Info%3A%20answer", "x%3E;tag=y", "x%20y", "x%5E"])
def test_what_is_escaped_in_a_refer_to_stays_so(world, provider, alice, carol, user):
    ring = {"name": "all", "ring": {"legs": [{"account": f"carol@{DOMAIN}"}]}}
    world.control.plans["office"] = Plan.model_validate({"rules": [ring]})
    world.control.settings = replace(world.control.settings, plan="office")
    call = Outside(world, provider, alice, "in")
    answering(alice)
    call.refer(f"sip:{user}@{DOMAIN}")
    got = rings(world, carol)
    assert (got.get("to"), got.get("alert-info")) == (f"<sip:{user}@{DOMAIN}>", None)
    put_through(world, provider, call, carol)


@pytest.fixture
def second(world) -> ProviderDouble:
    made = ProviderDouble(world, "198.51.100.2", "sip.second.test")
    assign(world, account("second", host="sip.second.test"), "edge-b")
    world.run(2)
    world.control.settings = TenantSettings("GB", (), (StoredRoute("+4420", ("voip",)), StoredRoute("", ("second",))))
    return made


@pytest.mark.parametrize(
    "target",
    [
        f"sip:+447700900000@{DOMAIN}",
        f"sip:%2B44-7700-900000;npdi@{DOMAIN};user=phone",
        "tel:+44-7700-900000",
        "tel:7700900000;phone-context=+44",
        "sip:+44(7700)900000;cpc=ordinary@203.0.113.12",
    ],
)
@pytest.mark.parametrize("way", ["out", "in"])
def test_a_call_is_put_through_to_somebody_outside(world, provider, second, alice, way, target):
    """Two borders, and no phone between them any more."""
    call = Outside(world, provider, alice, way)
    answering(alice)
    call.refer(target)
    out = arrives(world, second)
    assert (out.uri, out.body) == ("sip:+447700900000@sip.second.test", b"")
    assert "alice" not in out.to_bytes().decode()
    other = takes(second, out)
    reinvite = arrives(world, provider)
    assert b"m=audio 30000" in reinvite.body
    ok = provider.agent.response(reinvite, 200, tag="none", body=THEIRS)
    provider.answer(ok)
    call.theirs.target = NameAddr.parse(reinvite.get("contact")).uri
    acknowledged(world, provider, reinvite)
    ack = acknowledged(world, second, out)
    assert ack.body == THEIRS
    world.wait(lambda: call.last_word() == "200 OK")
    world.run(10)
    world.restart("edge-a")
    world.restart("edge-b")
    assign(world, account())
    assign(world, account("second", host="sip.second.test"), "edge-b")
    world.run(2)
    again = second.agent.in_dialog(other, "INVITE", SDP, [CONTENT])
    second.send(again.to_bytes(), "edge-b")
    got = arrives(world, provider, number=len(provider.agent.requests("INVITE")))
    assert number_of(got) > number_of(reinvite)
    assert (got.get("call-id"), got.get("from")) == (call.theirs.call_id, call.theirs.remote)
    provider.answer(provider.agent.response(got, 200, tag="none"))
    final = world.wait(lambda: second.agent.final(again))
    assert final.status == 200
    other.target = NameAddr.parse(final.get("contact")).uri
    second.send(second.agent.in_dialog(other, "ACK").to_bytes(), "edge-b")
    acknowledged(world, provider, got)
    call.theirs.target = NameAddr.parse(got.get("contact")).uri
    bye = provider.agent.in_dialog(call.theirs, "BYE")
    provider.send(bye.to_bytes())
    got = arrives(world, second, "BYE")
    assert got.get("call-id") == other.call_id
    second.answer(second.agent.response(got, 200, tag="none"))
    assert world.wait(lambda: provider.agent.final(bye)).status == 200
    world.run(1)
    reports = world.control.reports
    last = [report for report in reports if isinstance(report, CallAnswered)][-1]
    assert (last.providers, last.transferred_by) == (("t1/voip", "t1/second"), f"alice@{DOMAIN}")
    assert last.called == f"+447700900000@{DOMAIN}"
    assert [report.call for report in reports if isinstance(report, CallEnded)] == [last.call]


def consulted(world, alice, carol):
    """Alice talks with carol; alice's dialog and carol's."""
    invite = alice.start_call(f"sip:carol@{DOMAIN}")
    got = rings(world, carol)
    ok = carol.agent.response(got, 200)
    carol.send(ok.to_bytes())
    mine = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    alice.send(alice.agent.in_dialog(mine, "ACK").to_bytes())
    world.run(1)
    carol.agent.received.clear()
    return mine, carol.agent.callee_dialog(got, ok)


@pytest.mark.parametrize("target", [f"sip:carol@{DOMAIN}", "sip:carol@10.0.0.9:5060"])
@pytest.mark.parametrize("way", ["out", "in"])
def test_a_call_takes_the_place_of_the_one_with_a_colleague(world, provider, alice, carol, way, target):
    call = Outside(world, provider, alice, way)
    mine, theirs = consulted(world, alice, carol)
    account_of(world, "carol", do_not_disturb=True)  # by other calls
    answering(alice)
    tags = f"%3Bto-tag%3D{NameAddr.parse(mine.remote).tag}%3Bfrom-tag%3D{NameAddr.parse(mine.local).tag}"
    call.refer(f"{target}?Replaces={mine.call_id}{tags}")
    got = rings(world, carol)
    # As carol's phone has that dialog.
    expected = (
        f"{theirs.call_id};to-tag={NameAddr.parse(theirs.local).tag};from-tag={NameAddr.parse(theirs.remote).tag}"
    )
    assert (got.get("replaces"), got.get("require")) == (expected, "replaces")
    dialog = put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")
    hold_and_hang_up(world, provider, call, carol, dialog, "carol")


# Who may, and what there is for it


def test_an_edge_of_before_could_not_go_on_with_it(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    for node in world.nodes.values():
        node.handle(FleetChanged(replace(world.fleet(node), spoken=7)))
    _, refused = call.refer(f"sip:carol@{DOMAIN}")
    assert refused.status == 403
    call = Outside(world, provider, alice, "out")  # and what was begun then can't be put through later, either
    for node in world.nodes.values():
        world.inform(node)
    assert call.refer(f"sip:carol@{DOMAIN}")[1].status == 403
    talk_on(world, provider, call)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Refer-To: <sip:carol@example.com>", "Refer-To: <sip:bob@example.com>"], 400),
        ([], 400),
        (["Refer-To: <mailto:carol@example.com>"], 400),
        (["Refer-To: <sip:example.com>"], 400),
        (["Refer-To: <sip:carol@example.com;method=BYE>"], 403),
        (["Refer-To: <sip:carol@example.com?Replaces=a%0D%0AX:%20y>"], 400),
        ([f"Refer-To: <sip:{'c' * 300}@example.com>"], 400),
    ],
)
def test_what_cannot_be_carried_out_is_refused_at_once(world, provider, alice, headers, status):
    call = Outside(world, provider, alice, "out")
    refer = alice.agent.in_dialog(call.mine, "REFER", headers=headers)
    alice.send(refer.to_bytes())
    assert world.wait(lambda: alice.agent.final(refer)).status == status
    assert not alice.agent.requests("NOTIFY")


def test_one_transfer_of_a_call_at_a_time(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    rings(world, carol)
    assert call.refer(f"sip:bob@{DOMAIN}")[1].status == 491


def test_strangers_put_nobody_through(world, provider, alice, carol):
    """Whoever has seen the dialog is asked who he is, and has to be of the call."""
    call = Outside(world, provider, alice, "out")
    mallory = world.phone("mallory", "edge-a")
    assert mallory.register() == 200
    refer = mallory.agent.in_dialog(call.mine, "REFER", headers=[f"Refer-To: <sip:carol@{DOMAIN}>"])
    assert mallory.transact(refer).status == 403
    world.run(2)
    assert not carol.agent.requests("INVITE")
    stranger = world.phone("nobody", "edge-b")
    del world.control.accounts[f"nobody@{DOMAIN}"]
    refer = stranger.agent.in_dialog(call.mine, "REFER", headers=[f"Refer-To: <sip:carol@{DOMAIN}>"])
    stranger.send(refer.to_bytes())
    assert world.wait(lambda: stranger.agent.final(refer)).status == 407


def test_a_phone_that_has_moved_says_who_it_is(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    moved = world.phone("alice", "edge-a")
    refer = moved.agent.in_dialog(call.mine, "REFER", headers=[f"Refer-To: <sip:carol@{DOMAIN}>"])
    answering(moved)
    assert moved.transact(refer).status == 202
    put_through(world, provider, call, carol)
    world.wait(lambda: any(b"200 OK" in notify.body for notify in moved.agent.requests("NOTIFY")))


def test_a_phone_without_a_registration_is_asked_who_it_is(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    assert alice.register(0) == 200
    refer = alice.agent.in_dialog(call.mine, "REFER", headers=[f"Refer-To: <sip:carol@{DOMAIN}>"])
    assert alice.transact(refer).status == 202
    call.mine.cseq += 1
    put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")


@pytest.mark.parametrize("change", [{"enabled": False}, {"suspended": "fraud"}])
def test_who_may_not_call_puts_nobody_through(world, provider, alice, carol, change):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    account_of(world, "alice", **change)
    assert call.refer(f"sip:carol@{DOMAIN}")[1].status == 202
    world.wait(lambda: call.last_word().startswith("403"))
    assert not carol.agent.requests("INVITE")


def test_another_tenants_account_is_nobody(world, provider, alice):
    world.control.add("stranger", "pw-stranger", "t2")
    phone = world.phone("stranger", "edge-a")
    assert phone.register() == 200
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:stranger@{DOMAIN}")
    world.wait(lambda: call.last_word().startswith("404"))
    assert not phone.agent.requests("INVITE")


def test_colleagues_are_reached_without_the_control_plane(world, provider, carol):
    alice = world.phone("alice", "edge-a")  # the provider asks for credentials, which the edge that registers has
    assert alice.register() == 200
    call = Outside(world, provider, alice, "out")
    answering(alice)
    world.control.dark = True
    call.refer(f"sip:carol@{DOMAIN}")
    put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")


def test_an_answer_without_an_offer_is_hung_up(world, provider, alice, carol):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    answering(carol)
    call.refer(f"sip:carol@{DOMAIN}")
    got = rings(world, carol)
    ok = carol.agent.response(got, 200)
    ok.body = b""
    ok.headers = [header for header in ok.headers if header[0] != "content-length"]
    carol.send(ok.to_bytes())
    assert world.wait(lambda: carol.agent.requests("BYE"))
    world.wait(lambda: call.last_word().startswith("488"))
    talk_on(world, provider, call)


@pytest.mark.parametrize("restarted", ["edge-a", "edge-b"])
def test_a_transfer_that_dies_with_its_edge_leaves_the_call(world, provider, alice, carol, restarted):
    call = Outside(world, provider, alice, "out")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    rings(world, carol)
    world.restart("edge-b")
    if restarted == "edge-a":
        world.restart("edge-a")
        assign(world, account())
    world.run(1)
    takes(carol, carol.agent.requests("INVITE")[-1])
    world.run(1)
    assert not provider.agent.received
    talk_on(world, provider, call)


def test_a_provider_that_does_not_follow_reaches_the_present_phone(world, provider, alice, carol):
    """It sends to where the call was answered once, as long as the edge remembers."""
    call = Outside(world, provider, alice, "out")
    answering(alice)
    answering(carol)
    call.refer(f"sip:carol@{DOMAIN}")
    before = call.theirs.target
    dialog = put_through(world, provider, call, carol)
    world.wait(lambda: call.last_word() == "200 OK")
    call.theirs.target = before
    bye = provider.agent.in_dialog(call.theirs, "BYE")
    provider.send(bye.to_bytes(), "edge-b")  # where the transfer was carried out
    assert world.wait(lambda: carol.agent.requests("BYE"))[0].get("call-id") == dialog.call_id


def test_a_transferor_who_does_not_hang_up_is_hung_up(world, provider, alice, carol):
    call = Outside(world, provider, alice, "in")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    put_through(world, provider, call, carol)
    bye = world.wait(lambda: alice.agent.requests("BYE"))[0]
    assert (bye.get("call-id"), bye.get("to")) == (call.mine.call_id, call.mine.local)
    again = alice.agent.in_dialog(call.mine, "INVITE", SDP)
    alice.send(again.to_bytes())
    assert world.wait(lambda: alice.agent.final(again)).status == 481
    late = alice.agent.in_dialog(call.mine, "BYE")
    alice.send(late.to_bytes())
    assert world.wait(lambda: alice.agent.final(late)).status == 200
    world.run(2)
    assert not provider.agent.requests("BYE")


# Between two who are both outside


def replacing(dialog):
    """How a REFER names the other dialog of its sender."""
    tags = f"%3Bto-tag%3D{NameAddr.parse(dialog.remote).tag}%3Bfrom-tag%3D{NameAddr.parse(dialog.local).tag}"
    return f"?Replaces={dialog.call_id}{tags}"


@pytest.fixture
def two(world, provider, second, alice):
    """Alice talks with somebody by each provider."""
    one = Outside(world, provider, alice, "in")
    invite = dial(world, alice, "07700 900000")
    out = arrives(world, second)
    ok = second.agent.response(out, 200)
    second.answer(ok)
    mine = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    alice.send(alice.agent.in_dialog(mine, "ACK").to_bytes())
    world.run(1)
    other = second.agent.callee_dialog(out, ok)
    other.last = number_of(out)
    for agent in (second.agent, alice.agent):
        agent.received.clear()
    return one, mine, other


@pytest.mark.parametrize("restarted", [False, True])
def test_two_calls_with_people_outside_become_one(world, provider, second, alice, two, restarted):
    one, mine, other = two
    answering(alice)
    assert one.refer(f"sip:07700900000@{DOMAIN}{replacing(mine)}")[1].status == 202
    asked = arrives(world, second)
    assert (asked.body, asked.get("call-id"), asked.get("from")) == (b"", other.call_id, other.remote)
    assert number_of(asked) > other.last
    ok = second.agent.response(asked, 200, tag="none", body=CAROLS)
    second.answer(ok)
    other.target = NameAddr.parse(asked.get("contact")).uri
    reinvite = arrives(world, provider)
    assert (reinvite.body, reinvite.get("call-id")) == (CAROLS, one.theirs.call_id)
    provider.answer(provider.agent.response(reinvite, 200, tag="none", body=THEIRS))
    one.theirs.target = NameAddr.parse(reinvite.get("contact")).uri
    acknowledged(world, provider, reinvite)
    assert acknowledged(world, second, asked).body == THEIRS
    world.wait(lambda: one.last_word() == "200 OK")
    world.run(10)
    assert {bye.get("call-id") for bye in alice.agent.requests("BYE")} == {mine.call_id, one.mine.call_id}
    if restarted:
        for edge in ("edge-a", "edge-b"):
            world.restart(edge)
        assign(world, account())
        assign(world, account("second", host="sip.second.test"), "edge-b")
        world.run(2)
    for one_side, its, other_side, that in (
        (provider, one.theirs, second, other),
        (second, other, provider, one.theirs),
        (provider, one.theirs, second, other),
    ):
        seen = len(other_side.agent.requests("INVITE"))
        again = one_side.agent.in_dialog(its, "INVITE", SDP, [CONTENT])
        one_side.send(again.to_bytes(), "edge-b" if one_side is second else "edge-a")
        got = arrives(world, other_side, number=seen)
        assert (got.get("call-id"), got.get("from"), got.get("to")) == (that.call_id, that.remote, that.local)
        assert number_of(got) > max(number_of(sent) for sent in other_side.agent.requests("INVITE")[:seen])
        other_side.answer(other_side.agent.response(got, 200, tag="none"))
        that.target = NameAddr.parse(got.get("contact")).uri
        final = world.wait(lambda again=again, one_side=one_side: one_side.agent.final(again))
        assert final.status == 200
        its.target = NameAddr.parse(final.get("contact")).uri
        one_side.send(one_side.agent.in_dialog(its, "ACK").to_bytes(), "edge-b" if one_side is second else "edge-a")
        acknowledged(world, other_side, got)
    bye = provider.agent.in_dialog(one.theirs, "BYE")
    provider.send(bye.to_bytes())
    got = arrives(world, second, "BYE")
    second.answer(second.agent.response(got, 200, tag="none"))
    assert world.wait(lambda: provider.agent.final(bye)).status == 200
    world.run(1)
    reports = world.control.reports
    first, last = [report for report in reports if isinstance(report, CallAnswered)]
    moved = next(report for report in reports if isinstance(report, CallTransferred))
    assert (moved.call, moved.to, len(moved.sides)) == (first.call, last.call, 2)
    assert [report.call for report in reports if isinstance(report, CallEnded)] == [last.call]


def test_two_calls_that_have_become_one_can_be_ended(world, provider, second, alice, two):
    """By what was told of its sides."""
    one, mine, other = two
    answering(alice)
    one.refer(f"sip:07700900000@{DOMAIN}{replacing(mine)}")
    second.answer(second.agent.response(arrives(world, second), 200, tag="none", body=CAROLS))
    provider.answer(provider.agent.response(arrives(world, provider), 200, tag="none", body=THEIRS))
    world.wait(lambda: one.last_word() == "200 OK")
    world.run(2)
    moved = next(report for report in world.control.reports if isinstance(report, CallTransferred))
    name = {"tenant": moved.tenant, "call": moved.to, "started": moved.to_started}
    call = OpenCall(**name, address="203.0.113.12", sides=moved.sides, why="suspended")
    world.nodes["edge-b"].handle(HangUp([call]))
    for who, dialog in ((provider, one.theirs), (second, other)):
        assert arrives(world, who, "BYE").get("call-id") == dialog.call_id


def test_who_does_not_agree_leaves_both_calls(world, provider, second, alice, two):
    one, mine, other = two
    answering(alice)
    one.refer(f"sip:07700900000@{DOMAIN}{replacing(mine)}")
    second.answer(second.agent.response(arrives(world, second), 488, tag="none"))
    world.wait(lambda: one.last_word().startswith("488"))
    assert not provider.agent.received
    bye = alice.agent.in_dialog(mine, "BYE")
    alice.send(bye.to_bytes())
    second.answer(second.agent.response(arrives(world, second, "BYE"), 200, tag="none"))
    assert world.wait(lambda: alice.agent.final(bye)).status == 200
    talk_on(world, provider, one)


def test_nobody_takes_the_place_of_another_phones_call(world, provider, second, alice, carol, two):
    one, mine, other = two
    hers = Outside(world, provider, carol, "in")
    answering(carol)
    hers.refer(f"sip:07700900000@{DOMAIN}{replacing(mine)}")
    world.wait(lambda: hers.last_word().startswith("404"))
    assert not second.agent.received


def test_who_is_not_to_be_shown_stays_so(world, provider, alice, carol):
    call = Outside(world, provider, alice, "in", b"Privacy: id")
    answering(alice)
    call.refer(f"sip:carol@{DOMAIN}")
    got = rings(world, carol)
    put_through(world, provider, call, carol)
    carol.agent.received.clear()
    again = provider.agent.in_dialog(call.theirs, "INVITE", SDP, ["P-Asserted-Identity: <sip:+4930123@sip.voip.test>"])
    provider.send(again.to_bytes())
    for seen in (got, rings(world, carol)):
        assert b"4930123" not in seen.to_bytes()
