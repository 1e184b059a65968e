"""What comes back as its sender spells it: phones and providers write URIs of ours anew, with other escapes in the user
part (RFC 3261 §19.1.4), the parameters in another order. Everything that we want back is then still ours."""

from __future__ import annotations

import random
import re

import pytest

from edge.proxy.stack.events import HangUp
from edge.sip.headers import NameAddr
from edge.sip.message import make_response
from edge.sip.uri import Uri
from lambdas.contract import AccessQuestion, CallAnswered, CallEnded, ProviderReport
from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.scenarios.test_calls import answered_call, hang_up
from tests.scenarios.test_plan_calls import open_call
from tests.scenarios.test_provider_calls import answered, arrives, call_in
from tests.support.agent import SDP, Agent
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import World

_OURS = re.compile(r"(sips?):([^@<>\s;]+)@(203\.0\.113\.1[12])(:\d+)?((?:;[^;?>,\s]+)*)")
TENANT = "t0123456789ab"
_WRITTEN_ANEW = ("route", "record-route", "contact")


def spelled_anew(text: str, dice: random.Random) -> str:
    """The same URIs in other words: some of their letters escaped, in either case, and the parameters shuffled."""

    def escaped(letter: str) -> str:
        code = f"%{ord(letter):02x}"
        return dice.choice((letter, letter, code, code.upper()))

    def again(found: re.Match[str]) -> str:
        scheme, user, host, port, params = found.groups()
        parts = params.split(";")[1:]
        shuffled = dice.sample(parts, len(parts))
        return f"{scheme}:{''.join(map(escaped, user))}@{host}{port or ''}{''.join(f';{part}' for part in shuffled)}"

    return _OURS.sub(again, text)


@pytest.fixture
def world() -> World:
    made = World()
    for name in ("alice", "bob"):  # of a tenant whose calls are recorded
        made.control.add(name, f"pw-{name}", TENANT)
    return made


@pytest.fixture(params=range(4))
def dice(request) -> random.Random:
    return random.Random(request.param)


def spells_anew(agent: Agent, dice: random.Random) -> None:
    """From now on ``agent`` writes what it was told of ours in words of its own, and nothing as it came. As a phone
    does, it computes its credentials over what it writes."""
    response, in_dialog = agent.response, agent.in_dialog

    def own_words(message):
        message.headers = [
            (key, spelled_anew(line, dice) if key in _WRITTEN_ANEW else line) for key, line in message.headers
        ]
        return message

    def respond(*args, **kwargs):
        return own_words(response(*args, **kwargs))

    def request(*args, **kwargs):
        message = own_words(in_dialog(*args, **kwargs))
        message.uri = spelled_anew(message.uri, dice)
        return message

    agent.response, agent.in_dialog = respond, request  # type: ignore[method-assign]


def ask(world, one, dialog, other, method="INVITE"):
    """A request in the dialog and its answer."""
    other.agent.received.clear()
    request = one.agent.in_dialog(dialog, method)
    one.send(request.to_bytes())
    got = world.wait(lambda: other.agent.requests(method))[0]
    other.send(other.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: one.agent.final(request)).status == 200
    if method == "INVITE":
        one.send(one.agent.in_dialog(dialog, "ACK").to_bytes())
        world.wait(lambda: other.agent.requests("ACK"))
    return got


def test_it_is_another_spelling_of_the_same(dice):
    text = "<sip:MPerdgVbguZ3dWJ6oV8tQDAm9@203.0.113.11:5060;transport=tcp;lr>"
    anew = spelled_anew(text, dice)
    assert "%" in anew
    assert Uri.parse(NameAddr.parse(anew).uri)[:4] == Uri.parse(NameAddr.parse(text).uri)[:4]
    assert "%" not in spelled_anew("<sip:alice@192.0.2.1;lr>", dice)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("whose", ["the caller", "the called one", "both"])
def test_a_call_between_phones(world, dice, whose, transport):
    alice, bob = world.phone("alice", "edge-a", transport), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    for phone, name in ((alice, "the caller"), (bob, "the called one")):
        if whose in (name, "both"):
            spells_anew(phone.agent, dice)
    for ends in (0, 1):
        dialogs = answered_call(world, alice, bob)
        for side, one, other in ((0, alice, bob), (1, bob, alice)):
            ask(world, one, dialogs[side], other)
            ask(world, one, dialogs[side], other, "REFER")
        one, other = ((alice, bob), (bob, alice))[ends]
        other.agent.received.clear()
        hang_up(world, one, dialogs[ends], other)
    world.run(1)
    assert [report.by for report in world.control.reports if isinstance(report, CallEnded)] == ["caller", "called"]


def test_a_phone_that_moves_shows_who_it_is_in_its_own_words(world, dice):
    alice, bob = world.phone("alice", "edge-a"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    spells_anew(bob.agent, dice)
    _, dialog = answered_call(world, alice, bob)
    bob.public = ("192.0.2.77", 40000)
    world.phones[bob.public] = bob
    again = bob.agent.in_dialog(dialog, "INVITE")
    bob.send(again.to_bytes())
    challenge = world.wait(lambda: bob.agent.final(again))
    assert challenge.status == 407
    bob.ack_refusal(again, challenge)
    authorized = bob.agent.authorize(again, challenge)
    authorized.uri = spelled_anew(again.uri, dice)  # the digest is over another spelling
    bob.send(authorized.to_bytes())
    assert world.wait(lambda: alice.agent.requests("INVITE"))


def test_the_service_ends_a_call_whose_routes_came_back_respelled(world, dice):
    alice, bob = world.phone("alice", "edge-a"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    spells_anew(bob.agent, dice)
    answered_call(world, alice, bob)
    world.run(1)
    (report,) = (report for report in world.control.reports if isinstance(report, CallAnswered))
    world.nodes["edge-a"].handle(HangUp([open_call(report)]))
    for phone in (alice, bob):
        assert world.wait(lambda phone=phone: phone.agent.requests("BYE"))


# Through providers


@pytest.fixture
def provider(world) -> ProviderDouble:
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    made = ProviderDouble(world)
    assign(world, account(tenant=TENANT))
    world.run(2)
    return made


@pytest.mark.parametrize("restarted", [False, True])
def test_a_call_out_through_a_provider(world, provider, dice, restarted):
    alice = world.phone("alice", "edge-b")
    assert alice.register() == 200
    spells_anew(alice.agent, dice)
    spells_anew(provider.agent, dice)
    _, dialog, _, other = answered(world, alice, provider)
    assert world.wait(lambda: provider.agent.requests("ACK"))
    if restarted:  # the password has to be asked for, in the way's name
        world.restart("edge-b")
        world.run(1)
    provider.nonce = "another"
    reinvite = alice.agent.in_dialog(dialog, "INVITE", SDP)
    alice.send(reinvite.to_bytes())
    got = arrives(world, provider, number=1)
    provider.answer(provider.agent.response(got, 200))
    assert world.wait(lambda: alice.agent.final(reinvite)).status == 200
    theirs = provider.agent.in_dialog(other, "UPDATE")
    provider.send(theirs.to_bytes())
    alice.send(alice.agent.response(world.wait(lambda: alice.agent.requests("UPDATE"))[0], 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(theirs)).status == 200
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    provider.answer(provider.agent.response(arrives(world, provider, "BYE"), 200))
    assert world.wait(lambda: alice.agent.final(bye)).status == 200


def test_the_control_plane_is_asked_in_the_ways_own_spelling(world, provider, dice):
    alice = world.phone("alice", "edge-b")
    assert alice.register() == 200
    spells_anew(alice.agent, dice)
    _, dialog, _, _ = answered(world, alice, provider)
    provider.nonce = "another"
    alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
    arrives(world, provider, "BYE")
    (question,) = (question for question in world.control.questions if isinstance(question, AccessQuestion))
    assert dialog.routes[0].startswith(f"<sip:{question.way}@")


def test_a_call_in_to_a_contact_that_the_provider_spells_its_own_way(world, provider, dice):
    provider.script = [
        lambda request: make_response(
            request, 200, to_tag="r", headers=[("contact", spelled_anew(f"Contact: {request.get('contact')}", dice))]
        )
    ]
    assign(world, account(tenant=TENANT, version=2, expires=600))
    world.run(2)
    state = next(report for report in reversed(world.control.reports) if isinstance(report, ProviderReport))
    assert (state.state, state.expires) == ("registered", 600)
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    spells_anew(bob.agent, dice)
    spells_anew(provider.agent, dice)
    escaped = spelled_anew("sip:contactvoip@203.0.113.11", dice).partition(":")[2].partition("@")[0]
    invite = call_in(world, provider, user=escaped)
    got = world.wait(lambda: bob.agent.requests("INVITE"))[0]
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    final = world.wait(lambda: provider.agent.final(invite))
    assert final.status == 200
    theirs, mine = provider.agent.caller_dialog(invite, final), bob.agent.callee_dialog(got, ok)
    theirs.routes = []
    provider.send(provider.agent.in_dialog(theirs, "ACK").to_bytes())
    assert world.wait(lambda: bob.agent.requests("ACK"))
    again = provider.agent.in_dialog(theirs, "INFO")
    provider.send(again.to_bytes())
    bob.send(bob.agent.response(world.wait(lambda: bob.agent.requests("INFO"))[0], 200).to_bytes())
    assert world.wait(lambda: provider.agent.final(again)).status == 200
    bye = bob.agent.in_dialog(mine, "BYE")
    bob.send(bye.to_bytes())
    provider.answer(provider.agent.response(arrives(world, provider, "BYE"), 200))
    assert world.wait(lambda: bob.agent.final(bye)).status == 200
