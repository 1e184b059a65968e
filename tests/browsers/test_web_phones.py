"""JsSIP and SIP.js, as they are, against a fleet: each other's calls, baresip's, and what becomes of them when their edge
is killed."""

from __future__ import annotations

import time

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIPS, WSS
from scripts.processes import wait_for
from tests.support.pace import slowness

pytestmark = pytest.mark.natlab


@pytest.fixture(params=["jssip calls", "sipjs calls"])
def ends(request, jssip, sipjs):
    """(caller, callee)"""
    return (jssip, sipjs) if request.param == "jssip calls" else (sipjs, jssip)


def connect(caller, callee):
    """One answered call, in which both hear each other."""
    caller.do("call", callee.uri)
    callee.wait("rings")
    caller.wait("ringing")
    callee.do("answer")
    for phone in (caller, callee):
        phone.wait("connected")
    for phone in (caller, callee):
        phone.hears()


def hang_up(one, other):
    one.do("hangUp")
    for phone in (one, other):
        phone.wait("ended")


def test_the_certificate_is_checked(browser, fleet, jssip):
    """By its page's own means: the browser lets no socket through to a name that the certificate hasn't."""
    page = jssip.page
    tried = (
        "new Promise((done) => {{ const socket = new WebSocket('{url}', 'sip');"
        "socket.onopen = () => {{ socket.close(); done(true); }}; socket.onerror = () => done(false); }})"
    )
    assert page.run(tried.format(url=f"wss://edge-a.{DOMAIN}:{WSS}")) is True
    assert page.run(tried.format(url=f"wss://elsewhere.example.com:{WSS}")) is False


def test_they_call_each_other_and_hang_up_from_both_sides(ends):
    caller, callee = ends
    for one, other in ((caller, callee), (callee, caller)):
        connect(caller, callee)
        hang_up(one, other)


def test_hold_from_both_sides(ends):
    caller, callee = ends
    connect(caller, callee)
    for phone in (caller, callee):
        phone.do("hold")
        phone.wait("held")
        phone.hears_nothing()
        phone.do("resume")
        phone.wait("resumed")
        phone.hears()
    hang_up(callee, caller)


def test_calls_are_given_up_and_declined(ends):
    caller, callee = ends
    caller.do("call", callee.uri)
    callee.wait("rings")
    caller.wait("ringing")
    caller.do("hangUp")
    for phone in (callee, caller):
        phone.wait("ended")
    caller.do("call", callee.uri)
    callee.wait("rings")
    callee.do("decline")
    for phone in (caller, callee):
        phone.wait("ended")


def test_a_phone_in_a_call_is_busy(fleet, lab, jssip, sipjs, tmp_path):
    connect(jssip, sipjs)
    with baresip(fleet, lab, tmp_path, "carol") as carol:
        assert carol.registered()
        carol.command("dial", jssip.uri)
        assert "486" in carol.wait("CALL_CLOSED")["param"]
    hang_up(sipjs, jssip)


def test_they_refresh(fleet, jssip, sipjs):
    """The edge answers that by itself, and the binding stays the one that there is."""
    for phone, edge in zip((jssip, sipjs), fleet.edges, strict=True):
        before = contacts(fleet, phone)
        refreshes = fleet.client.events(edge).get("refreshes", 0)
        phone.do("refresh")
        wait_for(
            "a refresh", lambda edge=edge, seen=refreshes: fleet.client.events(edge).get("refreshes", 0) > seen, 10
        )
        assert contacts(fleet, phone) == before


def contacts(fleet, phone):
    return [item["contact"] for item in fleet.client.api("GET", f"/v1/accounts/{phone.account.aor}/bindings")]


def baresip(fleet, lab, directory, user):
    """Behind a NAT, at edge-b by TLS."""
    at = f"{lab.host('edge-b').address}:{SIPS}"
    account, host = fleet.accounts[user], lab.host("phone")
    return Baresip(directory, account, DOMAIN, at, host, "eth0", 5080, 4450, "tls", web=True)


def test_baresip_calls_and_is_called(fleet, lab, jssip, tmp_path):
    with baresip(fleet, lab, tmp_path, "dave") as dave:
        assert dave.registered()
        jssip.do("call", f"sip:dave@{DOMAIN}")
        dave.wait("CALL_INCOMING")
        jssip.wait("ringing")
        dave.command("accept")
        jssip.wait("connected")
        jssip.hears(packets=150)  # baresip counts once RTCP has come
        jssip.do("hold")
        jssip.wait("held")
        jssip.hears_nothing()
        jssip.do("resume")
        jssip.wait("resumed")
        jssip.hears()
        jssip.do("hangUp")
        dave.wait("CALL_CLOSED")
        jssip.wait("ended")
        assert wait_for("what dave has heard", dave.heard, 5) > 50
        dave.command("dial", jssip.uri)
        jssip.wait("rings")
        jssip.do("answer")
        jssip.wait("connected")
        jssip.hears()
        dave.command("hangup")
        jssip.wait("ended")


def test_their_edges_are_killed(fleet, jssip, sipjs):
    """kill -9 of JsSIP's edge in a call: JsSIP registers again, and the call goes on. SIP.js comes back too."""
    connect(jssip, sipjs)
    took = restart(fleet, 0, jssip)
    for phone in (jssip, sipjs):
        phone.hears()
    jssip.do("hold")
    jssip.wait("held")
    jssip.do("resume")
    jssip.wait("resumed")
    hang_up(sipjs, jssip)
    connect(sipjs, jssip)
    hang_up(jssip, sipjs)
    took_sipjs = restart(fleet, 1, sipjs)
    connect(jssip, sipjs)
    hang_up(jssip, sipjs)
    print(f"registered again after its edge was back: JsSIP {took:.1f} s, SIP.js {took_sipjs:.1f} s")
    assert took < 32 * slowness()  # it waits for longer after each attempt, 30 s at most
    assert took_sipjs < 10 * slowness()


def restart(fleet, number, phone):
    """Kill an edge; how long after it is back its phone registers."""
    edge = fleet.edges[number]
    fleet.processes.kill(edge.id)
    phone.wait("disconnected")
    fleet.start_edge(edge)
    fleet.wait_ready(edge)
    begun = time.monotonic()
    phone.wait("registered", 30)
    return time.monotonic() - begun


def test_pages_from_elsewhere_get_no_socket(fleet, lab, browser, pages):
    """Their Origin isn't one of those that the edges welcome."""
    page = browser.open(
        pages.origin.replace("127.0.0.1", "localhost")
        + "/sipjs/index.html#uri=sip:x@x.test&password=x&server=wss://x.test"
    )
    opened = page.run(
        f"new Promise((done) => {{ const socket = new WebSocket('wss://edge-a.{DOMAIN}:{WSS}', 'sip');"
        "socket.onopen = () => done(true); socket.onerror = () => done(false); })"
    )
    page.close()
    assert opened is False
