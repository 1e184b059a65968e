"""Calls to SIP addresses elsewhere, found by ENUM or named in a plan; pages that scripts get; notices that pass by
plans."""

from __future__ import annotations

import datetime
import http.server
import threading

import pytest

from edge.sip.transaction.client import make_ack
from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from scripts.processes import wait_for
from tests.support.dns_server import DnsServer
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.socket_phone import SocketPhone, in_dialog

pytestmark = pytest.mark.integration

NUMBER = "+442079460399"
ELSEWHERE = "sip.elsewhere.test"


class Duty(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"dave")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def names():
    server = DnsServer("127.0.0.1")
    yield server
    server.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, names):
    environment = {"ENUM_NAMESERVERS": names.address, "SCRIPT_NETWORKS": "127.0.0.0/8"}
    made = loopback_fleet(tmp_path_factory.mktemp("fleet"), fresh_base(), 2, environment=environment)
    for edge in made.edges:
        edge.settings |= {"provider_networks": ["127.0.0.0/8"], "nameservers": [names.address]}
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def owner(fleet):
    return fleet.client.api("GET", f"/v1/accounts/bob@{DOMAIN}")["tenant"]


@pytest.fixture
def bobs_plan(fleet, owner):
    def store(plan):
        fleet.client.api("POST", f"/v1/plans/bobs/versions?tenant={owner}", {"plan": plan, "publish": True})
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": "bobs"})

    yield store
    fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"plan": ""})


@pytest.fixture
def front(fleet, names):
    """A phone of nobody we know, at an address of its own."""
    host = f"{fleet.control.address.rpartition('.')[0]}.77"
    account = PhoneAccount(f"front@{ELSEWHERE}", "front", "x")
    names.records[ELSEWHERE, "A"] = [host]
    names.records[f"_sip._udp.{ELSEWHERE}", "SRV"] = [f"10 10 5099 {ELSEWHERE}."]
    with SocketPhone(account, ELSEWHERE, Host(host), (fleet.edges[0].address, SIP), port=5099) as made:
        yield made


def alices(fleet):
    edge = fleet.edges[0]
    return SocketPhone(fleet.accounts["alice"], DOMAIN, Host(edge.host.address), (edge.address, SIP))


def test_a_number_is_called_at_the_address_that_enum_has_for_it(fleet, owner, names, front, bobs_plan):
    digits = ".".join(reversed(NUMBER[1:]))
    names.records[f"{digits}.e164.arpa", "NAPTR"] = [f'100 10 "u" "E2U+sip" "!^.*$!sip:front@{ELSEWHERE}!" .']
    leg = {"number": NUMBER, "enum": "e164.arpa", "headers": ["X-Line: 2"]}
    bobs_plan({"rules": [{"name": "x", "ring": {"legs": [leg]}}]})
    with alices(fleet) as alice:
        assert alice.register() == 200
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        got = front.wait(lambda: front.agent.requests("INVITE"))[0]
        assert got.uri == f"sip:front@{ELSEWHERE}"
        assert got.get("from").startswith(f"<sip:alice@{DOMAIN}>;tag=")
        assert got.get("to") == f"<sip:front@{ELSEWHERE}>"
        assert got.get("diversion") == f"<sip:bob@{DOMAIN}>;reason=unconditional;counter=1"
        assert got.get("x-line") == "2"
        ok = front.agent.response(got, 200)
        front.send(ok.to_bytes())
        final = alice.wait(lambda: alice.agent.final(invite))
        assert final.status == 200
        dialog, other = alice.agent.caller_dialog(invite, final), front.agent.callee_dialog(got, ok)
        alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
        front.wait(lambda: front.agent.requests("ACK"))
        in_dialog(alice, dialog, "INVITE", front)
        in_dialog(front, other, "BYE", alice)
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    record = wait_for(
        "the call on record", lambda: [one for one in fleet.client.calls(owner, day) if one["ended"]], 10
    )[-1]
    # bob's plan has had it sent on: it counts to bob.
    assert (record["caller"], record["account"], record["ended_by"]) == (f"alice@{DOMAIN}", f"bob@{DOMAIN}", "called")


def test_an_address_elsewhere_that_cant_be_resolved(fleet, front, bobs_plan):
    rules = [
        {"name": "gone", "ring": {"legs": [{"uri": "sip:x@nowhere.elsewhere.test"}]}},
        {"name": "then", "ring": {"legs": [{"uri": f"sip:front@{ELSEWHERE}"}], "timeout": 5}},
    ]
    bobs_plan({"rules": rules})
    with alices(fleet) as alice:
        assert alice.register() == 200
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        got = front.wait(lambda: front.agent.requests("INVITE"))[0]
        front.send(front.agent.response(got, 486).to_bytes())
        final = alice.wait(lambda: alice.agent.final(invite))
        assert final.status == 486
        alice.send(make_ack(invite, final).to_bytes())


def test_a_page_says_who_rings(fleet, owner, bobs_plan):
    host = f"{fleet.control.address.rpartition('.')[0]}.78"
    server = http.server.ThreadingHTTPServer((host, 0), Duty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        place = f"{host}:{server.server_address[1]}"
        url = f"http://{place}/duty"
        fleet.client.api("PATCH", f"/v1/tenants/{owner}", {"script_hosts": [place]})
        script = f'def incoming(call):\n    page = http_get("{url}")\n    return ring(page["text"]) if page["status"] == 200 else reject(480)'
        example = {"caller": "a", "called": f"bob@{DOMAIN}", "at": "2026-03-02T12:00:00Z", "pages": {url: "dave"}}
        bobs_plan({"script": script, "examples": [{**example, "rings": [f"dave@{DOMAIN}"]}]})
        edge = fleet.edges[1]
        dave = SocketPhone(fleet.accounts["dave"], DOMAIN, Host(edge.host.address), (edge.address, SIP))
        with alices(fleet) as alice, dave:
            assert alice.register() == dave.register() == 200
            invite = alice.invite(f"sip:bob@{DOMAIN}")
            got = dave.wait(lambda: dave.agent.requests("INVITE"))[0]
            dave.send(dave.agent.response(got, 486).to_bytes())
            assert alice.wait(lambda: alice.agent.final(invite)).status == 486
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_notices_of_waiting_messages_pass_by_plans(fleet, bobs_plan):
    """bob's calls go to carol's mailbox; what the mailbox has to tell bob isn't a call."""
    bobs_plan({"rules": [{"name": "voicemail", "forward": f"carol@{DOMAIN}"}]})
    edge = fleet.edges[1]
    bob, carol = (
        SocketPhone(fleet.accounts[user], DOMAIN, Host(edge.host.address), (edge.address, SIP))
        for user in ("bob", "carol")
    )
    with alices(fleet) as alice, bob, carol:
        assert alice.register() == bob.register() == carol.register() == 200
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        got = carol.wait(lambda: carol.agent.requests("INVITE"))[0]
        assert got.get("diversion") == f"<sip:bob@{DOMAIN}>;reason=unconditional;counter=1"
        carol.send(carol.agent.response(got, 486).to_bytes())
        assert alice.wait(lambda: alice.agent.final(invite)).status == 486
        lines = ["Event: message-summary", "Content-Type: application/simple-message-summary"]
        summary = b"Messages-Waiting: yes\r\n"
        notify = carol.agent.request("NOTIFY", f"sip:bob@{DOMAIN}", headers=lines, body=summary)
        carol.send(notify.to_bytes())
        challenge = carol.wait(lambda: carol.agent.final(notify))
        again = carol.agent.authorize(notify, challenge)
        carol.send(again.to_bytes())
        heard = bob.wait(lambda: bob.agent.requests("NOTIFY"))[0]
        assert (heard.body, heard.get("event")) == (summary, "message-summary")
        bob.send(bob.agent.response(heard, 200).to_bytes())
        assert carol.wait(lambda: carol.agent.final(again)).status == 200


def test_whoever_subscribes_is_told_what_was_kept_and_what_comes(fleet):
    """The voicemail system is at the other edge. What was kept goes with the account."""
    here, there = fleet.edges
    account = {"username": "dora", "domain": DOMAIN, "password": "a long enough one"}
    aor = f"dora@{DOMAIN}"

    def voicemail():
        return SocketPhone(fleet.accounts["carol"], DOMAIN, Host(there.host.address), (there.address, SIP))

    def dora():
        made = PhoneAccount(aor, "dora", account["password"])
        return SocketPhone(made, DOMAIN, Host(here.host.address), (here.address, SIP))

    def final(phone, request):
        phone.send(request.to_bytes())
        challenge = phone.wait(lambda: phone.agent.final(request))
        again = phone.agent.authorize(request, challenge)
        phone.send(again.to_bytes())
        return phone.wait(lambda: phone.agent.final(again)).status

    def tell(phone, summary):
        lines = ["Event: message-summary", "Content-Type: application/simple-message-summary"]
        return final(phone, phone.agent.request("NOTIFY", f"sip:{aor}", headers=lines, body=summary))

    def subscribe(phone):
        lines = [f"Contact: {phone.agent.contact}", "Event: message-summary", "Expires: 120"]
        return final(phone, phone.agent.request("SUBSCRIBE", f"sip:{aor}", headers=lines))

    def told(phone):
        got = phone.wait(lambda: phone.agent.requests("NOTIFY"))[0]
        phone.agent.received.remove(got)
        phone.send(phone.agent.response(got, 200).to_bytes())
        return got

    two, three = (b"Messages-Waiting: yes\r\nVoice-Message: %d/0\r\n" % count for count in (2, 3))
    fleet.client.api("POST", "/v1/accounts", account)
    with voicemail() as system:
        assert system.register() == 200
        assert tell(system, two) == 480
        with dora() as phone:
            assert phone.register() == 200
            assert subscribe(phone) == 200
            first = told(phone)
            assert (first.body, first.get("subscription-state")) == (two, "active;expires=120")
            assert tell(system, three) == 200
            second = told(phone)
            assert (second.body, second.get("call-id")) == (three, first.get("call-id"))
        fleet.client.api("DELETE", f"/v1/accounts/{aor}")
        fleet.client.api("POST", "/v1/accounts", account)
        with dora() as phone:
            assert phone.register() == 200
            assert subscribe(phone) == 200
            assert told(phone).body == b"Messages-Waiting: no\r\n"
