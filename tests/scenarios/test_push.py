"""Phones that sleep, and are woken by a push (RFC 8599)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.forwarding.waking import LONGEST
from edge.proxy.location.closed import AWAY
from edge.sip.headers import NameAddr, parse_params
from edge.sip.transaction.client import make_cancel
from lambdas.contract import BindingReport, Route, RouteQuestion, Stage
from lambdas.decisions.limits import CallLimits
from lambdas.decisions.push import PushService
from lambdas.decisions.route import targets_of
from lambdas.decisions.values import remove
from tests.support.world import DOMAIN, World

APNS = PushService("apns", scope="TEAM")
FCM = PushService("fcm", scope="project")
WEB = PushService("webpush", vapid="BVapidKey")
PN = ";pn-provider=apns;pn-prid=token-1;pn-param=TEAM.com.example.phone.voip"
BOB = f"bob@{DOMAIN}"


@pytest.fixture
def world() -> World:
    made = World()
    made.control.services = (APNS, WEB)
    return made


def contact(phone, push=PN, params=""):
    agent = phone.agent
    return f"<sip:{agent.username}@{agent.host}:{agent.port};transport=tcp{push}>{params}"


def register(phone, push=PN, expires=3600, params=""):
    """The final response."""
    return phone.transact(phone.agent.register_request(expires, contact(phone, push, params)))


def sleeper(world, edge="edge-a", push=PN, user="bob", params=""):
    """A phone that has registered and is asleep now."""
    phone = world.phone(user, edge, transport="TCP")
    assert register(phone, push, params=params).status == 200
    phone.disconnect()
    world.run(0.1)
    return phone


def wakes(world, phone, edge="", push=PN, params=""):
    """It comes back on another connection, perhaps elsewhere."""
    phone.node = edge or phone.node
    phone.agent.port += 1
    phone.public = (phone.public[0], phone.public[1] + 1)
    world.phones[phone.public] = phone
    phone.connect()
    return register(phone, push, params=params)


def call(caller):
    return caller.start_call(f"sip:{BOB}")


def rung(world, phone, seconds=2.0):
    return world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None), seconds)


def pushed(world):
    return [question.why for _, question in world.control.pushes]


def caps(response):
    return response.values("feature-caps")


def gone(world):
    return [report for report in world.control.reports if isinstance(report, BindingReport) and not report.expires]


# Registering


def test_a_phone_is_told_that_it_will_be_woken(world):
    bob = world.phone("bob", transport="TCP")
    answer = register(bob)
    assert caps(answer) == ['*;+sip.pns="apns"']
    assert ";expires=3600" in answer.get("contact")
    assert caps(register(bob)) == ['*;+sip.pns="apns"']
    assert world.nodes["edge-a"].core.stack.counters["refreshes"] == 1


@pytest.mark.parametrize(("expires", "when"), [(3600, ';+sip.pnsreg="140"'), (280, ';+sip.pnsreg="140"'), (270, "")])
def test_one_that_wakes_by_itself_is_told_when(world, expires, when):
    """Where that would be all the time it is woken."""
    bob = world.phone("bob", transport="TCP")
    assert caps(register(bob, expires=expires, params=";+sip.pnsreg")) == [f'*;+sip.pns="apns"{when}']


@pytest.mark.parametrize(
    ("push", "found"),
    [
        (";pn-provider", ['*;+sip.pns="apns"', '*;+sip.pns="webpush";+sip.vapid="BVapidKey"']),
        (";pn-provider=webpush", ['*;+sip.pns="webpush";+sip.vapid="BVapidKey"']),
        (";pn-provider=fcm", []),
        ("", []),
    ],
)
def test_which_services_there_are(world, push, found):
    bob = world.phone("bob", transport="TCP")
    assert caps(register(bob, push)) == caps(register(bob, push)) == found


@pytest.mark.parametrize(
    "push",
    [
        ";pn-provider=fcm;pn-prid=x;pn-param=project",
        ";pn-provider=unheard-of;pn-prid=x",
        ";pn-provider=apns;pn-prid=x",
        ";pn-provider=apns;pn-prid=x;pn-param=OTHERS.com.example",
        ";pn-provider=webpush;pn-prid=http%3A%2F%2Fpush.example%2Fx",
    ],
)
def test_a_service_that_is_not_there_is_refused(world, push):
    bob = world.phone("bob", transport="TCP")
    answer = register(bob, push)
    assert (answer.status, answer.reason) == (555, "Push Notification Service Not Supported")
    assert register(bob, push, expires=0).status == 200


@pytest.mark.parametrize("transport", ["TCP", "WS", "WSS"])
def test_a_page_hears_of_that_too(world, transport):
    """It is for good: to make another WebSocket would be of no use."""
    bob = world.phone("bob", transport=transport)
    assert register(bob, ";pn-provider=fcm;pn-prid=x;pn-param=project").status == 555
    assert not world.nodes["edge-a"].ended


def test_without_any_credentials_such_wishes_change_nothing(world):
    world.control.services = ()
    bob = world.phone("bob", transport="TCP")
    answer = register(bob)
    assert (answer.status, caps(answer)) == (200, [])
    assert register(bob).status == 200
    assert world.nodes["edge-a"].core.stack.counters["refreshes"] == 1
    bob.disconnect()
    world.run(AWAY + 1)
    assert gone(world)


def test_a_mixed_fleet_takes_no_notice_of_it(world):
    world.spoken = 8
    for node in world.nodes.values():
        world.inform(node)
    bob = world.phone("bob", transport="TCP")
    assert caps(register(bob)) == []
    assert "pn-prid" in next(iter(world.control.items.values())).key


@pytest.mark.parametrize("instance", ["", ';+sip.instance="<urn:uuid:1>"'])
def test_another_prid_of_the_same_phone_takes_the_place_of_the_first(world, instance):
    bob = world.phone("bob", transport="TCP")
    register(bob, params=instance)
    answer = register(bob, PN.replace("token-1", "token-2"), params=instance)
    assert len(answer.values("contact")) == 1
    assert "token-2" in answer.get("contact")
    assert len([item for item in world.control.items.values() if not item.removed]) == 1


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("instance", ["", ';+sip.instance="<urn:uuid:1>"'])
def test_the_same_prid_elsewhere_is_the_same_phone(world, edge, instance):
    bob = world.phone("bob", transport="TCP")
    register(bob, params=instance)
    bob.disconnect()
    bob.agent.call_id += "-anew"
    bob.agent.host = "10.9.9.9"
    assert wakes(world, bob, edge).status == 200
    world.run(1)
    bindings = [item for item in world.control.items.values() if not item.removed]
    assert [item.address for item in bindings] == [world.nodes[edge].address]


def test_a_binding_of_before_keeps_its_key(world):
    world.spoken = 8
    for node in world.nodes.values():
        world.inform(node)
    bob = world.phone("bob", transport="TCP")
    register(bob)
    key = next(iter(world.control.items.values())).key
    world.spoken = 9
    for node in world.nodes.values():
        world.inform(node)
    answer = register(bob, PN.replace("token-1", "token-2"))
    assert len(answer.values("contact")) == 1
    assert [item.key for item in world.control.items.values() if not item.removed] == [key]


def test_one_that_unregisters_is_woken_no_more(world):
    bob = world.phone("bob", transport="TCP")
    register(bob)
    assert register(bob, ";pn-provider=apns;pn-param=TEAM.com.example.phone.voip", expires=0).status == 200
    assert not [item for item in world.control.items.values() if not item.removed]


def test_one_that_stays_without_being_woken_is_woken_no_more(world):
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    assert alice.register() == 200
    register(bob)
    answer = register(bob, ";pn-provider=apns;pn-param=TEAM.com.example.phone.voip")
    assert len(answer.values("contact")) == 1
    bob.disconnect()
    world.run(1)
    invite = call(alice)
    assert world.wait(lambda: alice.agent.final(invite), 2).status == 480
    assert pushed(world) == []


# Behind a proxy that wakes it

PROXY = ["Path: <sip:198.51.100.9:5060;lr>", "Supported: path"]
WAKES = "Feature-Caps: *;+sip.pns="


@pytest.mark.parametrize(
    ("push", "headers"),
    [
        (PN, [f'{WAKES}"apns"']),
        (PN, [f'{WAKES}"apns", *;+sip.pns="fcm"']),
        (PN, ['Feature-Caps: *;+g.3gpp.atcf="<tel:1>"', f'{WAKES}"apns";+sip.pnsreg="121"']),
        (";pn-provider=unheard-of;pn-prid=x", [f'{WAKES}"unheard-of"']),
    ],
)
def test_one_that_a_proxy_wakes_is_left_to_it(world, push, headers):
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    assert alice.register() == 200
    answer = bob.transact(bob.agent.register_request(3600, contact(bob, push), headers=[*PROXY, *headers]))
    assert (answer.status, caps(answer)) == (200, [])
    call(alice)
    assert push in rung(world, bob).uri
    world.run(3600)
    assert pushed(world) == []


def test_its_other_prid_takes_the_place_of_the_first_too(world):
    bob = world.phone("bob", transport="TCP")
    for push in (PN, PN.replace("token-1", "token-2")):
        headers = [*PROXY, f'{WAKES}"apns"']
        answer = bob.transact(bob.agent.register_request(3600, contact(bob, push), headers=headers))
    assert len(answer.values("contact")) == 1


@pytest.mark.parametrize("headers", [["Feature-Caps: *;+g.3gpp.atcf"], ["Feature-Caps: *"], []])
def test_one_that_no_proxy_wakes_is_not(world, headers):
    bob = world.phone("bob", transport="TCP")
    answer = bob.transact(bob.agent.register_request(3600, contact(bob), headers=[*PROXY, *headers]))
    assert caps(answer) == ['*;+sip.pns="apns"']


def test_what_there_is_is_said_though_a_proxy_has_some(world):
    bob = world.phone("bob", transport="TCP")
    asked = contact(bob, ";pn-provider=webpush")
    answer = bob.transact(bob.agent.register_request(3600, asked, headers=[*PROXY, f'{WAKES}"fcm"']))
    assert caps(answer) == ['*;+sip.pns="webpush";+sip.vapid="BVapidKey"']


# What others get to know


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("params", [PN, ";PN-Provider=apns;pn-prid=token-1;pn-purr=a1;pn-param=TEAM.x"])
def test_nobody_else_learns_what_wakes_a_phone(world, params, hidden):
    """Phones that write it into every Contact."""
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    for phone in (alice, bob):
        phone.agent.contact_params = params
        assert phone.register() == 200
    headers = ["Privacy: id"] if hidden else None
    invite = alice.start_call(f"sip:{BOB}", headers=headers)
    incoming = rung(world, bob)
    ok = bob.agent.response(incoming, 200, headers=headers)
    bob.send(ok.to_bytes())
    answer = world.wait(lambda: alice.agent.final(invite))
    for message in (incoming, answer):
        (seen,) = message.values("contact")
        assert "token-1" not in seen
        assert "pn-pr" not in seen.lower()
        assert ("pn-purr=a1" in seen) is ("pn-purr" in params and not hidden)
    dialogs = alice.agent.caller_dialog(invite, answer), bob.agent.callee_dialog(incoming, ok)
    alice.send(alice.agent.in_dialog(dialogs[0], "ACK").to_bytes())
    for phone, other, dialog in ((alice, bob, dialogs[0]), (bob, alice, dialogs[1])):
        again = phone.agent.in_dialog(dialog, "INVITE")
        other.agent.received.clear()
        phone.send(again.to_bytes())
        got = rung(world, other)
        assert f":{other.agent.port}" in got.uri
        assert "token-1" not in (got.get("contact") or "")
        other.send(other.agent.response(got, 200).to_bytes())
        assert world.wait(lambda phone=phone, again=again: phone.agent.final(again)).status == 200
        phone.send(phone.agent.in_dialog(dialog, "ACK").to_bytes())


# Sleeping


@pytest.mark.parametrize("restarts", [False, True])
def test_its_binding_stays_though_its_connection_has_ended(world, restarts):
    bob = sleeper(world)
    if restarts:
        world.restart("edge-a")
    world.run(1800)
    assert not gone(world)
    assert world.nodes["edge-a"].core.gauges()["sleeping_bindings"] == 1
    assert world.nodes["edge-a"].core.gauges()["closed_bindings"] == 0
    world.run(1900)
    assert world.nodes["edge-a"].core.gauges()["sleeping_bindings"] == 0
    assert bob.agent.requests("OPTIONS") == []


def test_a_silent_udp_phone_stays_too(world):
    bob = world.phone("bob")
    bob.agent.answers_options = False
    bob.transact(bob.agent.register_request(1800, f"<sip:bob@10.0.0.9:5060{PN}>"))
    del world.phones[bob.public]
    world.run(1700)
    assert not gone(world)
    world.run(200)
    assert gone(world)


@pytest.mark.parametrize("dark", [False, True])
def test_it_makes_room_for_others_last(world, dark):
    bob = sleeper(world)
    for number in range(9):
        other = world.phone("bob")
        other.agent.port = 5070 + number
        assert other.register() == 200
    world.control.dark = dark
    last = world.phone("bob")
    last.agent.port = 5090
    assert last.register() == 200
    world.control.dark = False
    world.run(1)
    contacts = [item.contact for item in world.control.bindings(BOB) if not item.removed]
    assert len(contacts) <= 10
    assert any(f":{bob.agent.port};" in one for one in contacts)
    assert any(":5090" in one for one in contacts)


def test_an_accounts_own_limit_does_not_lock_its_phone_out(world):
    account = world.control.accounts.get(BOB) or world.control.add("bob", "pw-bob")
    world.control.accounts[BOB] = replace(account, limits=CallLimits(registrations=1))
    bob = sleeper(world)
    assert wakes(world, bob, push=PN.replace("token-1", "token-2")).status == 200


@pytest.mark.parametrize("asleep", [True, False])
def test_it_is_woken_before_its_binding_expires_once(world, asleep):
    bob = world.phone("bob", transport="TCP")
    register(bob)
    if asleep:
        bob.disconnect()
    world.run(3600 - 140)
    assert pushed(world) == []
    world.run(20)
    assert pushed(world) == ["refresh"]
    if not asleep:
        bob.disconnect()
    assert wakes(world, bob).status == 200
    world.run(200)
    assert pushed(world) == ["refresh"]
    assert not gone(world)
    world.run(3300)
    assert pushed(world) == ["refresh", "refresh"]


def test_before_a_short_one_expires_it_is_woken_too(world):
    bob = world.phone("bob", transport="TCP")
    assert register(bob, expires=60).status == 200
    bob.disconnect()
    world.run(29)
    assert pushed(world) == []
    world.run(11)
    assert pushed(world) == ["refresh"]
    assert wakes(world, bob).status == 200
    world.run(60)
    assert not gone(world)


def test_that_is_asked_for_again_once_the_control_plane_is_back(world):
    sleeper(world)
    world.run(3600 - 130)
    world.control.dark = True
    world.run(30)
    world.control.dark = False
    world.run(20)
    assert pushed(world) == ["refresh"]


def test_an_open_page_refreshes_itself(world):
    push = ";pn-provider=webpush;pn-prid=https%3A%2F%2Fpush.example%2Fx"
    page = world.phone("bob", transport="TCP")
    register(page, push)
    world.run(3500)
    assert pushed(world) == []
    page.disconnect()
    world.run(20)
    assert pushed(world) == ["refresh"]


def test_the_edge_that_it_has_left_forgets_it():
    world = World(beating=True)
    world.control.services = (APNS,)
    bob = sleeper(world)
    assert wakes(world, bob, "edge-b").status == 200
    world.run(5)
    assert [node.core.gauges()["sleeping_bindings"] for node in world.nodes.values()] == [0, 0]
    world.run(3560)
    assert len(world.control.pushes) == 1  # by the edge that has it now
    assert not gone(world)


def test_one_that_its_service_does_not_know_is_forgotten_by_its_edge():
    world = World(beating=True)
    world.control.services = (APNS,)
    sleeper(world)
    ((key, item),) = world.control.items.items()
    world.control.items[key] = remove(item, "push-1", world.control.clock()).binding
    world.run(5)
    assert world.nodes["edge-a"].core.gauges()["sleeping_bindings"] == 0
    assert not gone(world)


# Calls


@pytest.mark.parametrize("caller", ["edge-a", "edge-b"])
@pytest.mark.parametrize("before", ["edge-a", "edge-b"])
@pytest.mark.parametrize("after", ["edge-a", "edge-b"])
def test_a_call_wakes_it_and_waits(world, caller, before, after):
    alice, bob = world.phone("alice", caller), sleeper(world, before)
    assert alice.register() == 200
    invite = call(alice)
    world.run(5)
    assert pushed(world) == ["call"]
    assert alice.agent.statuses("INVITE")[-1] == 100
    assert wakes(world, bob, after).status == 200
    incoming = rung(world, bob)
    assert "token-1" in incoming.uri
    world.run(0.5)
    assert 180 not in alice.agent.statuses("INVITE")
    bob.send(bob.agent.response(incoming, 180).to_bytes())
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"))
    bob.send(bob.agent.response(incoming, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200
    assert len(bob.agent.requests("INVITE")) == 1


def test_a_page_that_has_just_been_closed_is_woken_at_once(world):
    """One without pushes has some seconds to come back before it is called at all."""
    alice, bob = world.phone("alice"), world.phone("bob", transport="WSS")
    assert alice.register() == 200
    assert register(bob).status == 200
    bob.disconnect()
    world.run(0.5)
    invite = call(alice)
    world.run(0.5)
    assert pushed(world) == ["call"]
    assert wakes(world, bob).status == 200
    bob.send(bob.agent.response(rung(world, bob, 0.5), 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_a_call_long_after_it_fell_asleep(world):
    alice, bob = world.phone("alice", "edge-b"), sleeper(world)
    world.run(1000)
    assert alice.register() == 200
    call(alice)
    world.run(0.5)
    assert pushed(world) == ["call"]
    wakes(world, bob)
    rung(world, bob)


@pytest.mark.parametrize("status", [480])
def test_nobody_comes(world, status):
    alice = world.phone("alice")
    sleeper(world)
    assert alice.register() == 200
    invite = call(alice)
    world.run(LONGEST - 1)
    assert alice.agent.final(invite) is None
    assert world.wait(lambda: alice.agent.final(invite), 2).status == status
    assert world.nodes["edge-a"].core.gauges()["awaited_phones"] == 0


def test_it_comes_with_another_prid(world):
    instance = ';+sip.instance="<urn:uuid:1>"'
    alice, bob = world.phone("alice"), sleeper(world, params=instance)
    assert alice.register() == 200
    call(alice)
    world.run(1)
    assert wakes(world, bob, push=PN.replace("token-1", "token-2"), params=instance).status == 200
    assert "token-2" in rung(world, bob).uri


def test_whoever_fails_to_register_in_its_place_ends_no_call(world):
    alice, bob = world.phone("alice"), sleeper(world)
    assert alice.register() == 200
    invite = call(alice)
    world.run(1)
    stranger = world.phone("bob", transport="TCP")
    stranger.agent.password = "wrong"
    assert register(stranger).status == 403
    world.run(1)
    assert alice.agent.final(invite) is None
    wakes(world, bob)
    rung(world, bob)


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_one_whose_binding_has_expired_is_not_woken(world, edge):
    alice = world.phone("alice", edge)
    sleeper(world)
    world.run(3605)
    assert alice.register() == 200
    invite = call(alice)
    assert world.wait(lambda: alice.agent.final(invite), 2).status == 480
    assert pushed(world) == ["refresh"]


def test_a_request_in_a_call_wakes_nobody(world):
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    assert alice.register() == 200
    register(bob)
    invite = call(alice)
    bob.send(bob.agent.response(rung(world, bob), 200).to_bytes())
    answer = world.wait(lambda: alice.agent.final(invite))
    dialog = alice.agent.caller_dialog(invite, answer)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(1)
    bob.disconnect()
    again = alice.agent.in_dialog(dialog, "INVITE")
    alice.send(again.to_bytes())
    assert world.wait(lambda: alice.agent.final(again), 40).status in (430, 480)
    assert pushed(world) == []


def test_one_that_comes_too_late_is_not_rung(world):
    alice, bob = world.phone("alice"), sleeper(world)
    assert alice.register() == 200
    call(alice)
    world.run(LONGEST + 1)
    wakes(world, bob)
    world.run(5)
    assert bob.agent.requests("INVITE") == []


def test_an_open_stream_is_tried_and_nobody_woken(world):
    alice, bob = world.phone("alice", "edge-b"), world.phone("bob", transport="TCP")
    assert alice.register() == 200
    register(bob)
    invite = call(alice)
    bob.send(bob.agent.response(rung(world, bob), 180).to_bytes())
    world.run(5)
    assert pushed(world) == []
    bob.send(bob.agent.response(bob.agent.requests("INVITE")[0], 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


def test_one_that_is_suspended_with_an_open_stream_is_woken(world):
    """Its kernel takes the INVITE, and the program reads it once it wakes, on that very stream."""
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    assert alice.register() == 200
    register(bob)
    invite = call(alice)
    world.run(0.9)
    assert pushed(world) == []
    world.run(1)
    assert pushed(world) == ["call"]
    assert register(bob).status == 200
    world.run(1)
    assert len(bob.agent.requests("INVITE")) == 1
    bob.send(bob.agent.response(bob.agent.requests("INVITE")[0], 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


@pytest.mark.parametrize("quiet", [30, 200])
def test_a_udp_phone_that_was_not_heard_gets_both(world, quiet):
    alice, bob = world.phone("alice"), world.phone("bob")
    bob.transact(bob.agent.register_request(3600, f"<sip:bob@10.0.0.9:5060{PN}>"))
    place, there = bob.public, world.phones.pop(bob.public)
    world.run(quiet)
    assert alice.register() == 200
    invite = call(alice)
    world.run(0.5)
    assert pushed(world) == (["call"] if quiet > 60 else [])
    world.run(3)
    assert pushed(world) == ["call"]
    world.phones[place] = there
    there.transact(there.agent.register_request(3600, f"<sip:bob@10.0.0.9:5060{PN}>"))
    incoming = rung(world, there, 0.5)
    there.send(there.agent.response(incoming, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_its_gruu_wakes_it(world, edge):
    instance = ';+sip.instance="<urn:uuid:1>"'
    alice, bob = world.phone("alice", edge), world.phone("bob", transport="TCP")
    answer = bob.transact(bob.agent.register_request(3600, contact(bob, PN, instance), headers=["Supported: gruu"]))
    gruu = parse_params(NameAddr.parse(answer.get("contact")).params)["pub-gruu"]
    bob.disconnect()
    assert alice.register() == 200
    alice.start_call(gruu)
    world.run(1)
    assert pushed(world) == ["call"]
    wakes(world, bob, params=instance)
    rung(world, bob)


def test_a_second_call_sends_no_second_push_and_both_ring(world):
    alice, carol, bob = world.phone("alice"), world.phone("carol", "edge-b"), sleeper(world)
    assert alice.register() == carol.register() == 200
    call(alice)
    world.run(1)
    call(carol)
    world.run(1)
    assert pushed(world) == ["call"]
    wakes(world, bob)
    world.wait(lambda: len({one.get("call-id") for one in bob.agent.requests("INVITE")}) == 2, 1)


def test_a_retransmitted_invite_wakes_nobody_again(world):
    alice = world.phone("alice")
    sleeper(world)
    assert alice.register() == 200
    invite = call(alice)
    for _ in range(3):
        world.run(4)
        alice.send(invite.to_bytes())
    world.run(1)
    assert pushed(world) == ["call"]


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_the_caller_gives_up_while_it_waits(world, edge):
    alice, bob = world.phone("alice", edge), sleeper(world)
    assert alice.register() == 200
    invite = call(alice)
    world.run(2)
    alice.send(make_cancel(invite).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite), 0.5).status == 487
    wakes(world, bob)
    world.run(5)
    assert bob.agent.requests("INVITE") == []


def test_another_phone_rings_at_once_and_takes_the_call(world):
    alice, bob = world.phone("alice"), sleeper(world)
    other = world.phone("bob", "edge-b")
    other.agent.port = 5070
    assert alice.register() == other.register() == 200
    invite = call(alice)
    other.send(other.agent.response(rung(world, other), 180).to_bytes())
    world.wait(lambda: 180 in alice.agent.statuses("INVITE"), 0.5)
    assert pushed(world) == ["call"]
    other.send(other.agent.response(other.agent.requests("INVITE")[0], 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite), 1).status == 200
    wakes(world, bob)
    world.run(2)
    assert bob.agent.requests("INVITE") == []


def test_another_phone_is_busy_and_the_call_still_waits(world):
    alice, bob = world.phone("alice"), sleeper(world)
    other = world.phone("bob")
    other.agent.port = 5070
    assert alice.register() == other.register() == 200
    invite = call(alice)
    other.send(other.agent.response(rung(world, other), 486).to_bytes())
    world.run(3)
    assert alice.agent.final(invite) is None
    wakes(world, bob)
    rung(world, bob)


def test_two_sleepers_are_both_woken(world):
    alice, first = world.phone("alice"), sleeper(world)
    second = sleeper(world, "edge-b", PN.replace("token-1", "token-2"))
    assert alice.register() == 200
    call(alice)
    world.run(1)
    assert {push.prid for push, _ in world.control.pushes} == {"token-1", "token-2"}
    second.agent.port += 5
    wakes(world, second, push=PN.replace("token-1", "token-2"))
    rung(world, second)
    assert first.agent.requests("INVITE") == []
    wakes(world, first)
    rung(world, first)


def test_a_flow_that_dies_again_is_waited_for_again_without_a_push(world):
    alice, bob = world.phone("alice"), sleeper(world)
    assert alice.register() == 200
    call(alice)
    world.run(1)
    wakes(world, bob)
    rung(world, bob)
    bob.disconnect()
    bob.agent.received.clear()
    world.run(6)
    wakes(world, bob)
    rung(world, bob)
    assert pushed(world) == ["call"]


def test_who_cannot_be_woken_is_not_reachable(world):
    alice = world.phone("alice")
    sleeper(world)
    world.control.pushing = False
    assert alice.register() == 200
    invite = call(alice)
    assert world.wait(lambda: alice.agent.final(invite), 1).status == 480


def test_without_control_plane_nobody_is_woken(world):
    alice = world.phone("alice")
    sleeper(world)
    assert alice.register() == 200
    world.control.dark = True
    invite = call(alice)
    assert world.wait(lambda: alice.agent.final(invite), 10).status == 503
    assert pushed(world) == []


def test_a_message_waits_too(world):
    alice, bob = world.phone("alice"), sleeper(world)
    assert alice.register() == 200
    message = alice.agent.request("MESSAGE", f"sip:{BOB}", body=b"hello")

    alice.send(message.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(message))
    message = alice.agent.authorize(message, challenge)
    alice.send(message.to_bytes())
    world.wait(lambda: pushed(world) == ["message"])
    wakes(world, bob)
    got = world.wait(lambda: next(iter(bob.agent.requests("MESSAGE")), None), 1)
    bob.send(bob.agent.response(got, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(message)).status == 200


@pytest.mark.parametrize("hidden", [False, True])
def test_a_push_says_who_calls_only_where_that_is_wanted(world, hidden):
    world.control.services = (PushService("apns", scope="TEAM", shows=True),)
    alice = world.phone("alice")
    sleeper(world)
    assert alice.register() == 200
    alice.start_call(f"sip:{BOB}", headers=["Privacy: id"] if hidden else None)
    world.run(1)
    assert [question.caller for _, question in world.control.pushes] == ["" if hidden else f"alice@{DOMAIN}"]


def test_a_push_does_not_say_who_calls(world):
    alice = world.phone("alice")
    sleeper(world)
    assert alice.register() == 200
    invite = call(alice)
    world.run(1)
    ((_, question),) = world.control.pushes
    assert (question.caller, question.call_id) == ("", invite.get("call-id"))


def test_one_behind_a_proxy_of_its_own_gets_both(world):
    """The proxy says 100 for it, whether it sleeps or not."""
    alice, bob = world.phone("alice"), world.phone("bob", transport="TCP")
    assert alice.register() == 200
    path = ["Path: <sip:198.51.100.9:5060;lr>", "Supported: path"]
    assert bob.transact(bob.agent.register_request(3600, contact(bob), headers=path)).status == 200
    call(alice)
    bob.send(bob.agent.response(rung(world, bob), 100).to_bytes())
    world.run(1)
    assert pushed(world) == ["call"]


def test_who_only_asks_what_it_can_do_wakes_nobody(world):
    alice = world.phone("alice")
    sleeper(world)
    assert alice.register() == 200
    assert alice.transact(alice.agent.request("OPTIONS", f"sip:{BOB}")).status == 480
    assert pushed(world) == []


# How long it may take


def plan(world, **kwargs):
    """Every call is routed so."""
    decide = world.control.decide
    route = Route(**{"tenant": "t1", **kwargs})
    world.control.decide = lambda question: route if isinstance(question, RouteQuestion) else decide(question)


def targets(world, name):
    return targets_of(world.control.bindings(f"{name}@{DOMAIN}"), world.control.clock())


def test_the_time_to_ring_begins_when_it_wakes(world):
    alice, bob, carol = world.phone("alice"), sleeper(world), world.phone("carol")
    assert alice.register() == carol.register() == 200
    plan(world, targets=targets(world, "bob"), timeout=10, stages=[Stage(targets=targets(world, "carol"))])
    call(alice)
    world.run(12)
    assert carol.agent.requests("INVITE") == []
    wakes(world, bob)
    bob.send(bob.agent.response(rung(world, bob), 180).to_bytes())
    world.run(9)
    assert carol.agent.requests("INVITE") == []
    world.run(2)
    assert bob.agent.requests("CANCEL")
    assert carol.agent.requests("INVITE")


def test_the_time_of_one_that_rings_goes_on_while_another_wakes(world):
    alice, bob, carol = world.phone("alice"), sleeper(world), world.phone("carol")
    other = world.phone("bob", "edge-b")
    other.agent.port = 5070
    assert alice.register() == carol.register() == other.register() == 200
    plan(world, targets=targets(world, "bob"), timeout=10, stages=[Stage(targets=targets(world, "carol"))])
    call(alice)
    other.send(other.agent.response(rung(world, other), 180).to_bytes())
    world.run(6)
    wakes(world, bob)
    bob.send(bob.agent.response(rung(world, bob), 180).to_bytes())
    world.run(3)
    assert carol.agent.requests("INVITE") == []
    world.run(2)
    assert carol.agent.requests("INVITE")


@pytest.mark.parametrize("when", [[480], [408]])
def test_one_that_does_not_come_is_unreachable_for_its_plan(world, when):
    alice, carol = world.phone("alice"), world.phone("carol")
    sleeper(world)
    assert alice.register() == carol.register() == 200
    plan(world, targets=targets(world, "bob"), timeout=10, stages=[Stage(targets=targets(world, "carol"), when=when)])
    invite = call(alice)
    world.run(LONGEST + 1)
    assert bool(carol.agent.requests("INVITE")) is (480 in when)
    assert (alice.agent.final(invite) is None) is (480 in when)


# Phones with several flows (RFC 5626)

INSTANCE = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


def flow_of_bob(world, reg_id, edge="edge-a", transport="TCP"):
    phone = world.phone("bob", edge, transport)
    phone.agent.instance, phone.agent.reg_id = INSTANCE, reg_id
    return phone


def register_flow(phone):
    return register(phone, params=f';+sip.instance="<{INSTANCE}>";reg-id={phone.agent.reg_id}').status


@pytest.fixture
def flows(world):
    """Two of bob's, the second one registered last, at another edge."""
    both = [flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")]
    for phone in both:
        assert register_flow(phone) == 200
        world.run(1)
    return both


@pytest.mark.parametrize("later", [1, 300])
def test_one_that_has_another_flow_is_not_woken(world, flows, later):
    """Long after its end only the edge that had a connection knows of that."""
    flows[1].disconnect()
    world.run(later)
    alice = world.phone("alice")
    assert alice.register() == 200
    call(alice)
    rung(world, flows[0], 1)
    assert pushed(world) == []


@pytest.mark.parametrize("comes", [0, 1])
def test_it_is_waited_for_by_all_its_flows(world, flows, comes):
    for phone in flows:
        phone.disconnect()
    world.run(1)
    alice = world.phone("alice")
    assert alice.register() == 200
    invite = call(alice)
    world.run(2)
    assert pushed(world) == ["call"]
    back = flows[comes]
    back.agent.port, back.public = back.agent.port + 1, (back.public[0], back.public[1] + 1)
    back.connect()
    assert register_flow(back) == 200
    back.send(back.agent.response(rung(world, back, 1), 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200
    world.run(60)
    assert not flows[1 - comes].agent.requests("INVITE")


def test_a_browser_that_says_nothing_has_its_time_to_wake_too(world):
    alice, bob = world.phone("alice"), world.phone("bob", transport="WSS")
    assert alice.register() == 200
    assert register(bob).status == 200
    bob.agent.take = lambda data: None  # its connection is dead without a sign
    invite = call(alice)
    world.run(LONGEST)
    assert pushed(world) == ["call"]
    assert alice.agent.final(invite) is None
    world.run(2)
    assert alice.agent.final(invite).status == 480
