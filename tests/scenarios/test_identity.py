"""Who calls is said by the credentials; whom they are shown to, by Privacy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.sip.headers import NameAddr
from lambdas.contract import CallAnswered, CallFailed, RouteQuestion
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.rules import Plan
from tests.support.agent import SDP, unique
from tests.support.world import DOMAIN, World

ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'


@pytest.fixture
def world():
    return World()


@pytest.fixture
def pair(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    return alice, bob


def dial(phone, uri=f"sip:bob@{DOMAIN}", sender="", headers=()):
    """An INVITE through its challenge; the last one."""
    invite = phone.agent.request(
        "INVITE",
        uri,
        headers=[f"Contact: {phone.agent.contact}", *headers],
        body=SDP,
        from_=f"{sender or f'<{phone.agent.aor}>'};tag={unique('f')}",
    )
    phone.send(invite.to_bytes())
    world = phone.world
    challenge = world.wait(lambda: next(iter(phone.agent.responses("INVITE", invite.get("call-id"))), None))
    if challenge.status != 407:
        return invite
    phone.ack_refusal(invite, challenge)
    invite = phone.agent.authorize(invite, challenge)
    phone.send(invite.to_bytes())
    return invite


def arrives(phone, method="INVITE"):
    return phone.world.wait(lambda: next(iter(phone.agent.requests(method)), None))


def refusal(phone, invite):
    return phone.world.wait(lambda: phone.agent.final(invite))


UNNAMED = {
    "anonymous": ANONYMOUS,
    "anonymous of ours": f"<sip:Anonymous@{DOMAIN}>",
    "no user": f"<sip:{DOMAIN}>",
    "tel": "<tel:+442079460000>",
    "own address": "<sip:erin@10.0.0.9:5060>",
    "public address": "<sip:erin@192.0.2.1>",
    "elsewhere": "<sip:boss@bank.example>",
}


@pytest.mark.parametrize("sender", UNNAMED.values(), ids=UNNAMED)
def test_from_may_name_nobody_of_ours(world, pair, sender):
    alice, bob = pair
    invite = dial(alice, sender=sender)
    got = arrives(bob)
    question = next(one for one in world.control.questions if isinstance(one, RouteQuestion))
    assert question.caller == f"alice@{DOMAIN}"
    assert question.withheld == ("nonymous" in sender)
    shown = got.values("p-asserted-identity")
    assert shown == ([] if question.withheld else [f"<sip:alice@{DOMAIN}>"])
    if question.withheld:
        assert b"alice" not in got.to_bytes().replace(b"Call-ID: " + got.get("call-id").encode(), b"")
    bob.send(bob.agent.response(got, 486).to_bytes())
    assert refusal(alice, invite).status == 486
    world.run(1)
    (record,) = (one for one in world.control.reports if isinstance(one, CallFailed))
    assert (record.caller, record.called) == (f"alice@{DOMAIN}", f"bob@{DOMAIN}")


def test_who_names_himself_is_shown_as_ever(world, pair):
    alice, bob = pair
    dial(alice)
    got = arrives(bob)
    assert not got.values("p-asserted-identity")
    assert got.get("from").startswith(f"<sip:alice@{DOMAIN}>")


def test_whoever_names_another_account_lies(world, pair):
    alice, bob = pair
    for sender in (f"<sip:bob@{DOMAIN}>", "<sip:carol@alias.example>", "<sip:%62ob@203.0.113.11>"):
        answer = refusal(alice, dial(alice, sender=sender))
        assert (answer.status, "another account's" in answer.reason) == (403, True)
    assert not bob.agent.requests("INVITE")


def test_strangers_with_such_a_from_get_a_challenge_and_nothing_else(world, pair):
    _, bob = pair
    world.control.add("mallory", "other")
    mallory = world.phone("mallory")
    mallory.agent.password = "guessed"
    asked = len(world.control.questions)
    for sender in UNNAMED.values():
        assert refusal(mallory, dial(mallory, sender=sender)).status in (403, 407)
    assert all(one.caller == f"mallory@{DOMAIN}" for one in world.control.questions[asked:])
    assert refusal(mallory, dial(mallory, "sip:x@other.example", ANONYMOUS)).status == 403
    assert not bob.agent.requests("INVITE")


def test_a_phone_that_isnt_registered_may_be_anonymous_where_the_uri_says_whose_it_is(world, pair):
    _, bob = pair
    carol = world.phone("carol")
    dial(carol, sender=ANONYMOUS)
    assert arrives(bob)


def test_a_phone_without_dns_that_names_its_own_address(world, pair):
    alice, bob = pair
    dial(alice, "sip:bob@203.0.113.11", "<sip:alice@10.0.0.9>")
    assert arrives(bob).values("p-asserted-identity") == [f"<sip:alice@{DOMAIN}>"]
    carol = world.phone("carol")  # not registered: nobody knows whose it would be
    assert refusal(carol, dial(carol, "sip:bob@203.0.113.11", "<sip:carol@10.0.0.9>")).status in (404, 503)


def qualified(phone, algorithm="MD5"):
    """Have it send ``user@domain`` as user name, and register; the final status."""
    agent = phone.agent
    user, agent.username, agent.algorithm = agent.username, f"{agent.username}@{DOMAIN}", algorithm
    who, contact = f"<sip:{user}@{DOMAIN}>", f"Contact: <sip:{user}@10.0.0.9:5060>"
    request = agent.request("REGISTER", f"sip:{DOMAIN}", who, [contact], from_=f"{who};tag=r", cseq=9)
    return phone.transact(request).status


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_user_names_with_the_domain(world, algorithm):
    """HA1 is made of what the phone sends (RFC 7616 §3.4.2)."""
    dave, erin = world.phone("dave"), world.phone("erin", "edge-b")
    assert qualified(dave, algorithm) == qualified(erin, algorithm) == 200
    dial(dave, f"sip:erin@{DOMAIN}", f"<sip:dave@{DOMAIN}>")
    assert arrives(erin)
    erin.agent.received.clear()
    # The edge knows it by the grant, with no control plane.
    world.control.dark = True
    world.run(1)
    dial(dave, f"sip:erin@{DOMAIN}", f"<sip:dave@{DOMAIN}>")
    assert arrives(erin)


def test_a_password_of_before_is_good_without_the_domain_only(world):
    dave = world.phone("dave")
    aor = f"dave@{DOMAIN}"
    world.control.accounts[aor] = replace(world.control.accounts[aor], ha1_md5_qualified="", ha1_sha256_qualified="")
    assert dave.register() == 200
    assert qualified(dave) == 403


@pytest.mark.parametrize(
    "uri", ["tel:+44-20-7946-0000", "tel:02079460000;phone-context=+44", f"sip:+442079460000;npdi@{DOMAIN}"]
)
def test_a_number_is_called_however_it_is_written(world, pair, uri):
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("none",)),))
    alice, _ = pair
    assert "no provider takes this number" in refusal(alice, dial(alice, uri)).reason
    (question,) = (one for one in world.control.questions if isinstance(one, RouteQuestion))
    assert question.called in (f"+442079460000@{DOMAIN}", f"+4402079460000@{DOMAIN}")
    assert dial(alice, f"tel:101;phone-context={DOMAIN}")
    world.run(1)
    assert world.control.questions[-1].called == f"101@{DOMAIN}"


def test_an_account_with_a_parameter_is_another_name(world, pair):
    alice, bob = pair
    assert "no such account" in refusal(alice, dial(alice, f"sip:bob;x=y@{DOMAIN}")).reason
    assert not bob.agent.requests("INVITE")


def test_an_address_elsewhere_is_said_to_be_elsewhere(world, pair):
    alice, _ = pair
    for uri in ("sip:x@example.org", "sip:+442079460000@example.org"):
        answer = refusal(alice, dial(alice, uri))
        assert answer.status == 404
        assert answer.reason == "Not Found: example.org is neither a domain nor a provider of this service"


# Privacy between phones


@pytest.mark.parametrize("wish", ["id", "user", "header", "id;critical"])
def test_nothing_of_a_whole_call_says_who_has_made_it(world, pair, wish):
    alice, bob = pair
    heard: list[bytes] = []
    take = bob.agent.take
    bob.agent.take = lambda data: (heard.append(data), take(data))[1]
    lines = [
        f"Privacy: {wish}",
        "Organization: Alice Ltd",
        "Call-Info: <http://x.test/alice.png>",
        "Reply-To: <sip:alice@x.test>",
        "Referred-By: <sip:alice@x.test>",
        "Subject: alice here",
        "User-Agent: alice's telephone",
    ]
    invite = dial(alice, headers=lines)
    got = arrives(bob)
    assert got.get("from").startswith(ANONYMOUS)
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    final = refusal(alice, invite)
    assert final.status == 200
    assert final.get("from") == invite.get("from")
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    assert arrives(bob, "ACK").get("from") == got.get("from")
    bob.agent.received.clear()
    # Either side goes on, after both edges were started anew.
    world.run(1)
    world.restart("edge-a")
    world.restart("edge-b")
    again = alice.agent.in_dialog(dialog, "INVITE", SDP)
    alice.send(again.to_bytes())
    reinvite = arrives(bob)
    assert reinvite.get("from") == got.get("from")
    bob.send(bob.agent.response(reinvite, 200).to_bytes())
    final = refusal(alice, again)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    other = bob.agent.callee_dialog(got, ok)
    update = bob.agent.in_dialog(other, "INVITE", SDP)
    bob.send(update.to_bytes())
    theirs = arrives(alice)
    assert theirs.uri == "sip:alice@10.0.0.9:5060"
    assert NameAddr.parse(theirs.get("to")).uri == f"sip:alice@{DOMAIN}"
    alice.send(alice.agent.response(theirs, 200).to_bytes())
    final = refusal(bob, update)
    assert final.get("to") == update.get("to")
    other.target = NameAddr.parse(final.get("contact")).uri
    bob.send(bob.agent.in_dialog(other, "ACK").to_bytes())
    assert arrives(alice, "ACK").uri == "sip:alice@10.0.0.9:5060"
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    bob.send(bob.agent.response(arrives(bob, "BYE"), 200).to_bytes())
    assert refusal(alice, bye).status == 200
    world.run(1)
    (record,) = (one for one in world.control.reports if isinstance(one, CallAnswered))
    assert record.caller == f"alice@{DOMAIN}"
    for data in heard:
        assert b"alice" not in data.lower(), data


def test_a_second_privacy_header_field_counts(world, pair):
    alice, bob = pair
    invite = dial(alice, headers=["Privacy: session", "Privacy: id"])
    got = arrives(bob)
    assert got.get("from").startswith(ANONYMOUS)
    assert "alice" not in got.get("contact")
    bob.send(bob.agent.response(got, 200, headers=["Privacy: session", "Privacy: id"]).to_bytes())
    assert "bob" not in refusal(alice, invite).get("contact")


def test_whoever_is_called_may_be_hidden_too(world, pair):
    """In a call that goes on to somebody else the caller sees only whom he has called."""
    alice, bob = pair
    invite = dial(alice)
    got = arrives(bob)
    ringing = bob.agent.response(got, 180, headers=["P-Asserted-Identity: <sip:boss@example.com>"])
    ringing.headers = [
        ("p-asserted-identity", line) if "boss" in line else (key, line) for key, line in ringing.headers
    ]
    bob.send(ringing.to_bytes())
    ok = bob.agent.response(got, 200)
    ok.headers[1:1] = [("privacy", "Privacy: id"), ("organization", "Organization: Bob Ltd")]
    bob.send(ok.to_bytes())
    final = refusal(alice, invite)
    assert all(not one.values("p-asserted-identity") for one in alice.agent.responses("INVITE"))
    assert not final.values("organization")
    assert "bob@10.0.0.9" not in final.get("contact")
    dialog = alice.agent.caller_dialog(invite, final)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    assert arrives(bob, "ACK").uri == "sip:bob@10.0.0.9:5060"


def test_a_redirection_by_somebody_hidden_still_leads_somewhere(world, pair):
    alice, bob = pair
    invite = dial(alice)
    moved = bob.agent.response(arrives(bob), 302)
    moved.headers += [("privacy", "Privacy: id"), ("contact", f"Contact: <sip:carol@{DOMAIN}>")]
    bob.send(moved.to_bytes())
    assert refusal(alice, invite).values("contact") == [f"<sip:carol@{DOMAIN}>"]


def test_privacy_none_is_no_privacy(world, pair):
    alice, bob = pair
    dial(alice, headers=["Privacy: none"])
    got = arrives(bob)
    assert got.get("from").startswith(f"<sip:alice@{DOMAIN}>")
    assert got.get("contact") == alice.agent.contact


@pytest.mark.parametrize("wish", ["header;critical", "session;id;critical"])
def test_what_cannot_be_hidden_is_not_called_where_that_is_critical(world, pair, wish):
    """RFC 3323 §5."""
    alice, bob = pair
    answer = refusal(alice, dial(alice, headers=[f"Privacy: {wish}"]))
    assert answer.status == 500
    assert "Privacy" in answer.reason or "privacy" in answer.reason
    assert not bob.agent.requests("INVITE")


def test_a_plan_sees_an_account_that_hides_as_anonymous(world, pair):
    rules = [
        {"name": "who is it", "when": {"caller": ["anonymous"]}, "reject": {"status": 433}},
        {"name": "others", "as_dialled": True},
    ]
    world.control.plans["office"] = Plan.model_validate({"rules": rules})
    bob = f"bob@{DOMAIN}"
    world.control.accounts[bob] = replace(world.control.accounts[bob], plan="office")
    alice, _ = pair
    assert refusal(alice, dial(alice, sender=ANONYMOUS)).status == 433
    assert refusal(alice, dial(alice, headers=["Privacy: id"])).status == 433
    dial(alice)
    assert arrives(pair[1])
