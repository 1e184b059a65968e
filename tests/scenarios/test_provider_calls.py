"""Calls through providers: what each side sees, whose credentials answer, and who can go on with a call."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from edge.proxy.stack.events import FlowClosed, ProvidersLocated
from edge.proxy.stack.flow_token import TokenKeys
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.sip.headers import NameAddr, parse_digest
from edge.sip.message import make_response
from edge.sip.transaction.client import make_cancel
from lambdas.contract import CallAnswered, CallEnded, ProviderReport
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.push import PushService
from tests.support.agent import SDP, Dialog
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, WALL

PRIVATE = SDP.replace(b"192.0.2.1", b"10.0.0.9")


def dial(world, phone, number="020 7946 0000", headers=None):
    uri = number if number.startswith("sip:") else f"sip:{number.replace(' ', '')}@{DOMAIN}"
    lines = [f"Contact: {phone.agent.contact}", "Content-Type: application/sdp", *(headers or [])]
    invite = phone.agent.request("INVITE", uri, headers=lines, body=PRIVATE)
    phone.send(invite.to_bytes())
    challenge = world.wait(lambda: next(iter(phone.agent.responses("INVITE", invite.get("call-id"))), None))
    phone.ack_refusal(invite, challenge)
    invite = phone.agent.authorize(invite, challenge)
    phone.send(invite.to_bytes())
    return invite


def arrives(world, provider, method="INVITE", number=0):
    return world.wait(lambda: provider.agent.requests(method)[number:])[0]


def acknowledged(world, provider, invite):
    """The ACK with the number of ``invite``."""
    return world.wait(lambda: [ack for ack in provider.agent.requests("ACK") if number_of(ack) == number_of(invite)])[0]


def answered(world, phone, provider, **kwargs):
    """A call out, answered: (invite, the phone's dialog, the provider's invite, its dialog)."""
    invite = dial(world, phone, **kwargs)
    out = arrives(world, provider)
    ok = provider.agent.response(out, 200)
    provider.answer(ok)
    final = world.wait(lambda: phone.agent.final(invite))
    assert final.status == 200
    dialog = phone.agent.caller_dialog(invite, final)
    phone.send(phone.agent.in_dialog(dialog, "ACK").to_bytes())
    return invite, dialog, out, provider.agent.callee_dialog(out, ok)


def number_of(message):
    return int(message.get("cseq").split()[0])


def test_what_the_provider_sees_is_a_user_agent_of_ours(world, provider, alice):
    invite = dial(world, alice)
    out = arrives(world, provider)
    assert out.uri == "sip:+442079460000@sip.voip.test"
    assert len(out.values("via")) == 1
    assert out.get("via").startswith("SIP/2.0/UDP 203.0.113.11:5060;branch=")  # where it is registered
    assert out.get("from").startswith("<sip:4420@sip.voip.test>;tag=")
    assert out.get("to") == "<sip:+442079460000@sip.voip.test>"
    assert not out.values("record-route")
    contact = NameAddr.parse(out.get("contact")).uri
    assert contact.endswith("@203.0.113.11:5060")
    text = out.to_bytes().decode()
    for secret in ("10.0.0.9", "pw-alice", "alice", DOMAIN, invite.get("call-id")):
        assert secret not in text, secret
    assert b"c=IN IP4 192.0.2." in out.body
    assert out.get("content-length") == str(len(out.body))
    assert 'username="4420"' in out.get("proxy-authorization")


def test_a_call_out_with_requests_from_both_sides(world, provider, alice):
    invite, dialog, out, other = answered(world, alice, provider)
    ack = acknowledged(world, provider, out)
    assert number_of(out) == 17  # the second attempt: the first was challenged
    assert ack.uri == "sip:4420@198.51.100.1:5060"
    assert ack.get("call-id") == out.get("call-id")
    again = alice.agent.in_dialog(dialog, "INVITE", PRIVATE, ["Content-Type: application/sdp"])
    alice.send(again.to_bytes())
    reinvite = arrives(world, provider, "INVITE", 1)
    assert number_of(reinvite) > number_of(out)
    assert reinvite.uri == "sip:4420@198.51.100.1:5060"
    assert b"10.0.0.9" not in reinvite.to_bytes()
    ok = provider.agent.response(reinvite, 200)
    provider.answer(ok)
    final = world.wait(lambda: alice.agent.final(again))
    dialog.target = NameAddr.parse(final.get("contact")).uri
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    acknowledged(world, provider, reinvite)
    # and from the provider
    theirs = provider.agent.in_dialog(other, "INVITE", SDP)
    provider.send(theirs.to_bytes())
    got = world.wait(lambda: alice.agent.requests("INVITE"))[0]
    assert got.get("call-id") == invite.get("call-id")
    assert got.uri == "sip:alice@10.0.0.9:5060"
    response = alice.agent.response(got, 200)
    alice.send(response.to_bytes())
    final = world.wait(lambda: provider.agent.final(theirs))
    assert b"10.0.0.9" not in final.to_bytes()
    other.target = NameAddr.parse(final.get("contact")).uri
    provider.send(provider.agent.in_dialog(other, "ACK").to_bytes())
    assert world.wait(lambda: alice.agent.requests("ACK"))[0].uri == "sip:alice@10.0.0.9:5060"
    bye = provider.agent.in_dialog(other, "BYE")
    provider.send(bye.to_bytes())
    got = world.wait(lambda: alice.agent.requests("BYE"))[0]
    alice.send(alice.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(bye)).status == 200
    world.run(1)
    start = next(report for report in world.control.reports if isinstance(report, CallAnswered))
    end = next(report for report in world.control.reports if isinstance(report, CallEnded))
    assert (start.call, start.caller, start.called) == (end.call, f"alice@{DOMAIN}", f"02079460000@{DOMAIN}")
    assert end.by == "called"


def test_a_challenged_bye_is_answered_with_the_providers_credentials(world, provider, alice):
    _, dialog, out, _ = answered(world, alice, provider)
    provider.nonce = "fresh"
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    got = arrives(world, provider, "BYE")
    assert 'nonce="fresh"' in got.get("proxy-authorization")
    assert number_of(got) > number_of(out)
    provider.answer(provider.agent.response(got, 200))
    final = world.wait(lambda: alice.agent.final(bye))
    assert final.status == 200
    assert not final.values("proxy-authenticate")


@pytest.mark.parametrize("killed", ["edge-a", "edge-b"])
def test_a_restarted_edge_goes_on_with_the_call(world, provider, alice, killed):
    _, dialog, out, other = answered(world, alice, provider)
    world.restart(killed)
    if killed == "edge-a":
        assign(world, account())
    world.run(1)
    again = alice.agent.in_dialog(dialog, "INVITE")
    alice.send(again.to_bytes())
    reinvite = arrives(world, provider, "INVITE", 1)
    assert number_of(reinvite) > number_of(out)
    provider.answer(provider.agent.response(reinvite, 200))
    assert world.wait(lambda: alice.agent.final(again)).status == 200
    bye = provider.agent.in_dialog(other, "BYE")
    provider.send(bye.to_bytes())
    got = world.wait(lambda: alice.agent.requests("BYE"))[0]
    alice.send(alice.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(bye)).status == 200


def test_a_call_keeps_its_names_when_the_fleets_keys_change(world, provider, alice):
    """Every day: what is sealed anew is sealed by another key, but the provider knows the call as it was."""
    _, dialog, out, _ = answered(world, alice, provider)
    keys = {key.id: base64.b64decode(key.token) for key in world.control.keys.of(WALL)}
    world.tokens = TokenKeys(keys, next(key.id for key in world.control.keys.of(WALL + 86_400) if key.use))
    for node in world.nodes.values():
        world.inform(node)
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    assert arrives(world, provider, "BYE").get("call-id") == out.get("call-id")


def test_the_providers_route_set_is_the_phones_after_ours(world, provider, alice):
    invite = dial(world, alice)
    out = arrives(world, provider)
    ok = provider.agent.response(out, 200)
    ok.headers.insert(1, ("record-route", "Record-Route: <sip:inner.voip.test;lr>, <sip:198.51.100.1;lr>"))
    provider.answer(ok)
    dialog = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    assert dialog.routes[1:] == ["<sip:198.51.100.1;lr>", "<sip:inner.voip.test;lr>"]
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    got = arrives(world, provider, "BYE")
    assert got.values("route") == ["<sip:198.51.100.1;lr>", "<sip:inner.voip.test;lr>"]


def test_the_registrars_service_route_leads_calls_out(world, provider, alice):
    provider.script = [
        lambda request: make_response(
            request,
            200,
            to_tag="r",
            headers=[
                ("contact", f"Contact: {request.get('contact')}"),
                ("service-route", "Service-Route: <sip:edge.voip.test;lr>, <sip:core.voip.test;lr>"),
            ],
        )
    ]
    assign(world, account(version=2, expires=600))
    world.run(2)
    routes = next(report for report in reversed(world.control.reports) if isinstance(report, ProviderReport)).routes
    assert routes == ["<sip:edge.voip.test;lr>", "<sip:core.voip.test;lr>"]
    world.control.ways["voip"] = replace(world.control.ways["voip"], routes=tuple(routes))
    dial(world, alice)
    assert arrives(world, provider).values("route") == routes


def test_prack_names_the_invite_that_the_provider_knows(world, provider, alice):
    invite = dial(world, alice)
    out = arrives(world, provider)
    ringing = provider.agent.response(out, 183, headers=["RSeq: 7", "Require: 100rel"])
    provider.answer(ringing)
    progress = world.wait(lambda: [item for item in alice.agent.responses("INVITE") if item.status == 183])[0]
    dialog = alice.agent.caller_dialog(invite, progress)
    prack = alice.agent.in_dialog(dialog, "PRACK", headers=[f"RAck: 7 {number_of(invite)} INVITE"])
    alice.send(prack.to_bytes())
    got = arrives(world, provider, "PRACK")
    assert got.get("rack") == f"7 {number_of(out)} INVITE"


def test_cancel_reaches_the_provider(world, provider, alice):
    invite = dial(world, alice)
    out = arrives(world, provider)
    provider.answer(provider.agent.response(out, 180))
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    alice.send(make_cancel(invite).to_bytes())
    cancel = arrives(world, provider, "CANCEL")
    assert number_of(cancel) == number_of(out)
    provider.answer(provider.agent.response(cancel, 200))
    provider.answer(provider.agent.response(out, 487))
    assert world.wait(lambda: alice.agent.final(invite)).status == 487


def test_transfers_are_the_providers_only_where_the_account_says_so(world, provider, alice):
    _, dialog, _, other = answered(world, alice, provider)
    refer = alice.agent.in_dialog(dialog, "REFER", headers=["Refer-To: <sip:x@example.net>"])
    alice.send(refer.to_bytes())
    assert world.wait(lambda: alice.agent.final(refer)).status == 202
    world.run(5)
    assert not provider.agent.requests("REFER")
    theirs = provider.agent.in_dialog(other, "REFER", headers=["Refer-To: <sip:x@example.net>"])
    provider.send(theirs.to_bytes())
    assert world.wait(lambda: provider.agent.final(theirs)).status == 403
    assign(world, account(transfers=True, version=2))
    provider.agent.received.clear()
    _, dialog, _, _ = answered(world, alice, provider)
    refer = alice.agent.in_dialog(dialog, "REFER", headers=["Refer-To: <sip:x@example.net>"])
    alice.send(refer.to_bytes())
    assert arrives(world, provider, "REFER").get("refer-to") == "<sip:x@example.net>"


def test_a_wrong_password_is_not_the_phones_to_answer(world, provider, alice):
    provider.password = "another"
    invite = dial(world, alice)
    final = world.wait(lambda: alice.agent.final(invite))
    assert final.status == 500
    assert "refuses our user name or password" in final.reason
    assert not final.values("proxy-authenticate")


def test_a_provider_is_never_this_service_itself(world, provider, alice):
    """A call would come back as a new one, and go out again."""
    for address in ("203.0.113.11", "203.0.113.12"):
        world.servers["sip.voip.test"] = [("udp", address, 5060)]
        invite = dial(world, alice)
        final = world.wait(lambda invite=invite: alice.agent.final(invite))
        assert (final.status, "this service itself" in final.reason) == (500, True)
    world.servers["sip.voip.test"] = [("udp", "203.0.113.11", 5060), ("udp", "198.51.100.1", 5060)]
    answered(world, alice, provider)


def test_no_call_is_made_that_was_to_take_the_place_of_another(world, provider, alice):
    invite = dial(world, alice, headers=["Replaces: other;to-tag=1;from-tag=2", "Require: replaces"])
    assert world.wait(lambda: alice.agent.final(invite)).status == 481
    assert not provider.agent.requests("INVITE")


def test_what_a_phone_says_of_diversions_is_its_own_word(world, provider, alice):
    dial(world, alice, headers=["Diversion: <sip:+442079460001@voip.test>;reason=unconditional"])
    assert arrives(world, provider).get("diversion") is None


@pytest.mark.parametrize(("status", "tried"), [(503, True), (500, True), (408, True), (486, False), (404, False)])
def test_failover_to_the_next_provider(world, provider, alice, status, tried):
    second = ProviderDouble(world, "198.51.100.2", "sip.second.test")
    assign(world, account("second", host="sip.second.test"), "edge-b")
    world.run(2)
    world.control.settings = TenantSettings("GB", (), (StoredRoute("+44", ("voip", "second")),))
    invite = dial(world, alice)
    out = arrives(world, provider)
    provider.answer(provider.agent.response(out, status))
    if tried:
        other = arrives(world, second)
        assert other.uri == "sip:+442079460000@sip.second.test"
        second.answer(second.agent.response(other, 200))
        assert world.wait(lambda: alice.agent.final(invite)).status == 200
    else:
        assert world.wait(lambda: alice.agent.final(invite)).status == status
        assert not second.agent.requests("INVITE")


def test_a_silent_provider_is_given_up_soon_where_there_is_another(world, provider, alice):
    second = ProviderDouble(world, "198.51.100.2", "sip.second.test")
    assign(world, account("second", host="sip.second.test"), "edge-b")
    world.run(2)
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip", "second")),))
    provider.silent = True
    begun = world.now
    invite = dial(world, alice)
    other = arrives(world, second)
    assert world.now - begun < 6
    # What the silent one does after all is too late.
    provider.silent = False
    provider.asks = False
    late = arrives(world, provider)
    provider.answer(provider.agent.response(late, 180))
    assert arrives(world, provider, "CANCEL").get("call-id") == late.get("call-id")
    second.answer(second.agent.response(other, 200))
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_numbers_providers_by_name_and_emergency_calls(world, provider, alice):
    world.control.settings = TenantSettings("GB", (), ())

    def outcome(number):
        invite = dial(world, alice, number)
        return world.wait(lambda: alice.agent.final(invite))

    assert outcome("020 7946 0000").status == 404  # no route
    dial(world, alice, "sip:+4420-7946-0000@voip")
    assert arrives(world, provider).uri == "sip:+442079460000@sip.voip.test"
    assert outcome("sip:+442079460000@elsewhere").status == 404
    assert outcome("sip:bob@voip").status == 404
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    for number in ("999", "112", "sip:999@voip"):
        refused = outcome(number)
        assert refused.status == 403
        assert "no provider is set for emergency calls" in refused.reason
    world.control.settings = TenantSettings("GB", ("voip",), ())
    provider.agent.received.clear()
    dial(world, alice, "999")
    assert arrives(world, provider).uri == "sip:999@sip.voip.test"


def test_a_code_for_privacy_counts_for_more_than_the_phones_settings(world, provider, alice):
    dial(world, alice, "1470 020 7946 0000", ["Privacy: none"])
    assert arrives(world, provider).values("privacy") == ["none"]
    dial(world, alice, "141 020 7946 0000", ["Privacy: none"])
    out = arrives(world, provider, number=1)
    assert (out.uri, out.values("privacy")) == ("sip:+442079460000@sip.voip.test", ["id"])


# Redirections


def redirect(provider, out, *contacts, status=302):
    provider.answer(provider.agent.response(out, status, headers=[f"Contact: {contact}" for contact in contacts]))


def elsewhere(world, host="198.51.100.9", name="sbc.other.test"):
    """A server that the provider may name."""
    made = ProviderDouble(world, host, name)
    world.servers[host] = [("udp", host, 5060)]
    return made


@pytest.mark.parametrize("status", [300, 301, 302, 305])
def test_a_redirection_to_the_provider_itself_is_another_attempt_with_its_account(world, provider, alice, status):
    own = elsewhere(world)
    world.servers["sip.voip.test"].append(("udp", "198.51.100.9", 5060))
    invite = dial(world, alice)
    out = arrives(world, provider)
    redirect(provider, out, "<sip:+44-20-7946-0000@198.51.100.9;user=phone?Priority=urgent>;q=0.5", status=status)
    again = arrives(world, own)
    assert again.uri == "sip:+442079460000@198.51.100.9"  # what was judged, as it was judged
    assert (again.get("to"), again.get("from")) == (out.get("to"), out.get("from"))
    assert number_of(again) > number_of(out)
    assert again.get("call-id") == out.get("call-id")
    assert again.get("priority") is None
    assert 'username="4420"' in again.get("proxy-authorization")
    own.answer(own.agent.response(again, 200))
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_a_redirection_elsewhere_goes_without_the_account(world, provider, alice):
    other = elsewhere(world)
    other.asks = False
    world.control.ways["voip"] = replace(
        world.control.ways["voip"], provider=account(headers=("X-Account: 12345",), caller_id_in="p-asserted-identity")
    )
    invite = dial(world, alice, "141 020 7946 0000")
    out = arrives(world, provider)
    assert out.get("x-account") == "12345"
    redirect(provider, out, "<sip:98765@nowhere.test>;q=1.0, <sip:+442079460000@198.51.100.9:5060>;q=0.8")
    again = arrives(world, other)
    assert again.uri == "sip:+442079460000@198.51.100.9:5060"
    for header in ("proxy-authorization", "x-account", "p-asserted-identity", "route"):
        assert again.get(header) is None, header
    assert again.get("privacy") == "id"
    other.answer(other.agent.response(again, 200))
    final = world.wait(lambda: alice.agent.final(invite))
    assert final.status == 200
    # A password isn't given away in the dialog either.
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    other.asks = True
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    refused = world.wait(lambda: alice.agent.final(bye))
    assert (refused.status, "asks for a password" in refused.reason) == (403, True)


def test_a_password_is_not_for_those_elsewhere(world, provider, alice):
    other = elsewhere(world)
    invite = dial(world, alice)
    redirect(provider, arrives(world, provider), "<sip:198.51.100.9>")
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, "asks for a password" in final.reason) == (403, True)
    assert not other.agent.requests("INVITE")


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:+449098790000@sip.voip.test>",  # premium, and nobody has judged it
        "<sip:+449098790000@198.51.100.9>",
        "<sip:+4490%0D%0AX%3A%201@sip.voip.test>",
        "<sips:+442079460000@198.51.100.9;transport=udp>",
        "<tel:+442079460000>",
        "<sip:+442079460000@198.51.100.9:22>",
        "<sip:+442079460000@203.0.113.12>",  # ourselves
        "*",
    ],
)
def test_what_may_not_be_tried_is_left_to_the_caller(world, provider, alice, contact):
    elsewhere(world)
    world.servers["203.0.113.12"] = [("udp", "203.0.113.12", 5060)]
    invite = dial(world, alice)
    redirect(provider, arrives(world, provider), contact)
    final = world.wait(lambda: alice.agent.final(invite))
    if "203.0.113.12" in contact:
        assert (final.status, "this service itself" in final.reason) == (500, True)
        return
    assert final.status == 302
    # Where the provider itself has another number, it is called through us, which judges it.
    wanted = contact.replace("sip.voip.test", DOMAIN)
    assert final.values("contact") == ([] if contact == "*" else [wanted])


def test_where_the_tenant_may_call_nobody_outside_no_provider_leads_there(world, provider, alice):
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),), outside=False)
    other = elsewhere(world)
    invite = dial(world, alice)
    redirect(provider, arrives(world, provider), "<sip:+442079460000@198.51.100.9>")
    assert world.wait(lambda: alice.agent.final(invite)).status == 302
    assert not other.agent.requests("INVITE")


def test_no_redirection_leads_to_another_tenants_provider(world, provider, alice):
    other = elsewhere(world)
    for node in world.nodes.values():
        node.handle(ProvidersLocated(ProviderAddresses({"198.51.100.9": frozenset({"t2"})}, {})))
    invite = dial(world, alice)
    redirect(provider, arrives(world, provider), "<sip:+442079460000@198.51.100.9>")
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, "may not go there" in final.reason) == (500, True)
    assert not other.agent.requests("INVITE")


def test_redirections_have_an_end(world, provider, alice):
    world.servers["198.51.100.1"] = [("udp", "198.51.100.1", 5060)]
    invite = dial(world, alice)
    for turn in range(4):
        out = arrives(world, provider, number=turn)
        redirect(provider, out, f"<sip:+442079460000@198.51.100.1:{5070 + turn}>")
    assert world.wait(lambda: alice.agent.final(invite)).status == 302
    assert len(provider.agent.requests("INVITE")) == 4


def test_whoever_the_provider_names_leads_no_further(world, provider, alice):
    other, third = elsewhere(world), elsewhere(world, "198.51.100.10", "third.test")
    other.asks = False
    invite = dial(world, alice)
    redirect(provider, arrives(world, provider), "<sip:+442079460000@198.51.100.9>")
    redirect(other, arrives(world, other), "<sip:+442079460000@198.51.100.10>")
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, final.values("contact")) == (302, ["<sip:+442079460000@198.51.100.10>"])
    assert not third.agent.requests("INVITE")


def test_a_caller_who_gives_up_while_a_redirection_is_looked_up(world, provider, alice):
    other = elsewhere(world)
    invite = dial(world, alice)
    out = arrives(world, provider)
    provider.answer(provider.agent.response(out, 180))
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    redirect(provider, out, "<sip:+442079460000@198.51.100.9>")
    world.run(0.015)
    alice.send(make_cancel(invite).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 487
    world.run(2)
    assert not other.agent.requests("INVITE")
    assert not provider.agent.requests("CANCEL")


# Bodies

MIXED = (
    b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + PRIVATE + b"\r\n"
    b"--b1\r\nContent-Type: application/pidf+xml\r\n\r\n<presence/>\r\n--b1--\r\n"
)


def test_no_private_address_leaves_in_a_part_of_a_body(world, provider, alice):
    kind = "Content-Type: multipart/mixed;boundary=b1"
    invite = alice.agent.request(
        "INVITE", f"sip:02079460000@{DOMAIN}", headers=[f"Contact: {alice.agent.contact}", kind], body=MIXED
    )
    alice.send(invite.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(invite))
    alice.ack_refusal(invite, challenge)
    invite = alice.agent.authorize(invite, challenge)
    alice.send(invite.to_bytes())
    out = arrives(world, provider)
    assert b"10.0.0.9" not in out.to_bytes()
    assert b"<presence/>" in out.body
    assert (out.get("content-length"), out.get("content-type")) == (str(len(out.body)), "multipart/mixed;boundary=b1")
    ok = provider.agent.response(out, 200)
    provider.answer(ok)
    dialog = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    other = provider.agent.callee_dialog(out, ok)
    alice.send(alice.agent.in_dialog(dialog, "ACK", MIXED, [kind]).to_bytes())  # an answer to a late offer
    acknowledgement = acknowledged(world, provider, out)
    assert acknowledgement.body
    assert b"10.0.0.9" not in acknowledgement.to_bytes()
    for method in ("UPDATE", "PRACK", "INVITE"):
        provider.asks = False
        alice.send(alice.agent.in_dialog(dialog, method, MIXED, [kind]).to_bytes())
        got = arrives(world, provider, method, 1 if method == "INVITE" else 0)
        assert got.body
        assert b"10.0.0.9" not in got.to_bytes()
        provider.answer(provider.agent.response(got, 200))
    theirs = provider.agent.in_dialog(other, "INVITE", b"")
    provider.send(theirs.to_bytes())
    got = world.wait(lambda: alice.agent.requests("INVITE"))[0]
    ok = alice.agent.response(got, 200, body=MIXED, headers=[kind])
    ok.headers = [("content-type", line) if line == kind else (key, line) for key, line in ok.headers]
    alice.send(ok.to_bytes())
    final = world.wait(lambda: provider.agent.final(theirs))
    assert final.body
    assert b"10.0.0.9" not in final.to_bytes()


def test_a_body_that_cannot_be_read_is_refused(world, provider, alice):
    invite = dial(world, alice, headers=["Content-Encoding: br"])
    final = world.wait(lambda: alice.agent.final(invite))
    assert (final.status, "coding that isn't known" in final.reason) == (415, True)
    assert not provider.agent.requests("INVITE")


def test_a_provider_that_signs_bodies_gets_the_digest_of_what_leaves(world, provider, alice):
    line = 'Proxy-Authenticate: Digest realm="voip.test", nonce="n", qop="auth-int"'
    provider.asks = False
    dial(world, alice)
    out = arrives(world, provider)
    provider.answer(provider.agent.response(out, 407, headers=[line]))
    again = arrives(world, provider, number=1)
    params = parse_digest(again.get("proxy-authorization"))
    ha1 = hashlib.md5(b"4420:voip.test:secret").hexdigest()
    ha2 = hashlib.md5(f"INVITE:{out.uri}:{hashlib.md5(again.body).hexdigest()}".encode()).hexdigest()
    text = f"{ha1}:n:00000001:{params['cnonce']}:auth-int:{ha2}"
    assert params["response"] == hashlib.md5(text.encode()).hexdigest()


# What can't be sent


@pytest.mark.parametrize(("octets", "attempts"), [(65_530, 0), (65_300, 1)])
def test_a_request_that_no_packet_has_room_for_is_refused(world, provider, octets, attempts):
    """What leaves is longer than what came, and longer still with credentials."""
    phone = world.phone("alice", transport="TCP")
    assert phone.register() == 200
    invite = phone.agent.request("INVITE", f"sip:02079460000@{DOMAIN}", headers=[f"Contact: {phone.agent.contact}"])
    phone.send(invite.to_bytes())
    challenge = world.wait(lambda: phone.agent.final(invite))
    phone.ack_refusal(invite, challenge)
    invite = phone.agent.authorize(invite, challenge)
    invite.headers.pop()
    invite.body = b"x" * (octets - len("Content-Length: 65000\r\n") - len(invite.to_bytes()))
    invite.headers.append(("content-length", f"Content-Length: {len(invite.body)}"))
    phone.send(invite.to_bytes())
    assert world.wait(lambda: phone.agent.final(invite), 1).status == 513
    world.run(40)
    assert len(provider.agent.requests("ACK")) == attempts  # of a challenge each


@pytest.mark.parametrize("vouched", [True, False])
def test_what_is_too_long_for_udp_goes_by_that_to_a_trunk_without_tcp(world, vouched):
    trunk = ProviderDouble(world)
    trunk.silent = True
    assign(world, account(registers=False))
    alice, node = world.phone("alice"), world.nodes["edge-a"]
    assert alice.register() == 200
    if vouched:
        there = {trunk.place[0]: frozenset({"t1"})}
        node.handle(ProvidersLocated(ProviderAddresses(there, there)))
    invite = alice.start_call(f"sip:02079460000@{DOMAIN}", [f"Subject: {'x' * 1500}"])
    world.run(0.5)
    tried = {one.flow for one in node.sent if one.flow.host == trunk.place[0]}
    assert {flow.transport for flow in tried} == {"tcp"}
    trunk.silent = False
    node.sent.clear()
    node.handle(FlowClosed(tried.pop(), "no connection: Connection refused"))
    if not vouched:
        final = world.wait(lambda: alice.agent.final(invite))
        assert (final.status, "Connection refused" in final.reason) == (500, True)
        assert not trunk.agent.received
        return
    out = arrives(world, trunk)  # challenged first: what has credentials needn't try TCP again
    assert out.get("via").startswith("SIP/2.0/UDP ")
    assert ";transport=tcp" not in out.get("contact")
    assert {one.flow.transport for one in node.sent if one.flow.host == trunk.place[0]} == {"udp"}
    trunk.answer(trunk.agent.response(out, 200))
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


# Calls in


def call_in(
    world,
    provider,
    edge="edge-a",
    user="contactvoip",
    octets=b"",
    record_route="sip:198.51.100.1;lr",
    contact="sip:+4930@198.51.100.1:5060",
):
    invite = provider.agent.request(
        "INVITE",
        f"sip:{user}@{world.nodes[edge].address}:5060",
        "<sip:4420@sip.voip.test>",
        [
            f"Record-Route: <{record_route}>",
            f"Contact: <{contact}>",
            "Content-Type: application/sdp",
        ],
        SDP,
        from_="<sip:+4930123@sip.voip.test>;tag=theirs",
    )
    more = b"\r\n" + octets + b"\r\n\r\n" if octets else b"\r\n\r\n"
    provider.send(invite.to_bytes().replace(b"\r\n\r\n", more, 1), edge)
    return invite


@pytest.mark.parametrize("octets", [b"X-Name: \xff", b"User-Agent: \xc3(", b"Subject: caf\xe9"])
def test_octets_that_are_no_text_pass_unread(world, provider, octets):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    call_in(world, provider, octets=octets)
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    assert octets in got.to_bytes()


@pytest.mark.parametrize("name", [b"To: <sip:44\xff@sip.voip.test>", b"Call-ID: \xff"])
def test_who_is_called_has_to_be_text(world, provider, name):
    """Questions are text: one that can't be put isn't the control plane's failure."""
    invite = call_in(world, provider)
    world.wait(lambda: provider.agent.final(invite))
    key = name.partition(b":")[0]
    lines = [line for line in invite.to_bytes().split(b"\r\n") if not line.startswith(key)]
    again = b"\r\n".join([lines[0], name, *lines[1:]]).replace(b"branch=", b"branch=z9hG4bKx", 1)
    provider.agent.received.clear()
    provider.send(again, "edge-a")
    assert world.wait(lambda: provider.agent.statuses("INVITE")) == [400]


def test_a_call_in_rings_the_accounts_phones_and_both_sides_go_on(world, provider):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    invite = call_in(world, provider)
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    assert got.get("from").startswith("<sip:+4930123@sip.voip.test>")
    assert got.uri == "sip:bob@10.0.0.9:5060"
    ok = bob.agent.response(got, 200, body=PRIVATE, headers=["Content-Type: application/sdp"])
    ok.headers = [("content-type", line) if "application/sdp" in line else (key, line) for key, line in ok.headers]
    bob.send(ok.to_bytes())
    final = world.wait(lambda: provider.agent.final(invite))
    assert final.status == 200
    assert b"10.0.0.9" not in final.to_bytes()
    assert final.values("record-route") == ["<sip:198.51.100.1;lr>"]
    dialog = provider.agent.caller_dialog(invite, final)
    dialog.routes = []
    provider.send(provider.agent.in_dialog(dialog, "ACK").to_bytes())
    assert world.wait(lambda: bob.agent.requests("ACK"))[0].uri == "sip:bob@10.0.0.9:5060"
    mine = bob.agent.callee_dialog(got, ok)
    assert mine.routes[1:] == ["<sip:198.51.100.1;lr>"]
    world.run(1)
    # Even after both edges were started anew, and with a challenge.
    world.restart("edge-a")
    world.restart("edge-b")
    reinvite = bob.agent.in_dialog(mine, "INVITE")
    bob.send(reinvite.to_bytes())
    out = arrives(world, provider)
    assert out.uri == "sip:+4930@198.51.100.1:5060"
    assert out.values("route") == ["<sip:198.51.100.1;lr>"]
    provider.answer(provider.agent.response(out, 200))
    final = world.wait(lambda: bob.agent.final(reinvite))
    mine.target = NameAddr.parse(final.get("contact")).uri
    bob.send(bob.agent.in_dialog(mine, "ACK").to_bytes())
    acknowledged(world, provider, out)
    bye = bob.agent.in_dialog(mine, "BYE")
    bob.send(bye.to_bytes())
    got = arrives(world, provider, "BYE")
    assert number_of(got) > number_of(out)
    provider.answer(provider.agent.response(got, 200))
    assert world.wait(lambda: bob.agent.final(bye)).status == 200
    world.run(1)
    start = next(report for report in world.control.reports if isinstance(report, CallAnswered))
    end = next(report for report in world.control.reports if isinstance(report, CallEnded))
    assert (start.call, start.caller) == (end.call, "+4930123@sip.voip.test")
    assert end.by == "called"


def test_guessed_users_and_strangers_get_404(world, provider):
    bob = world.phone("bob")
    assert bob.register() == 200
    stranger = ProviderDouble(world, "198.51.100.66", "stranger.test")
    for who, user, edge in (
        (provider, "contactother", "edge-a"),
        (provider, "bob", "edge-a"),
        (stranger, "contactvoip", "edge-a"),
    ):
        invite = call_in(world, who, edge, user)
        assert world.wait(lambda who=who, invite=invite: who.agent.final(invite)).status == 404
    assert not bob.agent.requests("INVITE")
    assign(world, account(sources=("198.51.100.64/28",), version=2))
    invite = call_in(world, stranger)
    assert world.wait(lambda: bob.agent.requests("INVITE"))


def test_nobody_registered_and_an_edge_that_does_not_know_its_accounts_yet(world, provider):
    invite = call_in(world, provider)
    assert world.wait(lambda: provider.agent.final(invite)).status == 480
    world.restart("edge-a")
    invite = call_in(world, provider)
    assert world.wait(lambda: provider.agent.final(invite)).status == 503
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    world.restart("edge-a")
    invite = call_in(world, provider)
    world.run(1)
    assert not provider.agent.statuses("INVITE", invite.get("call-id"))  # it may be anybody
    assign(world, account())
    assert world.wait(lambda: bob.agent.requests("INVITE"))


def test_message_waiting_reaches_the_phones(world, provider):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    body = b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
    notify = provider.agent.request(
        "NOTIFY",
        "sip:contactvoip@203.0.113.11:5060",
        "<sip:4420@sip.voip.test>",
        ["Event: message-summary", "Content-Type: application/simple-message-summary"],
        body,
    )
    provider.send(notify.to_bytes())
    got = world.wait(lambda: bob.agent.requests("NOTIFY"))[0]
    assert got.body == body
    bob.send(bob.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(notify)).status == 200
    options = provider.agent.request("OPTIONS", "sip:contactvoip@203.0.113.11:5060")
    provider.send(options.to_bytes())
    assert world.wait(lambda: provider.agent.final(options)).status == 200


def test_a_message_waiting_is_told_to_who_has_subscribed_and_kept(world, provider):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    lines = [f"Contact: {bob.agent.contact}", "Event: message-summary"]
    subscribed = bob.transact(bob.agent.request("SUBSCRIBE", bob.agent.aor, headers=lines))
    assert (subscribed.status, subscribed.get("expires")) == (200, "600")
    first = world.wait(lambda: bob.agent.requests("NOTIFY"))[0]
    bob.agent.received.clear()
    bob.send(bob.agent.response(first, 200).to_bytes())
    notify = provider.agent.request(
        "NOTIFY",
        "sip:contactvoip@203.0.113.11:5060",
        "<sip:4420@sip.voip.test>",
        ["Event: message-summary", "Content-Type: application/simple-message-summary"],
        b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n",
    )
    provider.send(notify.to_bytes())
    got = world.wait(lambda: bob.agent.requests("NOTIFY"))[0]
    assert (got.body, got.get("call-id")) == (notify.body, first.get("call-id"))
    assert world.wait(lambda: provider.agent.final(notify)).status == 200
    assert world.control.summaries == {f"bob@{DOMAIN}": notify.body.decode()}


def test_tokens_of_one_call_are_of_no_use_in_another(world, provider, alice):
    _, dialog, _, other = answered(world, alice, provider)
    forged = Dialog("another-call", dialog.local, dialog.remote, dialog.target, dialog.routes)
    bye = alice.agent.in_dialog(forged, "BYE")
    alice.send(bye.to_bytes())
    assert world.wait(lambda: alice.agent.final(bye)).status == 403
    forged = Dialog("another-call", other.local, other.remote, other.target, [])
    bye = provider.agent.in_dialog(forged, "BYE")
    provider.send(bye.to_bytes())
    assert world.wait(lambda: provider.agent.final(bye)).status == 481


def test_a_route_to_a_provider_is_of_use_in_its_call_only(world, provider, alice):
    """Whoever has the token may not ask for what he likes in the account's name."""
    _, dialog, _, _ = answered(world, alice, provider)
    world.run(1)
    before = len(provider.agent.received)
    for cseq, method, target, remote, status in (
        (50, "INVITE", "sip:+1900@sip.voip.test", dialog.remote, 481),
        (60, "REGISTER", dialog.target, dialog.remote, 405),
        (70, "MESSAGE", dialog.target, dialog.remote, 405),
        (80, "INVITE", dialog.target, "<sip:x@y>;tag=another", 403),
    ):
        forged = Dialog(dialog.call_id, dialog.local, remote, target, dialog.routes, cseq)
        request = alice.agent.in_dialog(forged, method)
        alice.send(request.to_bytes())
        assert world.wait(lambda request=request: alice.agent.final(request)).status == status, method
    assert len(provider.agent.received) == before


def test_every_message_to_a_provider_has_one_content_length(world, provider, alice):
    uri = f"sip:02079460000@{DOMAIN}"
    invite = alice.agent.request("INVITE", uri, headers=[f"Contact: {alice.agent.contact}"], body=b"v=0\r\n")
    invite.headers = [header for header in invite.headers if header[0] != "content-length"]
    alice.send(invite.to_bytes())
    challenge = world.wait(lambda: next(iter(alice.agent.responses("INVITE")), None))
    alice.send(alice.agent.authorize(invite, challenge).to_bytes())
    assert arrives(world, provider).values("content-length") == ["5"]


def test_what_names_the_phones_home_stays_there(world, provider, alice):
    lines = ["Reply-To: <sip:alice@10.0.0.9>", "Call-Info: <http://10.0.0.9/>", "X-Home: 10.0.0.9", "User-Agent: phone"]
    dial(world, alice, headers=lines)
    out = arrives(world, provider)
    assert b"10.0.0.9" not in out.to_bytes()
    assert out.get("user-agent") == "phone"


def test_patience_counts_from_each_attempt_and_a_cancel_waits_for_its_ringing(world, provider, alice):
    """The 100 and the 407 of the first attempt tell nothing of the second."""
    second = ProviderDouble(world, "198.51.100.2", "sip.second.test")
    assign(world, account("second", host="sip.second.test"), "edge-b")
    world.run(2)
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip", "second")),))
    take, challenge = provider.take, provider.challenge

    def trying_first(request, status, stale=""):
        provider.answer(make_response(request, 100))
        return challenge(request, status, stale)

    provider.challenge = trying_first
    provider.agent.take = lambda data: None if b"Proxy-Authorization" in data else take(data)
    begun = world.now
    dial(world, alice)
    arrives(world, second)
    assert world.now - begun < 6


def test_another_servers_challenge_is_a_new_one(world, alice):
    first = ProviderDouble(world, "198.51.100.1")
    second = ProviderDouble(world, "198.51.100.2")
    assign(world, account())
    world.run(2)
    invite = dial(world, alice)
    out = arrives(world, first)
    first.answer(first.agent.response(out, 503))
    other = arrives(world, second)
    assert f'nonce="{second.nonce}"' in other.get("proxy-authorization")
    second.answer(second.agent.response(other, 200))
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_a_late_answer_of_a_server_that_was_given_up_is_hung_up(world, alice):
    first = ProviderDouble(world, "198.51.100.1")
    second = ProviderDouble(world, "198.51.100.2")
    first.asks = second.asks = False
    assign(world, account())
    world.run(2)
    dial(world, alice)
    late = arrives(world, first)
    arrives(world, second)  # after 4 s of silence
    first.answer(first.agent.response(late, 200))
    assert arrives(world, first, "ACK").get("call-id") == late.get("call-id")
    bye = arrives(world, first, "BYE")
    assert (bye.uri, number_of(bye) > number_of(late)) == ("sip:4420@198.51.100.1:5060", True)


def test_a_cancel_while_accounts_are_fetched_ends_the_call(world, provider):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    world.restart("edge-a")
    invite = call_in(world, provider)
    world.run(0.5)
    provider.send(make_cancel(invite).to_bytes())
    assert world.wait(lambda: provider.agent.final(invite)).status == 487
    assign(world, account())
    world.run(5)
    assert not bob.agent.requests("INVITE")


def test_strangers_cannot_fill_the_memory_while_accounts_are_fetched(world, provider):
    world.restart("edge-a")
    for _ in range(1100):
        call_in(world, provider)

    def refused():
        return {item.get("call-id") for item in provider.agent.responses("INVITE") if item.status == 503}

    world.run(0.5)
    assert len(refused()) == 100
    world.run(5)
    assert len(refused()) == 1100


def test_transfers_of_calls_in_pass_where_the_account_says_so(world, provider):
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    assign(world, account(transfers=True, version=2))
    invite = call_in(world, provider)
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    assert world.wait(lambda: provider.agent.final(invite)).status == 200
    refer = bob.agent.in_dialog(bob.agent.callee_dialog(got, ok), "REFER", headers=["Refer-To: <sip:x@example.net>"])
    bob.send(refer.to_bytes())
    assert arrives(world, provider, "REFER")


def test_rubbish_in_tokens_and_numbers_is_refused_quietly(world, provider, alice):
    _, dialog, _, _ = answered(world, alice, provider)
    rubbish = dialog.target.replace("c.", "c.x")
    forged = Dialog(dialog.call_id, dialog.local, dialog.remote, rubbish, dialog.routes, 70)
    alice.send(alice.agent.in_dialog(forged, "ACK").to_bytes())
    bye = alice.agent.in_dialog(forged, "BYE")
    alice.send(bye.to_bytes())
    assert world.wait(lambda: alice.agent.final(bye)).status == 481
    prack = alice.agent.in_dialog(dialog, "PRACK", headers=[f"RAck: 1 {'9' * 5000} INVITE"])
    alice.send(prack.to_bytes())
    world.run(1)
    assert world.nodes["edge-b"].core.stack.counters["errors"] == 0


def test_a_providers_own_route_in_a_call_is_nothing_to_us(world, provider):
    """Kamailio 5.6.3 passes the outbound proxy of its own phones on to us, unless it is told to take it off."""
    bob = world.phone("bob")
    assert bob.register() == 200
    headers = ["Route: <sip:198.51.100.1;lr>", "Contact: <sip:gw@198.51.100.1>", "Content-Type: application/sdp"]
    invite = provider.agent.request("INVITE", provider.contact, headers=headers, body=SDP)
    provider.send(invite.to_bytes())
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    assert not got.values("route")


def test_a_call_in_wakes_a_phone_that_sleeps(world, provider):
    world.control.services = (PushService("fcm", scope="project"),)
    bob = world.phone("bob", "edge-b", transport="TCP")
    contact = "<sip:bob@10.0.0.9:5060;transport=tcp;pn-provider=fcm;pn-prid=x;pn-param=project>"
    assert bob.transact(bob.agent.register_request(3600, contact)).status == 200
    bob.disconnect()
    world.run(1)
    invite = call_in(world, provider)
    world.wait(lambda: world.control.pushes, 1)
    bob.connect()
    assert bob.transact(bob.agent.register_request(3600, contact)).status == 200
    got = world.wait(lambda: bob.agent.requests("INVITE"), 1)[0]
    bob.send(bob.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(invite), 1).status == 200
