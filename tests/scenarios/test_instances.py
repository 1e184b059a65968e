"""Phones with several flows (RFC 5626): each is one phone, rung by one of its flows at a time."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.proxy.forwarding.target_set import by_instance, instead
from lambdas.contract import LocateQuestion, Reject, Target
from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.scenarios.test_calls import answered_call
from tests.scenarios.test_closed_streams import back_elsewhere
from tests.scenarios.test_transfers import Outside
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN, World

BOB = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


@pytest.fixture
def world() -> World:
    made = World()
    for name in ("alice", "bob"):
        made.control.add(name, f"pw-{name}", "t00112233aabb")
    return made


@pytest.fixture
def alice(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    return phone


def flow_of_bob(world, reg_id, edge="edge-a", transport="TCP", headers=None):
    """Another flow of bob's only phone."""
    phone = world.phone("bob", edge, transport)
    phone.agent.instance, phone.agent.reg_id = BOB, reg_id
    assert phone.register(headers=headers) == 200
    world.run(0.1)
    return phone


def call(caller):
    return caller.start_call(f"sip:bob@{DOMAIN}")


def rung(world, phone):
    return world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None))


def answer(phone, request, status):
    phone.send(phone.agent.response(request, status).to_bytes())


def final(world, caller, invite, seconds=60):
    return world.wait(lambda: caller.agent.final(invite), seconds).status


# Calls


def test_it_rings_by_the_flow_that_was_registered_last_alone(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    invite = call(alice)
    incoming = rung(world, second)
    answer(second, incoming, 180)
    world.run(30)
    answer(second, incoming, 200)
    assert final(world, alice, invite) == 200
    assert not first.agent.requests("INVITE")


def test_registering_a_flow_again_elsewhere_makes_it_the_latest(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    back_elsewhere(first)
    assert first.register() == 200
    call(alice)
    rung(world, first)
    assert not second.agent.requests("INVITE")


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_when_its_connection_ends_the_next_flow_is_tried(world, alice, edge):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, edge)
    invite = call(alice)
    rung(world, second)
    assert not first.agent.requests("INVITE")
    second.disconnect()
    answer(first, rung(world, first), 200)
    assert final(world, alice, invite) == 200


def test_the_third_one_comes_after_the_second(world, alice):
    first, second, third = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b"), flow_of_bob(world, 3)
    invite = call(alice)
    for flow in (third, second):
        rung(world, flow)
        assert not first.agent.requests("INVITE")
        flow.disconnect()
    answer(first, rung(world, first), 486)
    assert final(world, alice, invite) == 486


@pytest.mark.parametrize("status", [403, 480, 486, 500, 503, 603])
def test_a_phone_that_has_answered_is_not_tried_by_another_flow(world, alice, status):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    invite = call(alice)
    answer(second, rung(world, second), status)
    assert final(world, alice, invite) == (500 if status == 503 else status)
    assert not first.agent.requests("INVITE")


@pytest.mark.parametrize("status", [408, 430])
def test_a_proxy_that_has_lost_the_flow_leaves_it_to_the_next(world, alice, status):
    """RFC 5626 §7; behind a Path the flow is the proxy's."""
    proxy = ["Path: <sip:token@192.0.2.200;lr;ob>", "Supported: path, outbound"]
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b", "UDP", proxy)
    invite = call(alice)
    answer(second, rung(world, second), status)
    answer(first, rung(world, first), 200)
    assert final(world, alice, invite) == 200


def test_the_caller_never_hears_430(world, alice):
    flow = flow_of_bob(world, 1)
    invite = call(alice)
    answer(flow, rung(world, flow), 430)
    assert final(world, alice, invite) == 480


def test_a_flow_that_says_nothing_is_given_up_for_the_next(world, alice):
    """A packet that gets lost without a word, and comes to life later."""
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b", "UDP")
    invite = call(alice)
    incoming = rung(world, second)
    asked = world.now
    answer(first, rung(world, first), 180)
    assert 3.5 < world.now - asked < 4.5
    sent = len(second.agent.requests("INVITE"))
    answer(second, incoming, 180)
    world.wait(lambda: second.agent.requests("CANCEL"))
    answer(first, rung(world, first), 200)
    assert final(world, alice, invite) == 200
    world.run(40)
    assert len(second.agent.requests("INVITE")) == sent


def test_a_phone_that_rang_and_was_not_answered_has_been_reached(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    invite = call(alice)
    incoming = rung(world, second)
    answer(second, incoming, 180)
    answer(second, incoming, 408)
    assert final(world, alice, invite) == 408
    assert not first.agent.requests("INVITE")


def test_others_ring_beside_it(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    other = world.phone("bob", "edge-b")
    assert other.register() == 200
    call(alice)
    rung(world, other)
    rung(world, second)
    world.run(1)
    assert not first.agent.requests("INVITE")


def test_whoever_gives_up_is_not_rung_by_the_next_flow(world, alice):
    from edge.sip.transaction.client import make_cancel

    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    invite = call(alice)
    answer(second, rung(world, second), 180)
    world.run(0.1)
    alice.send(make_cancel(invite).to_bytes())
    world.wait(lambda: second.agent.requests("CANCEL"))
    second.disconnect()
    assert final(world, alice, invite) == 487
    world.run(10)
    assert not first.agent.requests("INVITE")


def test_a_message_goes_by_one_flow_too(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    message = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}", body=b"hi")
    alice.send(message.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(message))
    alice.send(alice.agent.authorize(message, challenge).to_bytes())
    world.wait(lambda: second.agent.requests("MESSAGE"))
    second.disconnect()
    world.wait(lambda: first.agent.requests("MESSAGE"))


def test_without_the_control_plane_it_is_the_same(world, alice):
    first, second = flow_of_bob(world, 1, "edge-b"), flow_of_bob(world, 2, "edge-a")
    world.control.dark = True
    invite = call(alice)
    rung(world, second)
    assert not first.agent.requests("INVITE")
    second.disconnect()
    answer(first, rung(world, first), 200)
    assert final(world, alice, invite) == 200


def test_a_control_plane_of_before_says_nothing_of_instances(world, alice):
    """Then all flows ring, as they did."""
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    decide = world.control.decide

    def before(question):
        found = decide(question)
        targets = [one.model_copy(update={"instance": "", "reg_id": 0}) for one in getattr(found, "targets", [])]
        return found.model_copy(update={"targets": targets}) if targets else found

    world.control.decide = before
    call(alice)
    rung(world, first)
    rung(world, second)


# In dialogs


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "edges", [("edge-a", "edge-a"), ("edge-a", "edge-b"), ("edge-b", "edge-a"), ("edge-b", "edge-b")]
)
def test_a_call_goes_on_by_another_flow_of_its_phone(world, alice, edges, dark):
    first, second = flow_of_bob(world, 1, edges[0]), flow_of_bob(world, 2, edges[1])
    dialog, _ = answered_call(world, alice, second)
    second.disconnect()
    world.control.dark = dark
    world.run(1)
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    got = world.wait(lambda: next(iter(first.agent.requests("BYE")), None))
    assert got.uri == dialog.target
    answer(first, got, 200)
    assert world.wait(lambda: alice.agent.final(bye)).status == 200


def test_the_ack_too(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    invite = call(alice)
    answer(second, rung(world, second), 200)
    taken = world.wait(lambda: alice.agent.final(invite))
    second.disconnect()
    dialog = alice.agent.caller_dialog(invite, taken)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    world.wait(lambda: first.agent.requests("ACK"))


def test_the_call_of_a_phone_without_another_flow_is_lost(world, alice):
    only = flow_of_bob(world, 1)
    dialog, _ = answered_call(world, alice, only)
    only.disconnect()
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    assert world.wait(lambda: alice.agent.final(bye)).status == 430


def test_a_flow_that_failed_is_not_named_again(world, alice):
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    item = next(item for item in world.control.items.values() if item.reg_id == 2)
    question = LocateQuestion(request="q", address="203.0.113.11", epoch=1, binding=item.id, failed=[item.flow])
    assert [target.reg_id for target in world.control.decide(question).targets] == [1]
    question = question.model_copy(update={"failed": [item.flow, first.connection.wire]})
    assert world.control.decide(question) == Reject(status=430)
    assert second.connection.wire == item.flow


# Whose turn it is


def target(binding, reg_id=0, at=0, after=0.0, instance=BOB, instead=()):
    flow = ("203.0.113.11", 5060, "tcp", "192.0.2.1", 1, reg_id)
    return Target(
        uri=f"sip:{binding}", flow=flow, binding=binding, aor="bob@x", instance=instance if reg_id else "",
        reg_id=reg_id, registered_at=at, after=after, instead=list(instead),
    )  # fmt: skip


def turns(found):
    return [(one.binding, [other.binding for other in one.instead]) for one in found]


def test_the_flows_of_an_instance_are_one_target():
    flows = [target("a", 1, 5), target("x"), target("b", 2, 9), target("y", 1, 1, instance="other")]
    assert turns(by_instance(flows)) == [("b", ["a"]), ("x", []), ("y", [])]


def test_a_flow_with_a_higher_q_is_the_first():
    assert turns(by_instance([target("a", 1, 5), target("b", 2, 9, after=15.0)])) == [("a", ["b"])]


def test_who_is_rung_twice_at_once_is_rung_once():
    assert turns(by_instance([target("a", 1, 5), target("b", 2, 9), target("a", 1, 5)])) == [("b", ["a"])]


def test_what_a_plan_has_instead_comes_last():
    there = target("p")
    found = by_instance([target("a", 1, 5, instead=[there]), target("b", 2, 9)])
    assert turns(found) == [("b", ["a", "p"])]
    assert instead(found[0], 503, False).binding == "p"
    assert instead(found[0], 430, True).binding == "a"
    assert instead(found[0], 486, False) is None


# Races

MOVES = st.lists(
    st.tuples(st.floats(0, 8), st.sampled_from([1, 2]), st.sampled_from(["edge-a", "edge-b"])), min_size=1, max_size=5
)


@settings(max_examples=25, deadline=None)
@example(moves=[(0, 1, "edge-a"), (0, 2, "edge-a"), (2, 2, "edge-a"), (2, 1, "edge-a")], called_at=1, dark=False)
@given(moves=MOVES, called_at=st.floats(0, 8), dark=st.booleans())
def test_whatever_its_flows_do_a_phone_is_rung_once_at_a_time(moves, called_at, dark):
    """Flows end, and are registered anew at either edge, while a call comes: a flow rings only once those that rang
    before have ended, and as long as the phone keeps one of them the call reaches it."""
    world = World()
    for name in ("alice", "bob"):
        world.control.add(name, f"pw-{name}", "t00112233aabb")
    alice = world.phone("alice")
    assert alice.register() == 200
    flows = {number: flow_of_bob(world, number, edge) for number, edge in ((1, "edge-a"), (2, "edge-b"))}
    lasting = flow_of_bob(world, 3)
    world.control.dark = dark
    rung_on: list[tuple[float, object]] = []  # when, by which connection
    ended: set[object] = set()

    def move(phone, edge):
        ended.add(phone.connection)
        phone.disconnect()
        phone.node = edge
        phone.connect()
        request = phone.agent.register_request()
        phone.send(request.to_bytes())

        def authorize():
            challenge = phone.agent.final(request)
            if challenge is not None:
                phone.send(phone.agent.authorize(request, challenge).to_bytes())

        world.after(0.1, authorize)

    def note(phone):
        taken = phone.agent.take

        def take(data):
            message = taken(data)
            if getattr(message, "method", "") == "INVITE":
                assert all(earlier in ended for _, earlier in rung_on), "two flows of the phone ring at once"
                rung_on.append((world.now, phone.connection))
                phone.send(phone.agent.response(message, 180).to_bytes())
            return message

        phone.agent.take = take

    for phone in (*flows.values(), lasting):
        note(phone)
    begin = world.now
    for at, number, edge in moves:
        world.at(begin + at, lambda number=number, edge=edge: move(flows[number], edge))
    world.run(called_at)
    call(alice)
    world.run(12)
    assert rung_on
    assert rung_on[-1][1] not in ended


def test_a_phone_that_was_heard_but_not_yet_registered_anew_is_found(world, alice):
    """After a start, by what others remember."""
    flow = flow_of_bob(world, 1, "edge-b", "UDP")
    world.restart("edge-b")
    world.run(10)
    assert flow.agent.pings
    world.control.dark = True
    call(alice)
    rung(world, flow)


def test_a_provider_finds_another_flow_of_its_callee(world):
    provider = ProviderDouble(world)
    provider.asks = False
    assign(world, account(tenant="t00112233aabb"))
    world.run(2)
    world.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    first, second = flow_of_bob(world, 1), flow_of_bob(world, 2, "edge-b")
    call = Outside(world, provider, second, "out")
    second.disconnect()
    bye = provider.agent.in_dialog(call.theirs, "BYE")
    provider.send(bye.to_bytes())
    answer(first, world.wait(lambda: next(iter(first.agent.requests("BYE")), None)), 200)
    assert world.wait(lambda: provider.agent.final(bye)).status == 200


# Over every transport


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("transport", ["TCP", "TLS", "WS", "WSS"])
def test_outbound_gruu_and_path_are_the_same_over_all_streams(world, alice, transport, ipv6):
    phone = world.phone("bob", "edge-b", transport, ipv6)
    phone.agent.instance = BOB
    request = phone.agent.register_request(headers=["Supported: path, outbound, gruu"])
    ok = phone.transact(request)
    assert (ok.status, ok.get("require"), ok.get("flow-timer")) == (200, "outbound", "20")
    assert ok.get("service-route").endswith(";lr>")
    assert "pub-gruu" in ok.get("contact")
    incoming = called(world, alice, phone)
    assert incoming.values("route") == []
    path = "<sip:token@192.0.2.200;lr;ob>"
    ok = phone.transact(phone.agent.register_request(headers=["Supported: path, outbound", f"Path: {path}"]))
    assert ok.values("path") == [path]
    assert ok.get("service-route") is None  # it would lead around the proxy
    assert called(world, alice, phone).values("route") == [path]


def called(world, caller, phone):
    """The INVITE that the phone gets, and declines."""
    phone.agent.received.clear()
    invite = call(caller)
    incoming = rung(world, phone)
    answer(phone, incoming, 486)
    assert final(world, caller, invite) == 486
    return incoming
