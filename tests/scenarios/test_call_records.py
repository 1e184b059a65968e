"""What the record of a call says: who was tried, what became of it, and why it ended."""

from __future__ import annotations

import pytest

from edge.sip.sdp import codecs
from edge.sip.transaction.client import make_cancel
from lambdas.contract import CallAnswered, CallEnded, CallFailed, Reject, Stage, TriedLeg
from tests.scenarios.test_plan_calls import (
    answer,
    call_in,
    connected,
    decides,
    number_target,
    other,
    phone_target,
    phones,
    reports,
    rings,
    voip,
    world,
)
from tests.support.agent import SDP
from tests.support.world import DOMAIN

__all__ = ["other", "phones", "voip", "world"]  # the fixtures


def refused(world, phone, invite, status):
    final = world.wait(lambda: phone.agent.final(invite))
    assert final.status == status
    (report,) = reports(world, CallFailed)
    assert (report.status, report.tenant) == (status, "t0123456789ab")
    return report


def test_a_busy_phone_and_one_that_isnt_there(world, phones):
    decides(world, {"targets": [phone_target(world, "bob")], "stages": [Stage(targets=[phone_target(world, "carol")])]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}", ["User-Agent: Desk 1"])
    answer(phones["bob"], rings(world, phones["bob"]), 180)
    world.run(3)
    answer(phones["bob"], rings(world, phones["bob"]), 486)
    answer(phones["carol"], rings(world, phones["carol"]), 603, headers=['Reason: Q.850;cause=21;text="no"'])
    report = refused(world, phones["alice"], invite, 603)
    assert report.legs == [
        TriedLeg(to=f"bob@{DOMAIN}", address="203.0.113.12", status=486),
        TriedLeg(to=f"carol@{DOMAIN}", address="203.0.113.11", status=603),
    ]
    assert (report.caller, report.called) == (f"alice@{DOMAIN}", f"x@{DOMAIN}")
    assert (report.call_id, report.address) == (invite.get("call-id"), "203.0.113.11")
    assert report.reason == 'Q.850;cause=21;text="no"'
    assert report.user_agent == "Desk 1"
    assert report.ended - report.ringing >= 3
    assert not reports(world, CallAnswered)


def test_what_the_control_plane_refuses_is_the_tenants_to_know(world, phones):
    decides(world, Reject(status=404, reason="Not Found", tenant="t0123456789ab"))
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    report = refused(world, phones["alice"], invite, 404)
    assert (report.legs, report.reason) == ([], 'SIP;cause=404;text="Not Found"')


def test_what_is_nobodys_call_has_no_record(world, phones):
    decides(world, Reject(status=403))
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 403
    assert not reports(world, CallFailed)


def test_a_caller_who_gives_up(world, phones):
    decides(world, {"targets": [phone_target(world, "bob"), phone_target(world, "carol", after=20.0)]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    got = rings(world, phones["bob"])
    answer(phones["bob"], got, 180)
    world.run(1)
    why = 'SIP;cause=487;text="too late"'
    phones["alice"].send(make_cancel(invite, why).to_bytes())
    cancel = world.wait(lambda: phones["bob"].agent.requests("CANCEL"))[0]
    assert cancel.get("reason") == why
    answer(phones["bob"], got, 487, headers=["User-Agent: Desk 2"])
    report = refused(world, phones["alice"], invite, 487)
    assert [leg.status for leg in report.legs] == [487, 487]
    assert (report.by, report.reason) == ("caller", why)
    assert (report.called_address, report.called_agent) == ("203.0.113.12", "Desk 2")


def test_who_gives_up_while_it_is_being_decided_is_on_record_and_counts_no_more(world, phones):
    decides(world, {"targets": [phone_target(world, "bob")], "counted": ["t0123456789ab"]})
    world.decision_time = 1.0
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
    world.run(0.1)
    phones["alice"].send(make_cancel(invite).to_bytes())
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 487
    world.run(2)
    (report,) = reports(world, CallFailed)
    assert (report.status, report.by, report.counted) == (487, "caller", ["t0123456789ab"])
    assert report.attempt
    assert not phones["bob"].agent.requests("INVITE")


def test_two_calls_of_one_call_id_are_two(world, phones):
    """The caller chooses the Call-ID; limits and records go by a name that it can't choose."""
    asked = decides(world, {"targets": [phone_target(world, "bob")], "counted": ["t0123456789ab"]})
    alice = phones["alice"].agent
    alice.fixed_call_id = "the-same"
    for number in range(2):
        alice.received.clear()
        invite = phones["alice"].start_call(f"sip:x@{DOMAIN}")
        answer(phones["bob"], rings(world, phones["bob"], number), 486)
        assert world.wait(lambda invite=invite: alice.final(invite)).status == 486
    one, other_ = reports(world, CallFailed)
    assert one.call_id == other_.call_id == "the-same"
    assert one.call != other_.call
    assert [one.attempt, other_.attempt] == [question.attempt for question in asked]
    assert one.attempt != other_.attempt


def test_a_phone_isnt_shown_a_call_as_missed_that_another_one_took(world, phones):
    decides(world, {"targets": [phone_target(world, "bob"), phone_target(world, "carol")]})
    phones["alice"].start_call(f"sip:x@{DOMAIN}")
    bob, carol = rings(world, phones["bob"]), rings(world, phones["carol"])
    answer(phones["bob"], bob, 180)
    answer(phones["carol"], carol, 200)
    cancel = world.wait(lambda: phones["bob"].agent.requests("CANCEL"))[0]
    assert cancel.get("reason") == 'SIP;cause=200;text="Call completed elsewhere"'


def test_all_legs_of_an_answered_call(world, phones):
    decides(world, {"targets": [phone_target(world, "bob"), phone_target(world, "carol")]})
    invite = phones["alice"].start_call(f"sip:x@{DOMAIN}", ["User-Agent: Desk 1"])
    bob, carol = rings(world, phones["bob"]), rings(world, phones["carol"])
    answer(phones["bob"], bob, 486)
    world.run(1)
    ok = answer(phones["carol"], carol, 200, headers=["Server: Soft 2", "Content-Type: application/sdp"])
    assert world.wait(lambda: phones["alice"].agent.final(invite)).status == 200
    (report,) = reports(world, CallAnswered)
    assert report.user_agents == ("Desk 1", "Soft 2")
    assert report.codecs == codecs(SDP) == ["audio PCMA/8000"]
    assert report.providers == ("", "")
    assert report.legs == [
        TriedLeg(to=f"carol@{DOMAIN}", address="203.0.113.11", status=200),
        TriedLeg(to=f"bob@{DOMAIN}", address="203.0.113.12", status=486),
    ]
    dialog = phones["carol"].agent.callee_dialog(carol, ok)
    bye = phones["carol"].agent.in_dialog(dialog, "BYE", headers=["Reason: Q.850;cause=16"])
    phones["carol"].send(bye.to_bytes())
    got = world.wait(lambda: phones["alice"].agent.requests("BYE"))[0]
    answer(phones["alice"], got)
    (end,) = reports(world, CallEnded)
    assert (end.by, end.reason) == ("called", "Q.850;cause=16")
    assert not reports(world, CallFailed)


def test_providers_at_both_ends(world, voip, other):
    decides(world, {"targets": [number_target(world)]})
    connected(world, voip, other)
    (report,) = reports(world, CallAnswered)
    assert report.providers == ("t0123456789ab/voip", "t0123456789ab/other")
    assert [(leg.to, leg.provider, leg.status) for leg in report.legs] == [
        ("sip:+447700900123@sip.other.test", "t0123456789ab/other", 200)
    ]


def test_a_call_from_a_provider_that_nobody_takes(world, voip, phones):
    decides(world, {"targets": [phone_target(world, "bob")], "timeout": 5})
    invite = call_in(voip)
    answer(phones["bob"], rings(world, phones["bob"]), 480)
    assert world.wait(lambda: voip.agent.final(invite)).status == 480
    (report,) = reports(world, CallFailed)
    assert (report.provider, report.status) == ("t0123456789ab/voip", 480)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"v=0\r\nm=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", ["audio PCMA/8000"]),
        (b"m=audio 4000 RTP/AVP 96\na=rtpmap:0 x\na=rtpmap:96 opus/48000/2\n", ["audio opus/48000/2"]),
        (
            b"m=audio 0 RTP/AVP 0\r\nm=video 5000 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\nm=audio 2 RTP/AVP 77\r\n",
            ["video H264/90000", "audio"],
        ),
        (b"m=\r\nm=audio\r\nm=audio x y\r\na=rtpmap:\r\n\xff\xfe", []),
        (b"m=a 1 x 0\n" * 50, ["a PCMU/8000"] * 8),
    ],
)
def test_codecs_of_an_answer(body, found):
    assert codecs(body) == found
