"""Phones in browsers: JsSIP and SIP.js as they behave on a WebSocket (RFC 7118)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from edge.sip.headers import NameAddr, tag_of
from edge.sip.transaction.client import make_cancel
from lambdas.contract import BindingReport
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.rules import Plan
from tests.scenarios.test_calls import answered_call
from tests.scenarios.test_crossings import first
from tests.support.agent import SDP
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

WEB = f"web@{DOMAIN}"
_loads = itertools.count(1)


@pytest.fixture
def world() -> World:
    made = World()
    made.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    return made


@pytest.fixture
def alice(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    return phone


class Page:
    """One load of a web page with a phone in it: ``jssip`` names an instance, SIP.js doesn't."""

    def __init__(self, world, edge="edge-b", jssip=True, transport="WSS"):
        self.world = world
        self.phone = world.phone("web", edge, transport)
        name = f"Rnd{next(_loads)}"
        self.contact = f"sip:{name}@{name}.INVALID;transport=ws"
        self.phone.agent.host = f"{name}.invalid"
        if jssip:
            self.phone.agent.instance = f"urn:uuid:{name}"
        agent = self.phone.agent
        agent.__class__ = type("InBrowser", (type(agent),), {"contact": property(lambda _: f"<{self.contact}>")})

    def register(self, expires=600):
        request = self.phone.agent.register_request(expires, headers=["Supported: path, gruu, outbound"])
        return self.phone.transact(request)

    def reconnects(self, after, registers=True):
        """Its connection ends, and it is back after a while."""
        self.phone.disconnect()

        def back():
            self.phone.public = (self.phone.public[0], self.phone.public[1] + 1000)
            self.phone.connect()
            if registers:
                request = self.phone.agent.register_request(600)
                self.phone.send(request.to_bytes())
                self.world.after(0.1, lambda: self._authorize(request))

        self.world.after(after, back)

    def _authorize(self, request):
        challenge = self.phone.agent.final(request)
        self.phone.send(self.phone.agent.authorize(request, challenge).to_bytes())


@pytest.fixture
def page(world):
    made = Page(world)
    assert made.register().status == 200
    return made


def listed(response):
    return [NameAddr.parse(value).uri for value in response.values("contact")]


def call(caller, headers=()):
    return caller.start_call(f"sip:{WEB}", list(headers))


def final(world, caller, invite):
    return world.wait(lambda: caller.agent.final(invite))


# Registering


def test_the_contact_just_registered_is_listed_as_it_was_written(world):
    page = Page(world)
    assert listed(page.register()) == [page.contact]
    assert "INVALID" in page.contact
    assert listed(page.register()) == [page.contact]  # by its grant


def test_requests_reach_it_by_the_contact_byte_for_byte(world, alice, page):
    call(alice)
    assert first(world, page.phone, "INVITE").uri == page.contact


def test_too_short_a_time_is_answered_with_what_is_the_shortest(world):
    response = Page(world).register(10)
    assert (response.status, response.get("min-expires")) == (423, "60")


@pytest.mark.parametrize("jssip", [True, False])
@pytest.mark.parametrize("noticed", [True, False])
def test_a_new_connection_takes_the_place_of_the_old_one(world, alice, jssip, noticed):
    """Also where nobody has noticed yet that the old one is dead."""
    page = Page(world, jssip=jssip)
    assert page.register().status == 200
    old = page.phone.connection
    if noticed:
        page.phone.disconnect()
    page.phone.public = (page.phone.public[0], page.phone.public[1] + 1000)
    page.phone.connect()
    response = page.register()
    assert listed(response) == [page.contact]
    assert [item.flow for item in world.control.items.values() if item.aor == WEB and not item.removed] == [
        page.phone.connection.wire
    ]
    assert old != page.phone.connection
    call(alice)
    world.run(1)
    assert len(page.phone.agent.requests("INVITE")) == 1


@pytest.mark.parametrize("jssip", [True, False])
def test_a_page_that_is_loaded_again_leaves_nothing_behind(world, alice, jssip):
    """Each load has another Contact, and another instance."""
    pages = []
    for _ in range(12):
        pages.append(Page(world, jssip=jssip))
        assert pages[-1].register().status == 200
        world.run(1)
        pages[-1].phone.disconnect()
    page = Page(world, jssip=jssip)
    assert page.register().status == 200
    call(alice)
    assert first(world, page.phone, "INVITE")
    assert not any(one.phone.agent.requests("INVITE") for one in pages)
    world.run(40)
    reports = [one for one in world.control.reports if isinstance(one, BindingReport) and not one.expires]
    assert reports
    now = world.control.clock()
    assert [item.contact for item in world.control.items.values() if item.aor == WEB and item.live(now)] == [
        page.contact
    ]


def test_sip_js_refreshes_at_the_last_moment(world, alice):
    page = Page(world, jssip=False)
    assert page.register(60).status == 200
    asked = len(world.control.questions)
    for _ in range(5):
        world.run(59.4)
        assert page.register(60).status == 200
    assert len(world.control.questions) == asked
    world.run(62)  # and is late once
    call(alice)
    assert first(world, page.phone, "INVITE")
    assert listed(page.register(60)) == [page.contact]


def test_requests_by_the_service_route_are_taken(world, alice, page):
    """RFC 3608: of phones that look after their connection; others may find another edge by DNS."""
    ok = [one for one in page.phone.agent.responses("REGISTER") if one.status == 200][-1]
    route = ok.get("service-route")
    address = world.nodes["edge-b"].address
    assert route == f"<sip:{address}:5060;transport=ws;lr>"
    page.phone.start_call(f"sip:alice@{DOMAIN}", [f"Route: {route}"])
    assert not first(world, alice, "INVITE").values("route")
    other = [one for one in alice.agent.responses("REGISTER") if one.status == 200][-1]
    assert other.get("service-route") is None


# The gap between two connections


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize(("jssip", "after"), [(True, 2.0), (False, 5.1)])
def test_a_call_in_the_gap_waits_for_the_phone(world, alice, edge, jssip, after):
    page = Page(world, edge, jssip)
    assert page.register().status == 200
    page.reconnects(after)
    world.run(0.2)
    invite = call(alice)
    world.run(0.5)
    assert alice.agent.statuses("INVITE", invite.get("call-id"))[-1] == 100
    got = first(world, page.phone, "INVITE")
    page.phone.send(page.phone.agent.response(got, 200).to_bytes())
    assert final(world, alice, invite).status == 200


def test_where_the_phone_is_back_at_this_edge_nobody_waits_longer(world, alice):
    page = Page(world, "edge-a")
    assert page.register().status == 200
    page.reconnects(2.0)
    begun = world.now
    call(alice)
    first(world, page.phone, "INVITE")
    assert world.now - begun < 3.2


def test_one_that_does_not_come_back_is_not_registered(world, alice, page):
    page.phone.disconnect()
    begun = world.now
    invite = call(alice)
    answer = final(world, alice, invite)
    assert (answer.status, answer.reason) == (480, "Temporarily Unavailable: not registered")
    assert 5 < world.now - begun < 7
    begun = world.now
    assert final(world, alice, call(alice)).status == 480
    assert world.now - begun < 0.5


def test_whoever_gives_up_meanwhile_is_answered_at_once(world, alice, page):
    page.reconnects(2.0)
    invite = call(alice)
    world.run(0.5)
    alice.send(make_cancel(invite).to_bytes())
    assert final(world, alice, invite).status == 487
    world.run(10)
    assert not page.phone.agent.requests("INVITE")


def test_another_phone_of_the_account_rings_at_once(world, alice, page):
    other = world.phone("web")
    assert other.register() == 200
    page.phone.disconnect()
    begun = world.now
    call(alice)
    first(world, other, "INVITE")
    assert world.now - begun < 0.5


def test_phones_with_other_connections_are_not_waited_for(world, alice):
    page = Page(world, transport="TLS")
    assert page.register().status == 200
    page.phone.disconnect()
    begun = world.now
    assert final(world, alice, call(alice)).status == 480
    assert world.now - begun < 0.5


def test_without_the_control_plane_too(world, alice):
    page = Page(world, "edge-a")
    assert page.register().status == 200
    world.control.dark = True
    page.reconnects(2.0)
    invite = call(alice)
    got = first(world, page.phone, "INVITE")
    page.phone.send(page.phone.agent.response(got, 200).to_bytes())
    assert final(world, alice, invite).status == 200


def test_a_plan_waits_before_it_goes_on(world, alice, page):
    """To voicemail, say."""
    mailbox = world.phone("mailbox")
    assert mailbox.register() == 200
    ring = {"name": "ring", "ring": {"legs": [{"account": WEB}], "timeout": 20}}
    then = {"name": "then", "ring": {"legs": [{"account": f"mailbox@{DOMAIN}"}], "timeout": 20}}
    world.control.plans["web"] = Plan.model_validate({"rules": [ring, then]})
    world.control.accounts[WEB] = replace(world.control.accounts[WEB], plan="web")
    page.reconnects(2.0)
    call(alice)
    assert first(world, page.phone, "INVITE")
    assert not mailbox.agent.requests("INVITE")


def test_a_providers_call_waits(world):
    provider = ProviderDouble(world)
    assign(world, account(incoming=(WEB,)))
    world.run(2)
    page = Page(world)
    assert page.register().status == 200
    page.reconnects(2.0)
    invite = provider.agent.request(
        "INVITE", provider.contact, headers=[f"Contact: {provider.agent.contact}"], body=SDP
    )
    provider.send(invite.to_bytes())
    assert first(world, page.phone, "INVITE")


# Connections that are dead without a sign


def test_one_that_does_not_say_100_is_not_there(world, alice, page):
    begun = world.now
    invite = call(alice)
    first(world, page.phone, "INVITE")
    assert final(world, alice, invite).status == 480
    assert 3.5 < world.now - begun < 5


def test_one_that_says_100_may_take_its_time(world, alice, page):
    """SIP.js answers only once it has looked for ways for its media."""
    invite = call(alice)
    got = first(world, page.phone, "INVITE")
    page.phone.send(page.phone.agent.response(got, 100).to_bytes())
    world.run(30)
    page.phone.send(page.phone.agent.response(got, 200).to_bytes())
    assert final(world, alice, invite).status == 200


def test_of_phones_elsewhere_nobody_expects_that(world, alice):
    bob = world.phone("bob", "edge-b", transport="TCP")
    assert bob.register() == 200
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = first(world, bob, "INVITE")
    world.run(20)
    bob.send(bob.agent.response(got, 200).to_bytes())
    assert final(world, alice, invite).status == 200


# Telephone numbers


TEL = "tel:+44-20-7946-0111;phone-context=+44"
AS_SIP = f"sip:+442079460111@{DOMAIN};user=phone"


def with_tel(message, from_=False):
    """``message`` as phones write it that dial ``tel:``."""
    for index, (key, line) in enumerate(message.headers):
        if key == "to":
            message.headers[index] = (key, line.replace(f"sip:{WEB}", TEL))
        elif key == "from" and from_:
            message.headers[index] = (key, line.replace(f"<sip:alice@{DOMAIN}>", f'"Al" <{TEL}>'))
    return message


def test_a_number_in_to_is_a_sip_uri_there_and_comes_back_as_it_was(world, alice, page):
    invite = alice.agent.invite_request(f"sip:{WEB}")
    dialog = None
    for _ in range(2):
        with_tel(invite)
        alice.send(invite.to_bytes())
        answer = world.wait(lambda invite=invite: alice.agent.final(invite) or page.phone.agent.requests("INVITE"))
        if not isinstance(answer, list):
            alice.ack_refusal(invite, answer)
            invite = alice.agent.authorize(invite, answer)
    (got,) = page.phone.agent.requests("INVITE")
    assert got.get("to") == f"<{AS_SIP}>"
    assert got.uri == page.contact
    ok = page.phone.agent.response(got, 200)
    page.phone.send(ok.to_bytes())
    answer = final(world, alice, invite)
    assert answer.get("to") == f"<{TEL}>;tag=tag-web"
    dialog = alice.agent.caller_dialog(invite, answer)
    assert TEL in dialog.remote
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    assert first(world, page.phone, "ACK").get("to") == f"<{AS_SIP}>;tag=tag-web"
    info = alice.agent.in_dialog(dialog, "INFO")
    alice.send(info.to_bytes())
    got = first(world, page.phone, "INFO")
    assert got.get("to") == f"<{AS_SIP}>;tag=tag-web"
    page.phone.send(page.phone.agent.response(got, 200).to_bytes())
    assert final(world, alice, info).get("to") == info.get("to")
    theirs = page.phone.agent.callee_dialog(page.phone.agent.requests("INVITE")[0], ok)
    bye = page.phone.agent.in_dialog(theirs, "BYE")
    page.phone.send(bye.to_bytes())
    got = first(world, alice, "BYE")
    alice.send(alice.agent.response(got, 200).to_bytes())
    assert final(world, page.phone, bye).status == 200


def test_other_phones_get_what_was_written(world, alice):
    bob = world.phone("web", "edge-b")
    assert bob.register() == 200
    invite = with_tel(alice.agent.invite_request(f"sip:{WEB}"))
    alice.send(invite.to_bytes())
    challenge = final(world, alice, invite)
    alice.ack_refusal(invite, challenge)
    alice.send(with_tel(alice.agent.authorize(invite, challenge)).to_bytes())
    assert first(world, bob, "INVITE").get("to") == f"<{TEL}>"


@pytest.mark.parametrize(
    ("written", "there"),
    [
        (f'"A <b>" <{TEL}>;tag=1', f'"A <b>" <{AS_SIP}>;tag=1'),
        ("tel:+442079460111;tag=1", f"<{AS_SIP}>;tag=1"),
        ("TEL:+442079460111;tag=1", f"<{AS_SIP}>;tag=1"),
        ("<sip:tel@x.example>;tag=1", "<sip:tel@x.example>;tag=1"),
        ('"tel:1" <sip:1@x.example>;tag=1', '"tel:1" <sip:1@x.example>;tag=1'),
    ],
)
def test_of_whoever_calls_from_outside_too(world, written, there):
    provider = ProviderDouble(world)
    assign(world, account(incoming=(WEB,)))
    world.run(2)
    page = Page(world)
    assert page.register().status == 200
    invite = provider.agent.request(
        "INVITE", provider.contact, f"<{TEL}>", [f"Contact: {provider.agent.contact}"], SDP, from_=written
    )
    provider.send(invite.to_bytes())
    got = first(world, page.phone, "INVITE")
    assert got.get("from") == there
    assert got.get("to") == f"<{AS_SIP}>"
    ok = page.phone.agent.response(got, 200)
    page.phone.send(ok.to_bytes())
    answer = world.wait(lambda: provider.agent.final(invite))
    assert (answer.get("from"), answer.get("to")) == (written, f"<{TEL}>;tag=tag-web")
    bye = page.phone.agent.in_dialog(page.phone.agent.callee_dialog(got, ok), "BYE")
    page.phone.send(bye.to_bytes())
    out = world.wait(lambda: provider.agent.requests("BYE"))[0]
    assert tag_of(out.get("to")) == "1"  # by which a dialog is known


# Session timers (RFC 4028)


def test_updates_pass(world, alice, page):
    dialog, got = answered_call(world, alice, page.phone, f"sip:{WEB}")
    update = alice.agent.in_dialog(dialog, "UPDATE", headers=["Session-Expires: 90;refresher=uac", "Supported: timer"])
    alice.send(update.to_bytes())
    there = first(world, page.phone, "UPDATE")
    assert there.get("session-expires") == "90;refresher=uac"
    page.phone.send(page.phone.agent.response(there, 405).to_bytes())
    assert final(world, alice, update).status == 405
