"""What people who run phones, registrars and trunks have reported of other software, tried here. Each names its source:
a project and the number of the public report there."""

from __future__ import annotations

import pytest

from edge.proxy.stack.events import Received
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, parse_digest, parse_params
from edge.sip.message import make_response
from lambdas.contract import ProviderReport
from tests.scenarios.test_provider_calls import acknowledged, answered, arrives, dial
from tests.support.agent import SDP
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN


@pytest.fixture
def provider(world) -> ProviderDouble:
    return ProviderDouble(world)


def registered(world) -> bool:
    world.run(2)
    reports = [report for report in world.control.reports if isinstance(report, ProviderReport)]
    return bool(reports) and reports[-1].state == "registered"


def other(request, status, *lines):
    """A response with more header fields."""
    headers = [(line.partition(":")[0].lower(), line) for line in lines]
    return make_response(request, status, to_tag="x", headers=headers)


def rings(world, phone):
    return world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None))


# Phones


def test_methods_in_a_contact_are_one_parameter(world, alice):
    """Polycom writes a list with commas, in quotes (2600hz-archive/kazoo-configs 55)."""
    bob = world.phone("bob")
    contact = f'{bob.agent.contact};methods="INVITE, ACK, BYE, CANCEL, OPTIONS"'
    response = bob.transact(bob.agent.register_request(contact=contact))
    assert response.status == 200
    assert len(response.values("contact")) == 1
    alice.start_call(f"sip:bob@{DOMAIN}")
    assert rings(world, bob).uri == f"sip:bob@{bob.agent.host}:5060"


def test_a_contact_without_a_user_is_called_there(world, alice):
    """An intercom's (sipsorcery-org/sipsorcery 279)."""
    bob = world.phone("bob")
    assert bob.transact(bob.agent.register_request(contact="<sip:10.0.0.9:5060>")).status == 200
    alice.start_call(f"sip:bob@{DOMAIN}")
    assert rings(world, bob).uri == "sip:10.0.0.9:5060"


def test_a_contacts_own_parameters_come_back(world, alice):
    """Some phones refuse a call without them (n-IA-hane/esphome-intercom 65, kamailio/kamailio 2308)."""
    bob = world.phone("bob")
    uri = "sip:bob@10.0.0.9:5060;line=q5ygydyo;ob;alias=192.0.2.9~5060~1"
    assert bob.transact(bob.agent.register_request(contact=f"<{uri}>")).status == 200
    alice.start_call(f"sip:bob@{DOMAIN}")
    assert rings(world, bob).uri == uri


def test_two_contacts_of_one_phone_are_two_bindings(world, alice):
    """The private address and the public one, in two header fields (meetecho/janus-gateway 2321)."""
    bob = world.phone("bob")
    request = bob.agent.register_request(
        contact="<sip:bob@10.0.0.9:5060>", headers=["Contact: <sip:bob@198.51.100.77:5060>;expires=600"]
    )
    response = bob.transact(request)
    assert response.status == 200
    found = [value for line in response.values("contact") for value in line.split(",")]
    assert sorted(NameAddr.parse(value.strip()).uri for value in found) == [
        "sip:bob@10.0.0.9:5060",
        "sip:bob@198.51.100.77:5060",
    ]


def test_expires_says_one_thing_only(world):
    """Phones that see both take the wrong one (OpenSIPS/opensips 1845 and 2680)."""
    bob = world.phone("bob")
    response = bob.transact(bob.agent.register_request(3600))
    granted = parse_params(NameAddr.parse(response.get("contact")).params)["expires"]
    assert response.get("expires") in (None, granted)


def test_an_app_that_wakes_up_with_a_new_contact_each_time_gets_in(world, alice):
    """New Call-ID, new port, old ones never taken back: past any limit of Contacts (OpenSIPS/opensips 1316)."""
    bob = world.phone("bob")
    for port in range(40000, 40030):
        bob.public = ("192.0.2.77", port)
        world.phones[bob.public] = bob
        bob.agent.port, bob.agent.call_id, bob.agent.register_cseq = port, f"woken-{port}", 0
        assert bob.register(2_592_000) == 200, port
        world.run(60)
    alice.start_call(f"sip:bob@{DOMAIN}")
    assert (
        f":{port}" in world.wait(lambda: [got for got in bob.agent.requests("INVITE") if f":{port}" in got.uri])[0].uri
    )


def test_white_space_in_a_via_is_legal(world):
    """(pjsip/pjproject 747)"""
    bob = world.phone("bob")
    request = bob.agent.request("OPTIONS", f"sip:{DOMAIN}")
    data = request.to_bytes().replace(b"Via: SIP/2.0/UDP ", b"Via: SIP / 2.0 / UDP    ")
    bob.send(data)
    assert world.wait(lambda: bob.agent.responses("OPTIONS"))[0].status == 200


def test_a_line_feed_inside_a_header_field_is_told(world):
    """A phone that wraps its From without white space is answered, not left to time out (pjsip/pjproject 2724)."""
    bob = world.phone("bob")
    request = bob.agent.request("OPTIONS", f"sip:{DOMAIN}")
    bob.send(request.to_bytes().replace(b">;tag=", b"\n>;tag="))
    assert world.wait(lambda: bob.agent.responses("OPTIONS"))[0].status == 400


def test_two_quotes_in_a_display_name_are_told(world, alice):
    """Cisco's To after a diversion (erlnets/nksip 20): no answer would be a call that hangs."""
    invite = alice.agent.request("INVITE", f"sip:bob@{DOMAIN}", to=f'""unknown"" <sip:bob@{DOMAIN}>')
    alice.send(invite.to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status in (400, 407)


def test_a_hash_in_a_user_part_is_the_same_escaped(world, alice):
    """Door phones are called 9901#1, unescaped (juha-h/baresip-studio 158); Linphone writes %23 (linphone-android 662)."""
    world.control.add("9901#1", "pw-9901#1")
    bob = world.phone("9901#1")
    assert bob.register() == 200
    for uri in (f"sip:9901%231@{DOMAIN}", f"sip:9901#1@{DOMAIN}"):
        bob.agent.received.clear()
        alice.start_call(uri)
        assert rings(world, bob)


def test_a_nonce_used_again_with_count_one_is_stale_and_not_forbidden(world, alice):
    """A PBX that calls again within 30 s, with the nonce of before and a new cnonce (Metaswitch/sprout 1217)."""
    bob = world.phone("bob")
    assert bob.register() == 200
    invite = alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    alice.send(invite.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(invite))
    alice.ack_refusal(invite, challenge)
    alice.agent.nonce_count = 0
    first = alice.agent.authorize(invite, challenge)
    alice.send(first.to_bytes())
    got = rings(world, bob)
    bob.send(bob.agent.response(got, 486).to_bytes())
    refused = world.wait(lambda: alice.agent.final(first))
    alice.ack_refusal(first, refused)
    alice.agent.nonce_count = 0
    again = alice.agent.authorize(alice.agent.invite_request(f"sip:bob@{DOMAIN}"), challenge)
    alice.send(again.to_bytes())
    answer = world.wait(lambda: alice.agent.final(again))
    assert answer.status == 407
    assert (parse_digest(answer.values("proxy-authenticate")[0]) or {})["stale"].lower() == "true"


def test_each_of_two_phones_gets_its_own_prack(world, alice):
    """Both ring reliably, with the same RSeq (DoubangoTelecom/doubango 484, baresip/baresip 2114)."""
    phones = [world.phone("bob"), world.phone("bob", "edge-b")]
    phones[1].agent.port = 5062
    for phone in phones:
        assert phone.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}", ["Supported: 100rel"])
    for number, phone in enumerate(phones):
        got = rings(world, phone)
        reliable = ["Require: 100rel", "RSeq: 1"]
        phone.send(phone.agent.response(got, 180, f"ring{number}", reliable).to_bytes())
    ringing = world.wait(
        lambda: (
            [one for one in alice.agent.responses("INVITE", invite.get("call-id")) if one.status == 180][1:]
            and [one for one in alice.agent.responses("INVITE", invite.get("call-id")) if one.status == 180]
        )
    )
    for one in ringing:
        dialog = alice.agent.caller_dialog(invite, one)
        prack = alice.agent.in_dialog(dialog, "PRACK", headers=[f"RAck: 1 {invite.get('cseq')}"])
        alice.send(prack.to_bytes())
    for number, phone in enumerate(phones):
        got = world.wait(lambda phone=phone: phone.agent.requests("PRACK"))[0]
        assert f"tag=ring{number}" in got.get("to")
        assert len(phone.agent.requests("PRACK")) == 1


def test_a_phones_503_goes_up_as_500(world, alice):
    """Else whoever sent the call tries it again elsewhere, at every level (Metaswitch/sprout 1791, RFC 3261 §16.7)."""
    bob = world.phone("bob")
    assert bob.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    bob.send(bob.agent.response(rings(world, bob), 503).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 500


# Registrars of providers


def test_a_folded_challenge_beside_one_that_isnt_known(world, provider):
    """A mobile operator's: folded lines, and AKA first (emiago/sipgo 251)."""
    aka = 'WWW-Authenticate: Digest realm="voip.test",\r\n nonce="x",\r\n   algorithm=AKAv1-MD5,\r\n\tqop="auth"'
    ours = f'WWW-Authenticate: Digest realm="voip.test",\r\n   nonce="{provider.nonce}",\r\n   qop="auth"'
    provider.script.append(lambda request: other(request, 401, aka, ours))
    assign(world, account())
    assert registered(world)


def test_a_challenge_that_names_no_algorithm_is_md5(world, provider):
    """(signalwire/freeswitch 931)"""
    challenge = f'WWW-Authenticate: Digest realm="voip.test", nonce="{provider.nonce}", qop="auth"'
    provider.script.append(lambda request: other(request, 401, challenge))
    assign(world, account())
    assert registered(world)


def test_a_new_nonce_without_stale_is_tried_once_more(world, provider):
    """FRITZ!OS and many Kamailios never say stale (baresip/baresip 717, creytiv/re 223)."""
    assign(world, account())
    assert registered(world)
    before = len(provider.registers)
    provider.nonce = "another-nonce-of-the-registrar"
    world.run(3600)
    assert len(provider.registers) == before + 2
    assert registered(world)


def test_other_contacts_that_nobody_can_read_dont_matter(world, provider):
    """A registrar's 200 lists what others have registered, as they wrote it (onsip/SIP.js 560)."""

    def accept(request):
        contact = (request.get("contact") or "").split(";expires")[0]
        listed = f"<sip:PBX#1000#9@192.0.2.1>;expires=2519533,{contact};expires=600,Date:Thu"
        return other(request, 200, f"Contact: {listed}")

    provider.asks = False
    provider.script.append(accept)
    assign(world, account())
    assert registered(world)


def test_the_digest_uri_is_the_request_uri_to_the_letter(world, provider, alice):
    """Strict SBCs check it with port and parameters (livekit/sip 817)."""
    assign(world, account())
    world.run(2)
    dial(world, alice)
    out = arrives(world, provider)
    for request in (out, provider.registers[-1]):
        line = request.get("proxy-authorization") or request.get("authorization")
        assert (parse_digest(line) or {})["uri"] == request.uri


# Trunks


def test_an_ack_goes_by_the_route_to_the_contact(world, provider, alice):
    """Two proxies in one Record-Route, and a private Contact behind them (BelledonneCommunications/flexisip 202,
    eigger/hass-sip 38)."""
    assign(world, account())
    world.run(2)
    invite = dial(world, alice)
    out = arrives(world, provider)
    ok = provider.agent.response(out, 200)
    ok.headers = [header for header in ok.headers if header[0] not in ("contact", "record-route")]
    route = "<sip:10.255.0.1;transport=udp;r2=on;lr>, <sip:198.51.100.1;transport=udp;r2=on;lr>"
    ok.headers += [
        ("record-route", f"Record-Route: {route}"),
        ("contact", "Contact: <sip:+18004444444@10.239.216.224:5070;transport=udp>"),
    ]
    provider.answer(ok)
    final = world.wait(lambda: alice.agent.final(invite))
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    ack = acknowledged(world, provider, out)
    assert ack.uri == "sip:+18004444444@10.239.216.224:5070;transport=udp"
    routes = [value.strip() for line in ack.values("route") for value in line.split(",")]
    assert [NameAddr.parse(one).uri.split(";")[0] for one in routes] == ["sip:198.51.100.1", "sip:10.255.0.1"]


def test_a_session_refresh_without_an_offer_is_answered_with_one(world, provider, alice):
    """A provider's re-INVITE after 15 minutes: the offer is in the 200, the answer in the ACK (freeswitch 1994)."""
    assign(world, account())
    world.run(2)
    _, _, _, theirs = answered(world, alice, provider)
    world.run(900)
    again = provider.agent.in_dialog(theirs, "INVITE")
    provider.send(again.to_bytes())
    got = world.wait(lambda: alice.agent.requests("INVITE"))[0]
    assert not got.body
    alice.send(alice.agent.response(got, 200, headers=["Content-Type: application/sdp"]).to_bytes())
    final = world.wait(lambda: provider.agent.final(again))
    assert final.status == 200
    assert final.body
    ack = provider.agent.in_dialog(theirs, "ACK", SDP, ["Content-Type: application/sdp"])
    ack.headers = [
        (key, f"CSeq: {again.get('cseq').split()[0]} ACK" if key == "cseq" else line) for key, line in ack.headers
    ]
    provider.send(ack.to_bytes())
    assert world.wait(lambda: [one for one in alice.agent.requests("ACK") if one.body])


def test_a_refused_re_invite_is_told_to_the_provider(world, provider, alice):
    """(jambonz/sbc-inbound 132)"""
    assign(world, account())
    world.run(2)
    _, _, _, theirs = answered(world, alice, provider)
    again = provider.agent.in_dialog(theirs, "INVITE", SDP, ["Content-Type: application/sdp"])
    provider.send(again.to_bytes())
    got = world.wait(lambda: alice.agent.requests("INVITE"))[0]
    alice.send(alice.agent.response(got, 488).to_bytes())
    assert world.wait(lambda: provider.agent.final(again)).status == 488


@pytest.mark.parametrize("written", ["application/sdp ;charset=UTF-8", "Application/SDP", "application/sdp;q=1"])
def test_a_body_is_sdp_however_its_type_is_written(world, provider, alice, written):
    """(BelledonneCommunications/belle-sip 9)"""
    assign(world, account())
    world.run(2)
    invite = dial(world, alice)
    out = arrives(world, provider)
    ok = provider.agent.response(out, 200)
    provider.answer(ok)
    final = world.wait(lambda: alice.agent.final(invite))
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    private = SDP.replace(b"192.0.2.1", b"10.0.0.9")
    alice.send(alice.agent.in_dialog(dialog, "INVITE", private, [f"Content-Type: {written}"]).to_bytes())
    got = arrives(world, provider, "INVITE", 1)
    assert b"10.0.0.9" not in got.body


def test_busy_is_not_tried_at_the_next_server(world, alice):
    """Else the called person has to refuse it three times (inextrix/ASTPP 419); a 503 is acknowledged before the next
    (signalwire/freeswitch 2144)."""
    provider = ProviderDouble(world)
    second = ProviderDouble(world, "198.51.100.2")
    assign(world, account())
    world.run(2)
    for answer, tried in ((486, 1), (503, 2)):
        for one in (provider, second):
            one.agent.received.clear()
        invite = dial(world, alice)
        first = world.wait(lambda: provider.agent.requests("INVITE") or second.agent.requests("INVITE"))[0]
        here = provider if provider.agent.requests("INVITE") else second
        here.answer(here.agent.response(first, answer))
        there = second if here is provider else provider
        if tried == 2:
            got = world.wait(lambda there=there: there.agent.requests("INVITE"))[0]
            there.answer(there.agent.response(got, 486))
        assert world.wait(lambda invite=invite: alice.agent.final(invite)).status == 486
        assert bool(there.agent.requests("INVITE")) == (tried == 2)
        assert here.agent.requests("ACK")


def test_a_packet_from_elsewhere_with_the_calls_names_ends_nothing(world, provider, alice):
    """A BYE with the Call-ID and tags of a call, from another host (eigger/hass-sip 83)."""
    assign(world, account())
    world.run(2)
    _, _, _, theirs = answered(world, alice, provider)
    bye = provider.agent.in_dialog(theirs, "BYE")
    node = world.nodes["edge-a"]
    node.handle(Received(Flow(node.address, 5060, "udp", "198.51.100.99", 5060), bye.to_bytes()))
    world.run(5)
    assert not alice.agent.requests("BYE")
