"""Subscriptions to message summaries (RFC 3842, RFC 6665): who may have one, what is told in it, and how it ends."""

from __future__ import annotations

import pytest

from tests.support.control import DOMAIN
from tests.support.world import World

EVENT = "Event: message-summary"
TYPE = "Content-Type: application/simple-message-summary"
NONE = b"Messages-Waiting: no\r\n"
TWO = b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
THREE = b"Messages-Waiting: yes\r\nVoice-Message: 3/8 (0/2)\r\n"


@pytest.fixture
def world():
    return World()


@pytest.fixture
def bob(world):
    phone = world.phone("bob")
    assert phone.register() == 200
    return phone


@pytest.fixture
def voicemail(world):
    phone = world.phone("voicemail", "edge-b")
    assert phone.register() == 200
    return phone


def subscribe(phone, expires=3600, called="", headers=(), dialog=None):
    """The final response, and the dialog."""
    agent = phone.agent
    lines = [EVENT, f"Expires: {expires}", "Accept: application/simple-message-summary", *headers]
    if dialog is not None:
        request = agent.in_dialog(dialog, "SUBSCRIBE", headers=lines)
    else:
        lines.append(f"Contact: {agent.contact}")
        request = agent.request("SUBSCRIBE", called or agent.aor, headers=lines)
    response = phone.transact(request)
    if response.status != 200:
        return response, dialog
    sent = agent.caller_dialog(request, response)
    sent.cseq = int(response.get("cseq").split()[0])
    return response, sent


def heard(world, phone, status=200):
    """The next NOTIFY that the phone gets, which it answers."""
    got = world.wait(lambda: next(iter(phone.agent.requests("NOTIFY")), None))
    phone.agent.received.remove(got)
    phone.send(phone.agent.response(got, status).to_bytes())
    world.run(0.1)
    return got


def state(notify):
    return notify.get("subscription-state")


def notify_of(voicemail, body=TWO, called="bob"):
    lines = [f"Contact: {voicemail.agent.contact}", EVENT, TYPE]
    return voicemail.agent.request("NOTIFY", f"sip:{called}@{DOMAIN}", headers=lines, body=body)


def tell(world, voicemail, body=TWO, called="bob"):
    """What the voicemail system's NOTIFY for an account is answered."""
    return voicemail.transact(notify_of(voicemail, body, called))


def begin_telling(world, voicemail, body=TWO):
    """The voicemail system's NOTIFY, which isn't answered yet."""
    notify = notify_of(voicemail, body)
    voicemail.send(notify.to_bytes())
    challenge = world.wait(lambda: voicemail.agent.final(notify))
    notify = voicemail.agent.authorize(notify, challenge)
    voicemail.send(notify.to_bytes())
    return notify


def test_a_phone_is_told_at_once_and_at_each_change_in_its_dialog(world, bob, voicemail):
    response, dialog = subscribe(bob)
    assert response.get("expires") == "600"
    assert response.get("contact") == "<sip:message-summary@203.0.113.11:5060>"
    first = heard(world, bob)
    assert first.body == NONE
    assert state(first) == "active;expires=600"
    assert (first.get("event"), first.get("content-type")) == (
        "message-summary",
        "application/simple-message-summary",
    )
    assert first.uri == bob.agent.contact.strip("<>")
    assert (first.get("call-id"), first.get("from"), first.get("to")) == (dialog.call_id, dialog.remote, dialog.local)
    assert tell(world, voicemail).status == 200
    second = heard(world, bob)
    assert second.body == TWO
    assert (second.get("call-id"), second.get("from")) == (dialog.call_id, dialog.remote)
    assert int(second.get("cseq").split()[0]) == int(first.get("cseq").split()[0]) + 1
    world.run(5)
    assert not bob.agent.requests("NOTIFY"), "the NOTIFY as it came is for others"


def test_what_was_told_before_is_the_first_thing_to_hear(world, voicemail):
    """Whether a phone was registered then or not."""
    world.phone("bob")
    assert tell(world, voicemail).status == 480
    bob = world.phone("bob")
    assert bob.register() == 200
    subscribe(bob)
    assert heard(world, bob).body == TWO


def test_others_get_it_as_it_came(world, bob, voicemail):
    mobile = world.phone("bob", "edge-b")
    mobile.agent.host = "10.0.0.10"
    assert mobile.register() == 200
    _, dialog = subscribe(bob)
    heard(world, bob)
    notify = begin_telling(world, voicemail)
    told, unasked = heard(world, bob), heard(world, mobile)
    assert told.body == unasked.body == TWO
    assert told.get("call-id") == dialog.call_id
    assert (unasked.get("call-id"), state(unasked)) == (notify.get("call-id"), None)
    assert world.wait(lambda: voicemail.agent.final(notify)).status == 200


def test_a_phone_renews_and_ends_it(world, bob, voicemail):
    _, dialog = subscribe(bob)
    heard(world, bob)
    asked = len(world.control.questions)
    world.run(500)
    response, dialog = subscribe(bob, 300, dialog=dialog)
    assert response.get("expires") == "300"
    assert state(heard(world, bob)) == "active;expires=300"
    world.run(200)
    response, _ = subscribe(bob, 0, dialog=dialog)
    assert response.status == 200
    assert len(world.control.questions) == asked, "the edge knows all that"
    assert state(heard(world, bob)) == "terminated;reason=timeout"
    bob.register()
    begin_telling(world, voicemail)
    assert state(heard(world, bob)) is None


def test_it_runs_out(world, bob):
    subscribe(bob, 60)
    assert state(heard(world, bob)) == "active;expires=60"
    world.run(59)
    assert state(heard(world, bob)) == "terminated;reason=timeout"


def test_one_who_only_asks(world, bob, voicemail):
    """RFC 6665 §4.4.3."""
    response, _ = subscribe(bob, 0)
    assert (response.status, response.get("expires")) == (200, "0")
    got = heard(world, bob)
    assert (got.body, state(got)) == (NONE, "terminated;reason=timeout")


@pytest.mark.parametrize("status", [481, 489, 0])
def test_a_phone_that_knows_nothing_of_it_or_is_silent_is_dropped(world, bob, voicemail, status):
    _, dialog = subscribe(bob, 600)
    if status:
        heard(world, bob, status)
    else:
        world.run(33)
    bob.agent.received.clear()
    begin_telling(world, voicemail)
    got = heard(world, bob)
    assert got.get("call-id") != dialog.call_id
    assert state(got) is None


def test_one_at_a_time_and_the_last_word_counts(world, bob, voicemail):
    subscribe(bob)
    first = world.wait(lambda: next(iter(bob.agent.requests("NOTIFY")), None))
    for body in (TWO, THREE):
        assert tell(world, voicemail, body).status == 200
    world.run(0.2)
    assert {item.get("cseq") for item in bob.agent.requests("NOTIFY")} == {first.get("cseq")}
    bob.agent.received.clear()
    bob.send(bob.agent.response(first, 200).to_bytes())
    assert heard(world, bob).body == THREE
    world.run(1)
    assert not bob.agent.requests("NOTIFY")


@pytest.mark.parametrize("how", ["restart", "takeover"])
def test_the_next_subscribe_makes_it_again_where_nobody_remembers(world, bob, voicemail, how):
    _, dialog = subscribe(bob)
    last = heard(world, bob)
    if how == "restart":
        world.restart("edge-a")
    else:
        bob.node = "edge-b"
        assert bob.register() == 200
    assert tell(world, voicemail, called="nobody").status == 404
    world.run(400)
    bob.register()
    response, renewed = subscribe(bob, dialog=dialog)
    assert response.status == 200
    assert renewed.remote == dialog.remote
    got = heard(world, bob)
    assert (got.get("call-id"), got.get("from")) == (dialog.call_id, dialog.remote)
    assert int(got.get("cseq").split()[0]) > int(last.get("cseq").split()[0])
    assert tell(world, voicemail).status == 200
    assert heard(world, bob).body == TWO


def test_a_phone_that_starts_anew_has_one(world, bob, voicemail):
    _, before = subscribe(bob)
    heard(world, bob)
    _, dialog = subscribe(bob)
    both = [heard(world, bob), heard(world, bob)]
    said = {item.get("call-id"): state(item) for item in both}
    assert said == {before.call_id: "terminated;reason=noresource", dialog.call_id: "active;expires=600"}
    assert tell(world, voicemail).status == 200
    assert heard(world, bob).get("call-id") == dialog.call_id
    world.run(1)
    assert not bob.agent.requests("NOTIFY")


def test_a_phone_that_renews_by_another_contact_is_told_there(world, bob, voicemail):
    _, dialog = subscribe(bob)
    last = heard(world, bob)
    world.phones.pop(bob.public)
    bob.public = ("192.0.2.1", 31000)
    world.phones[bob.public] = bob
    bob.agent.port = 5062
    assert bob.register() == 200
    response, renewed = subscribe(bob, dialog=dialog)
    assert (response.status, renewed.remote) == (200, dialog.remote)
    got = heard(world, bob)
    assert (got.get("call-id"), got.uri) == (dialog.call_id, bob.agent.contact.strip("<>"))
    assert int(got.get("cseq").split()[0]) > int(last.get("cseq").split()[0])
    assert world.nodes["edge-a"].core.gauges()["subscriptions"] == 1


def test_of_ones_own_account_only(world, bob):
    world.phone("alice")
    asked = len(world.control.questions)
    response, _ = subscribe(bob, called=f"sip:alice@{DOMAIN}")
    assert response.status == 403
    bob.agent.password = "wrong"
    response, _ = subscribe(bob)
    assert response.status == 403
    assert not bob.agent.requests("NOTIFY")
    assert [question.method for question in world.control.questions[asked:]] == ["SUBSCRIBE"]


def test_a_stranger_costs_nothing(world, bob):
    """Nobody is registered where it comes from: no challenge, no transaction, no question."""
    mallory = world.phone("bob")
    asked = len(world.control.questions)
    response, _ = subscribe(mallory)
    assert (response.status, response.reason) == (480, "Temporarily Unavailable: register first")
    assert len(world.control.questions) == asked
    assert not [key for key in world.nodes["edge-a"].core.stack.transactions.servers if "SUBSCRIBE" in key]


def test_nobody_ends_or_moves_anothers(world, bob, voicemail):
    _, dialog = subscribe(bob)
    heard(world, bob)
    dialog.local = dialog.local.replace("bob", "voicemail")
    voicemail.node = "edge-a"
    assert voicemail.register() == 200
    response, _ = subscribe(voicemail, 0, dialog=dialog)
    assert response.status == 200
    assert state(heard(world, voicemail)) == "terminated;reason=timeout", "one of its own"
    assert not bob.agent.requests("NOTIFY")
    voicemail.node = "edge-b"
    assert voicemail.register() == 200
    assert tell(world, voicemail).status == 200
    assert heard(world, bob).body == TWO


@pytest.mark.parametrize(
    ("expires", "headers", "status"),
    [
        (59, (), 423),
        ("soon", (), 400),
        (60, ("Require: x-unheard-of",), 420),
        (60, (f"Record-Route: <sip:{'p' * 5000}@192.0.2.9;lr>",), 400),
    ],
)
def test_what_cannot_be_taken_is_refused(world, bob, expires, headers, status):
    response, _ = subscribe(bob, expires, headers=headers)
    assert response.status == status
    assert response.get("min-expires") == ("60" if status == 423 else None)


def test_without_the_control_plane_known_phones_subscribe(world, bob, voicemail):
    world.control.dark = True
    response, dialog = subscribe(bob)
    assert response.status == 200
    got = heard(world, bob)
    assert (got.body, state(got)) == (b"", "active;expires=600")
    assert tell(world, voicemail).status == 200
    got = heard(world, bob)
    assert (got.body, got.get("call-id")) == (TWO, dialog.call_id)


def test_what_is_no_summary_goes_as_it_came(world, bob, voicemail):
    subscribe(bob)
    heard(world, bob)
    odd = b"Messages-Waiting: yes\r\n" + b"x" * 1000
    begin_telling(world, voicemail, odd)
    got = heard(world, bob)
    assert (got.body, state(got)) == (odd, None)
    assert world.control.summaries == {}


def test_a_phone_with_two_flows_is_told_by_the_one_that_it_subscribed_by(world, voicemail):
    flows = []
    for number, edge in ((1, "edge-a"), (2, "edge-b")):
        flow = world.phone("bob", edge, "TCP")
        flow.agent.instance, flow.agent.reg_id = "urn:uuid:1", number
        assert flow.register() == 200
        flows.append(flow)
    subscribe(flows[0])
    heard(world, flows[0])
    assert tell(world, voicemail).status == 200
    assert heard(world, flows[0]).body == TWO
    assert not flows[1].agent.requests("NOTIFY")
