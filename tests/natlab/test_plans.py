"""Dial plans with real phones: baresip behind a NAT and outside of it, Kamailio as the provider on both ends."""

from __future__ import annotations

import datetime
import time

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP, PhoneAccount
from scripts.processes import wait_for
from tests.natlab.test_provider import FAR, NAME, cloud, fleet, provider
from tests.natlab.test_takeover import home_again
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.natlab

__all__ = ["cloud", "fleet", "provider"]  # fixtures

OUTSIDE = PhoneAccount(f"442079460002@{NAME}", "442079460002", "secret")
BOB, CAROL = f"bob@{DOMAIN}", f"carol@{DOMAIN}"


@pytest.fixture(scope="module")
def phones(cloud, fleet, provider, tmp_path_factory):
    """bob and carol behind the NAT at different edges; the mobile, a subscriber of the provider's, outside."""
    directory = tmp_path_factory.mktemp("phones")
    made = []
    try:
        for index, (account, domain, proxy, place, interface) in enumerate(
            (
                (fleet.accounts["bob"], DOMAIN, cloud.address("edge-b"), "phone", "eth0"),
                (fleet.accounts["carol"], DOMAIN, cloud.address("edge-a"), "phone2", "eth0"),
                (FAR, NAME, cloud.host("control").address, "caller", "wan"),
            )
        ):
            host = cloud.host(place)
            one = Baresip(
                directory, account, domain, f"{proxy}:{SIP}", host, interface, 5080 + 10 * index, 4450 + index
            )
            made.append(one.start())
        for one in made:
            assert one.registered()
        yield made
    finally:
        for one in made:
            one.stop()


@pytest.fixture
def outside(cloud, provider):
    """Somebody with another telephone company: another subscriber of the provider's."""
    with SocketPhone(OUTSIDE, NAME, cloud.host("caller"), (cloud.host("control").address, SIP)) as made:
        assert made.register() == 200
        yield made


@pytest.fixture
def office(fleet, provider):
    """Has a plan decide the provider's calls."""
    owner = fleet.client.api("GET", f"/v1/accounts/{BOB}")["tenant"]

    def store(**plan):
        fleet.client.api("POST", f"/v1/plans/office/versions?tenant={owner}", {"plan": plan, "publish": True})
        fleet.client.api("PATCH", f"/v1/providers/voip?tenant={owner}", {"plan": "office"})

    yield store
    fleet.client.api("PATCH", f"/v1/providers/voip?tenant={owner}", {"plan": ""})


def ring(*accounts, timeout=4.0, **kwargs):
    return {"legs": [{"account": account} for account in accounts], "timeout": timeout, **kwargs}


def ends(caller, invite, seconds=25):
    """The call's final response; the provider's challenge was answered before."""
    return caller.wait(lambda: caller.agent.final(invite), seconds, resend=b"")


RING_ALL = [
    {"name": "desks", "ring": ring(BOB, CAROL)},
    {"name": "mobile", "ring": {"legs": [{"number": "+442079460001"}], "timeout": 6, "early_media": "ringing"}},
    {"name": "nobody", "reject": {"status": 480, "reason": "Nobody is there"}},
]


def test_ring_all_then_the_mobile_by_the_provider_then_reject(phones, outside, office):
    bob, carol, mobile = phones
    office(rules=RING_ALL)
    invite = outside.invite(f"sip:4420@{NAME}")
    for one in (bob, carol):
        one.wait("CALL_INCOMING")
    for one in (bob, carol):
        one.wait("CALL_CLOSED")
    mobile.wait("CALL_INCOMING")
    final = ends(outside, invite)
    assert (final.status, final.reason) == (480, "Nobody is there")
    mobile.wait("CALL_CLOSED")


@pytest.mark.parametrize("hangs_up", ["caller", "mobile"])
def test_the_mobile_takes_a_call_that_came_from_outside(phones, outside, office, hangs_up):
    """In by the provider and out by it again: the call crosses two borders."""
    bob, carol, mobile = phones
    office(rules=RING_ALL)
    invite = outside.invite(f"sip:4420@{NAME}")
    for one in (bob, carol):
        one.wait("CALL_INCOMING")
    bob.command("hangup")  # declined: the others go on, and then the mobile
    mobile.wait("CALL_INCOMING", 15)
    mobile.command("accept")
    final = ends(outside, invite)
    assert final.status == 200
    dialog = outside.agent.caller_dialog(invite, final)
    outside.send(outside.agent.in_dialog(dialog, "ACK").to_bytes())
    mobile.wait("CALL_ESTABLISHED")
    if hangs_up == "caller":
        bye = outside.agent.in_dialog(dialog, "BYE")
        outside.send(bye.to_bytes())
        mobile.wait("CALL_CLOSED")
        assert ends(outside, bye).status == 200
    else:
        mobile.command("hangup")
        bye = outside.wait(lambda: outside.agent.requests("BYE"))[0]
        outside.send(outside.agent.response(bye, 200).to_bytes())
        mobile.wait("CALL_CLOSED")
    carol.wait("CALL_CLOSED")


def test_night_mode(phones, outside, office):
    """The same plan by day and by night: its time zone is the one where it is noon, or midnight."""
    bob, carol, _ = phones
    hour = datetime.datetime.now(datetime.UTC).hour
    # Etc/GMT+5 is five hours behind; west and east are written the other way round.
    noon = (hour - 12) if -12 <= hour - 12 <= 12 else 0
    midnight = noon + 12 if noon <= 0 else noon - 12
    rules = [
        {"name": "day", "when": {"hours": [{"since": "06:00", "until": "18:00"}]}, "ring": ring(BOB)},
        {"name": "night", "when": {"hours": [{"since": "18:00", "until": "06:00"}]}, "forward": CAROL},
        {"name": "nobody", "reject": {"status": 480}},
    ]
    for offset, rings, silent in ((noon, bob, carol), (midnight, carol, bob)):
        office(rules=rules, time_zone=f"Etc/GMT{offset:+d}" if offset else "Etc/GMT")
        invite = outside.invite(f"sip:4420@{NAME}")
        rings.wait("CALL_INCOMING")
        rings.command("hangup")
        rings.wait("CALL_CLOSED")
        assert ends(outside, invite).status >= 480
        assert silent._take("CALL_INCOMING") is None


def test_a_blocklist(phones, outside, office):
    bob, *_ = phones
    rules = [
        {"name": "pests", "when": {"caller_in": "pests"}, "reject": {"status": 603, "reason": "Not welcome"}},
        {"name": "others", "ring": ring(BOB)},
    ]
    office(rules=rules, lists={"pests": ["44207946*"]})
    final = ends(outside, outside.invite(f"sip:4420@{NAME}"))
    assert (final.status, final.reason) == (603, "Not welcome")
    assert bob._take("CALL_INCOMING") is None
    office(rules=rules, lists={"pests": ["44208*"]})
    invite = outside.invite(f"sip:4420@{NAME}")
    bob.wait("CALL_INCOMING")
    bob.command("hangup")
    bob.wait("CALL_CLOSED")
    assert ends(outside, invite).status >= 480


def test_fifty_rules(phones, outside, office):
    bob, carol, _ = phones
    never = [
        {
            "name": f"rule {number}",
            "when": {"caller": [f"4420{number}*"], "hours": [{"since": "00:00"}], "holiday": False},
            "ring": ring(CAROL),
        }
        for number in range(100, 149)
    ]
    office(rules=[*never, {"name": "the fiftieth", "ring": ring(BOB)}])
    invite = outside.invite(f"sip:4420@{NAME}")
    bob.wait("CALL_INCOMING")
    bob.command("hangup")
    bob.wait("CALL_CLOSED")
    assert ends(outside, invite).status >= 480
    assert carol._take("CALL_INCOMING") is None


def test_a_script_decides_for_real_phones(phones, outside, office):
    bob, carol, _ = phones
    script = f"""
def incoming(call):
    return then(dial("{BOB}", timeout = 3), other)

def other(call):
    return ring("{CAROL}") if call.outcome == "no-answer" else reject(480)
"""
    example = {
        "caller": "+44",
        "called": "4420",
        "at": "2026-03-02T12:00:00Z",
        "rings": [BOB, CAROL],
        "outcomes": [408],
    }
    office(script=script, examples=[example])
    invite = outside.invite(f"sip:4420@{NAME}")
    bob.wait("CALL_INCOMING")
    bob.wait("CALL_CLOSED")
    carol.wait("CALL_INCOMING")
    carol.command("accept")
    final = ends(outside, invite)
    assert final.status == 200
    dialog = outside.agent.caller_dialog(invite, final)
    outside.send(outside.agent.in_dialog(dialog, "ACK").to_bytes())
    carol.wait("CALL_ESTABLISHED")
    in_dialog_bye(outside, dialog, carol)


def in_dialog_bye(outside, dialog, phone):
    bye = outside.agent.in_dialog(dialog, "BYE")
    outside.send(bye.to_bytes())
    phone.wait("CALL_CLOSED")
    assert ends(outside, bye).status == 200


def test_a_call_is_ended_at_its_limit_though_the_edge_that_made_it_is_dead(cloud, fleet, phones, office):
    """carol calls bob through edge A, which is killed for good in the call: whoever takes its address ends the call."""
    bob, carol, _ = phones
    owner = fleet.client.api("GET", f"/v1/accounts/{BOB}")["tenant"]
    rules = [{"name": "short", "max_duration": 12, "as_dialled": True}]
    fleet.client.api("POST", f"/v1/plans/short/versions?tenant={owner}", {"plan": {"rules": rules}, "publish": True})
    fleet.client.api("PATCH", f"/v1/accounts/{BOB}", {"plan": "short"})
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        carol.command("dial", f"sip:{BOB}")
        bob.wait("CALL_INCOMING")
        bob.command("accept")
        for one in (bob, carol):
            one.wait("CALL_ESTABLISHED")
        answered = time.monotonic()
        wait_for(
            "the call to be on record", lambda: [c for c in fleet.client.calls(owner, today) if c["ended"] is None], 10
        )
        fleet.processes.kill("edge-a")
        for one in (bob, carol):
            one.wait("CALL_CLOSED", 25)
        assert 12 <= time.monotonic() - answered < 22 * slowness()
        record = wait_for(
            "its end to be on record",
            lambda: [c for c in fleet.client.calls(owner, today) if c["ended_by"] == "service"],
            10,
        )[-1]
        print(f"a limit of 12 s ended the call after {record['ended'] - record['answered']:.1f} s, its edge killed")
        assert record["account"] == CAROL
    finally:
        fleet.client.api("PATCH", f"/v1/accounts/{BOB}", {"plan": ""})
        home_again(fleet, cloud, "edge-a")
