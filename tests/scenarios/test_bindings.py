"""One phone, one binding, for as long as it can be reached."""

from __future__ import annotations

import pytest

from edge.sip.message import Request, header_of
from lambdas.contract import BindingReport, RegisterQuestion
from lambdas.decisions.register import Expiries
from tests.support.agent import unique
from tests.support.world import DOMAIN, World

INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'
TRIAL = 36  # seconds in which one is over, the heartbeat that asks for it included


@pytest.fixture
def world() -> World:
    return World(beating=True)


def uris(response) -> list[str]:
    return [value[1 : value.index(">")] for value in response.values("contact")]


def registered(phone) -> list[str]:
    return sorted(uris(phone.transact(phone.agent.request_query())))


def bound(world, user="alice"):
    now = world.control.clock()
    return [item for item in world.control.bindings(f"{user}@{DOMAIN}") if item.live(now)]


def move(phone, host: str, port: int) -> None:
    """Its packets come from elsewhere from now on; nothing sent to where it was arrives."""
    phones = phone.world.phones
    phones.pop(phone.public)
    phone.public = (host, port)
    phones[phone.public] = phone


def ring(world, caller, *phones) -> list[int]:
    """How many INVITEs each of ``phones`` gets of a call to alice."""
    invite = caller.start_call(f"sip:alice@{DOMAIN}")
    world.run(2)
    rung = [phone.agent.requests("INVITE") for phone in phones]
    counts = [len({request.get("via") for request in requests}) for requests in rung]
    for phone, requests in zip(phones, rung, strict=True):
        for request in requests:
            phone.send(phone.agent.response(request, 486).to_bytes())
        phone.agent.received.clear()
    assert world.wait(lambda: caller.agent.final(invite)).status in (480, 486)
    return counts


def answered_call(world, caller, phone):
    """The caller's dialog."""
    invite = caller.start_call(f"sip:{phone.agent.username}@{DOMAIN}")
    incoming = world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None))
    phone.send(phone.agent.response(incoming, 200).to_bytes())
    answer = world.wait(lambda: caller.agent.final(invite))
    dialog = caller.agent.caller_dialog(invite, answer)
    caller.send(caller.agent.in_dialog(dialog, "ACK").to_bytes())
    world.run(0.1)
    phone.agent.received.clear()
    return dialog


# What tells them apart


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("sip:alice@10.0.0.9;line=aaa", "sip:alice@10.0.0.9;line=bbb", 2),
        ("sip:alice@10.0.0.9;user=phone", "sip:alice@10.0.0.9", 2),
        ("sip:alice@10.0.0.9;method=INVITE", "sip:alice@10.0.0.9", 2),
        ("sip:alice@10.0.0.9;maddr=10.0.0.1;ttl=3", "sip:alice@10.0.0.9;ttl=3", 2),
        ("sip:alice@10.0.0.9;transport=tcp", "sip:alice@10.0.0.9", 2),
        ("sip:alice@10.0.0.9:5060", "sip:alice@10.0.0.9", 2),
        ("sip:alice@10.0.0.9?Subject=a", "sip:alice@10.0.0.9?Subject=b", 2),
        ("sip:alice@10.0.0.9?Subject=a&Priority=b", "sip:alice@10.0.0.9?priority=b&subject=a", 1),
        ("sip:alice:one@10.0.0.9", "sip:alice:other@10.0.0.9", 2),
        ("sip:a;b@10.0.0.9", "sip:a%3Bb@10.0.0.9", 2),
        ("sip:%61lice%5f@10.0.0.9", "sip:alice_@10.0.0.9", 1),
        ("sip:Alice@10.0.0.9", "sip:alice@10.0.0.9", 2),
        ("sip:alice@HOST.Example;LINE=a;ob", "sip:alice@host.example;ob;line=A", 1),
        ("sip:%23%7Balice@10.0.0.9", "sip:#{alice@10.0.0.9", 1),
    ],
)
def test_contacts_compare_as_uris_do(world, one, other, count):
    """RFC 3261 §19.1.4, but that every parameter counts, even one that only one of the two has."""
    phone = world.phone("alice")
    phone.register(contact=f"<{one}>")
    phone.register(contact=f"<{other}>")
    assert len(registered(phone)) == count


def test_a_contact_that_is_replaced_in_one_request(world):
    """Each Contact counts for itself (§10.3 step 7), in whatever order."""
    phone = world.phone("alice")
    old, new = "<sip:alice@10.0.0.9;pn-prid=OLD;ob>", "<sip:alice@10.0.0.9;pn-prid=NEW;ob>"
    assert phone.register(contact=old) == 200
    for removal, addition in ((old, new), (new, old)):
        for contact in (f"{addition};expires=600, {removal};expires=0", f"{removal};expires=0, {addition};expires=600"):
            assert uris(phone.transact(phone.agent.register_request(None, contact=contact))) == [addition[1:-1]]


@pytest.mark.parametrize("order", [("expires=0", "expires=600"), ("expires=600", "expires=0")])
def test_one_contact_twice(world, order):
    """Taken back and made anew, it is there."""
    phone = world.phone("alice")
    assert phone.register() == 200
    twice = ", ".join(f"<sip:alice@10.0.0.9:5060>;{expires}" for expires in order)
    assert len(uris(phone.transact(phone.agent.register_request(None, contact=twice)))) == 1
    assert len(bound(world)) == 1


def test_each_contact_has_its_own_expiry_and_preference(world):
    phone = world.phone("alice")
    three = "<sip:a@10.0.0.9>;expires=70;q=0.3, <sip:b@10.0.0.9>;q=0.7, <sip:c@10.0.0.9>;expires=0"
    answer = phone.transact(phone.agent.register_request(80, contact=three))
    assert answer.values("contact") == ["<sip:a@10.0.0.9>;expires=70;q=0.3", "<sip:b@10.0.0.9>;expires=80;q=0.7"]
    mixed = "<sip:a@10.0.0.9>;expires=70, <sip:b@10.0.0.9>;expires=20"
    assert phone.transact(phone.agent.register_request(None, contact=mixed)).status == 423
    assert len(registered(phone)) == 2


def test_phones_at_two_homes_have_the_same_private_contact(world):
    one, other, bob = world.phone("alice"), world.phone("alice"), world.phone("bob")
    assert one.register() == other.register() == bob.register() == 200
    assert one.agent.contact == other.agent.contact
    world.run(TRIAL)
    assert ring(world, bob, one, other) == [1, 1]
    assert other.register(expires=0) == 200
    assert ring(world, bob, one, other) == [1, 0]


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
def test_a_phone_whose_address_changes_keeps_its_place(world, edge):
    phone, bob = world.phone("alice"), world.phone("bob")
    assert phone.register() == bob.register() == 200
    dialog = answered_call(world, bob, phone)
    move(phone, "198.51.100.77", 41000)
    phone.node = edge
    for _ in range(3):
        assert len(uris(phone.transact(phone.agent.register_request()))) == 1
    assert ring(world, bob, phone) == [1]
    if edge == "edge-a":
        bob.send(bob.agent.in_dialog(dialog, "BYE").to_bytes())
        world.wait(lambda: phone.agent.requests("BYE"))
    assert sum(isinstance(question, RegisterQuestion) for question in world.control.questions) == 3


def test_refreshes_of_the_second_home_cost_nothing(world):
    phones = [world.phone("alice"), world.phone("alice")]
    for _ in range(5):
        assert [phone.register() for phone in phones] == [200, 200]
        world.run(60)
    assert sum(isinstance(question, RegisterQuestion) for question in world.control.questions) == 2


# Whose phone has come back with another Contact


def come_back(phone, same: str, edge: str = "edge-a") -> None:
    """With another port, and what tells that it is the same phone."""
    move(phone, phone.public[0], phone.public[1] + 7)
    phone.agent.port += 7
    phone.node = edge
    if same != "call_id":
        phone.agent.call_id += "x"
    contact = f"{phone.agent.contact}{';' + INSTANCE if same == 'instance' else ''}"
    assert phone.register(contact=contact) == 200


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("same", ["instance", "call_id"])
def test_a_binding_that_its_phone_has_left_goes(world, same, edge):
    """At once it may still be there: nobody has tried. The edge that has its flow does, whichever it is."""
    phone, bob = world.phone("alice"), world.phone("bob")
    contact = f"{phone.agent.contact}{';' + INSTANCE if same == 'instance' else ''}"
    assert phone.register(contact=contact) == bob.register() == 200
    come_back(phone, same, edge)
    assert len(bound(world)) == 2
    world.run(TRIAL)
    assert [item.contact for item in bound(world)] == [phone.agent.contact[1:-1]]
    assert ring(world, bob, phone) == [1]
    assert len(world.nodes["edge-a"].core.stack.bindings) == (2 if edge == "edge-a" else 1)


@pytest.mark.parametrize("same", ["instance", "call_id"])
def test_contacts_of_one_phone_that_are_both_alive_stay(world, same):
    phone, bob = world.phone("alice"), world.phone("bob")
    other = world.phone("alice")
    other.agent.call_id, other.agent.port = phone.agent.call_id, 5070
    suffix = f";{INSTANCE}" if same == "instance" else ""
    assert phone.register(contact=phone.agent.contact + suffix) == bob.register() == 200
    other.agent.register_cseq = phone.agent.register_cseq
    if same == "instance":
        other.agent.call_id += "x"
    phone.agent.pings = 0
    assert other.register(contact=other.agent.contact + suffix) == 200
    world.run(2 * TRIAL)
    assert phone.agent.pings > 0
    assert len(bound(world)) == 2
    assert ring(world, bob, phone, other) == [1, 1]


def test_flows_of_one_instance_are_parallel(world):
    """RFC 5626 §6: it says itself which of them is which."""
    phone = world.phone("alice")
    for number in (1, 2):
        phone.agent.port += number
        assert phone.register(contact=f"{phone.agent.contact};{INSTANCE};reg-id={number}") == 200
    move(phone, phone.public[0], phone.public[1] + 7)
    world.run(TRIAL)
    assert len(bound(world)) == 2
    phone.agent.port += 7
    phone.agent.call_id += "x"
    answer = phone.transact(phone.agent.register_request(contact=f"{phone.agent.contact};{INSTANCE};reg-id=2"))
    assert len(uris(answer)) == 2
    assert phone.agent.contact[1:-1] in uris(answer)


def test_what_is_elsewhere_is_not_tried(world):
    """Another user, instance and Call-ID: another phone, that may just be out of reach for a while."""
    phone = world.phone("alice")
    assert phone.register() == 200
    other = world.phone("alice")
    other.agent.port += 1
    move(phone, phone.public[0], phone.public[1] + 7)
    assert other.register() == 200
    world.run(TRIAL)
    assert len(bound(world)) == 2


def test_a_phone_that_is_heard_meanwhile_stays(world):
    """It ignores the OPTIONS, but refreshes."""
    phone = world.phone("alice")
    phone.agent.answers_options = False
    assert phone.register() == 200
    other = world.phone("alice")
    other.agent.call_id, other.agent.register_cseq, other.agent.port = phone.agent.call_id, 10, 5070
    assert other.register() == 200
    world.run(10)
    assert phone.register() == 200
    world.run(TRIAL)
    assert {item.contact[-4:] for item in bound(world)} == {"5060", "5070"}
    assert not any(isinstance(report, BindingReport) for report in world.control.reports)


# A phone that starts anew with its Call-ID


def start_anew(phone) -> None:
    phone.agent.register_cseq = 0
    phone.agent.received.clear()


@pytest.mark.parametrize("edge", ["edge-a", "edge-b"])
@pytest.mark.parametrize("left", ["bound", "unregistered", "run out"])
def test_a_phone_that_starts_anew_counts_from_one(world, left, edge):
    phone, bob = world.phone("alice"), world.phone("bob")
    world.control.expiries = Expiries(max_expires=100)
    for _ in range(3):
        assert phone.register() == 200
    if left == "unregistered":
        assert phone.register(expires=0) == 200
    elif left == "run out":
        phone.agent.answers_options = False
        world.run(200)
        assert not bound(world)
    start_anew(phone)
    phone.node = edge
    assert phone.register() == 200
    assert len(bound(world)) == 1
    assert bob.register() == 200
    assert ring(world, bob, phone) == [1]
    assert phone.register(expires=0) == 200
    assert not bound(world)


def test_in_the_dark_too(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    world.run(3)
    world.control.dark = True
    for _ in range(3):
        assert phone.register() == 200
    phone.agent.port += 1  # so that it isn't a refresh
    phone.agent.host = "10.0.0.77"
    assert phone.register() == 200
    start_anew(phone)
    assert phone.register() == 200


# Room


def test_a_phone_that_comes_back_from_another_port_each_time_is_taken(world):
    """It is new each time, and a phone that answers isn't the one that goes."""
    desk, bob, soft = world.phone("alice"), world.phone("bob"), world.phone("alice")
    desk.agent.host = "10.0.0.77"
    assert desk.register() == bob.register() == 200
    for _ in range(14):
        move(soft, soft.public[0], soft.public[1] + 1)
        soft.agent.port += 1
        soft.agent.call_id += "x"
        assert soft.register() == 200
        world.run(4)
        soft.agent.answers_options = False
    assert len(bound(world)) == 10
    assert ring(world, bob, desk, soft) == [1, 1]


def test_an_accounts_own_limit_is_for_a_person_to_change(world):
    import dataclasses

    from lambdas.decisions.limits import CallLimits

    phone = world.phone("alice")
    account = world.control.accounts[f"alice@{DOMAIN}"]
    world.control.accounts[account.aor] = dataclasses.replace(account, limits=CallLimits(registrations=1))
    assert phone.register() == 200
    other = world.phone("alice")
    other.agent.host = "10.0.0.77"
    assert other.register() == 403
    phone.agent.answers_options = False
    world.run(60)  # nothing is heard of it
    assert other.register() == 200
    assert len(bound(world)) == 1


def test_in_the_dark_the_stalest_makes_room(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    world.run(3)
    world.control.dark = True
    for index in range(12):
        world.run(0.1)
        assert phone.register(contact=f"<sip:alice@10.0.1.{index}>") == 200
    assert len(world.nodes["edge-a"].core.stack.bindings) == 10
    world.control.dark = False
    world.run(5)
    assert {item.contact.rpartition(".")[2] for item in bound(world)} == {str(index) for index in range(2, 12)}


# An upgrade, edge by edge


def test_bindings_of_before_go_on(world):
    """The same phone under the key that edges of before make, and under today's: one, whichever edge it is at, and
    known to its dialogs."""
    world.spoken = 7
    world.run(3)
    phone, bob = world.phone("alice"), world.phone("bob")
    contact = "<sip:alice@10.0.0.9:5060;line=abc;ob>"
    assert phone.register(contact=contact) == bob.register() == 200
    assert phone.register(contact="<sip:alice@10.0.0.9:5060;line=abd;ob>") == 200
    assert phone.register(contact=contact) == 200
    assert len(bound(world)) == 1
    (before,) = bound(world)
    dialog = answered_call(world, bob, phone)
    for spoken, edge in ((8, "edge-a"), (8, "edge-b"), (7, "edge-b"), (8, "edge-a"), (7, "edge-a")):
        world.spoken = spoken
        world.run(3)
        phone.node = edge
        for _ in range(2):
            assert phone.register(contact=contact) == 200
        assert len(bound(world)) == 1
        assert bound(world)[0].id == before.id
        world.run(3)
        assert sum(len(node.core.stack.bindings) for node in world.nodes.values()) == 2
        assert ring(world, bob, phone) == [1]
        move(phone, phone.public[0], phone.public[1] + 1)
        assert phone.register(contact=contact) == 200
        bob.send(bob.agent.in_dialog(dialog, "INFO").to_bytes())
        world.wait(lambda: phone.agent.requests("INFO"))
        phone.agent.received.clear()
    assert phone.register(contact=contact, expires=0) == 200
    assert not bound(world)


def test_an_older_register_of_before_comes_too_late(world):
    world.spoken = 7
    world.run(3)
    phone = world.phone("alice")
    contact = "<sip:alice@10.0.0.9:5060;line=abc>"
    late = phone.agent.register_request(0, contact=contact)
    phone.send(late.to_bytes())
    late = phone.agent.authorize(late, world.wait(lambda: phone.agent.final(late)))
    assert phone.register(contact=contact) == 200
    world.spoken = 8
    world.run(3)
    phone.send(late.to_bytes())
    assert world.wait(lambda: phone.agent.final(late)).status == 500
    assert len(bound(world)) == 1


def test_an_upgrade_in_the_dark(world):
    world.spoken = 7
    world.run(3)
    phone = world.phone("alice")
    contact = "<sip:alice@10.0.0.9:5060;line=abc>"
    assert phone.register(contact=contact) == 200
    world.spoken = 8
    world.run(3)
    world.control.dark = True
    assert phone.register(contact=contact) == 200
    assert len(registered(phone)) == 1
    world.control.dark = False
    world.run(5)
    assert len(bound(world)) == 1


@pytest.mark.parametrize("spoken", [7, 8])
def test_what_the_disk_has_is_what_is_registered(world, spoken):
    """By the name that the control plane has for it, so that it can be reported."""
    world.spoken = spoken
    world.run(3)
    phone = world.phone("alice")
    assert phone.register(contact="<sip:alice@10.0.0.9:5060;line=abc>") == 200
    core = world.nodes["edge-a"].core
    (before,) = core.stack.bindings.ids()
    records = core.disk_records.take_changed(10, world.now)
    core.stack.bindings.remove(before)
    core.disk_records.restore([(aor, record) for aor, record in records if record], True, world.now)
    assert core.stack.bindings.ids() == [before]
    phone.agent.answers_options = False
    world.run(200)
    assert not bound(world)


# Path, and what a 200 says


SBC = "<sip:sbc.example.net;lr;ob>"


@pytest.mark.parametrize("dark", [False, True])
def test_phones_behind_one_proxy_have_the_same_contact(world, dark):
    """Its Path tells them apart, and may change while a phone goes on."""
    one, other = world.phone("alice"), world.phone("alice")
    other.public = one.public
    one_path, other_path = ("<sip:a1@192.0.2.44;lr>",), ("<sip:b1@192.0.2.44;lr>",)
    assert register_by(one, one_path).status == 200
    world.run(2.1)
    world.control.dark = dark
    world.phones[one.public] = other
    assert len(uris(register_by(other, other_path))) == 2
    assert len(uris(register_by(other, ("<sip:b2@192.0.2.44;lr>",)))) == 2
    world.control.dark = False
    world.run(3)
    assert sorted(item.path for item in bound(world)) == [["<sip:a1@192.0.2.44;lr>"], ["<sip:b2@192.0.2.44;lr>"]]


def register_by(phone, path=(SBC,), extra=()):
    """REGISTER as a proxy between the phone and us sends it on; its final response."""

    def answered(request):
        lines = [f"Via: SIP/2.0/UDP sbc.example.net;branch={unique('z9hG4bKsbc')}"]
        lines += [f"Path: {value}" for value in path]
        added = [header_of(line) for line in [*lines, *extra]]
        phone.send(Request("REGISTER", request.uri, [*added, *request.headers]).to_bytes())
        return phone.world.wait(lambda: next(iter(finals(request)), None))

    def finals(request):
        """With the proxy's Via, which it would take away."""
        found = phone.agent.responses("REGISTER", request.get("call-id"))
        return [one for one in found if one.status >= 200 and one.get("cseq") == request.get("cseq")]

    request = phone.agent.register_request()
    answer = answered(request)
    return answered(phone.agent.authorize(request, answer)) if answer.status == 401 else answer


@pytest.mark.parametrize("dark", [False, True])
def test_path_is_returned_and_leads_to_the_phone(world, dark):
    """RFC 3327 §5.3 and §5.4, in the order that it has, on the flow of the proxy."""
    phone, bob = world.phone("alice"), world.phone("bob", "edge-b")
    path = ("<sip:p2@192.0.2.44;lr>", "<sip:p1@192.0.2.45;lr;ob>")
    answer = register_by(phone, path, ["Require: path"])
    assert answer.status == 200
    assert answer.values("path") == list(path)
    assert bob.register() == 200
    world.run(2.1)
    world.control.dark = dark
    bob.start_call(f"sip:alice@{DOMAIN}")
    invite = world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None))
    assert invite.split_values("route") == list(path)
    assert invite.uri == phone.agent.contact[1:-1]


def test_path_comes_back_after_a_restart(world):
    phone, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert register_by(phone).status == bob.register() == 200
    world.restart("edge-a")
    world.control.dark = True
    bob.start_call(f"sip:alice@{DOMAIN}")
    invite = world.wait(lambda: next(iter(phone.agent.requests("INVITE")), None), 60)
    assert invite.split_values("route") == [SBC]


@pytest.mark.parametrize(
    "path", [["<sip:p;lr>"] * 9, [f"<sip:{'p' * 1030}@192.0.2.44;lr>"], ["<mailto:a@b>"], ["sip:p;lr"], ["<sip:p;lr"]]
)
def test_a_path_that_cannot_be_used(world, path):
    assert register_by(world.phone("alice"), path).status == 400


def test_a_phone_behind_a_proxy_has_to_be_heard_itself(world):
    """The proxy answers our pings, which says nothing of the phone."""
    phone = world.phone("alice")
    assert register_by(phone).status == 200
    world.run(160)
    assert phone.agent.pings > 5
    assert not bound(world)


@pytest.mark.parametrize(
    ("path", "extra", "status", "keyed"),
    [
        ([SBC], ["Supported: path, outbound"], 200, True),
        ([SBC], [], 200, True),
        (["<sip:sbc.example.net;lr>"], ["Supported: path, outbound"], 439, False),
        (["<sip:sbc.example.net;lr>"], [], 200, False),
        ([], [], 200, False),
    ],
)
def test_outbound_through_a_proxy(world, path, extra, status, keyed):
    """RFC 5626 §6: the first proxy has to know it, too."""
    phone = world.phone("alice")
    phone.agent.instance = "urn:uuid:1"
    answer = register_by(phone, path, extra)
    assert answer.status == status
    if status == 200:
        assert ("reg-id=1" in answer.get("contact")) == keyed
        assert answer.get("require") == ("outbound" if keyed and extra else None)


def test_outbound_is_confirmed_where_it_is_asked_for_and_done(world):
    phone = world.phone("alice")
    phone.agent.instance = "urn:uuid:1"
    for headers, confirmed in ((["Supported: path, outbound"], "outbound"), ([], None)):
        answer = phone.transact(phone.agent.register_request(headers=headers))
        assert (answer.status, answer.get("require"), answer.get("flow-timer")) == (200, confirmed, None)
    phone.agent.instance = ""
    answer = phone.transact(phone.agent.register_request(headers=["Supported: path, outbound"]))
    assert answer.get("require") is None


def test_flows_are_registered_one_by_one(world):
    """RFC 5626 §6."""
    phone = world.phone("alice")
    two = f"<sip:a@10.0.0.9>;{INSTANCE};reg-id=1, <sip:b@10.0.0.9>"
    assert phone.transact(phone.agent.register_request(contact=two)).status == 400
    assert phone.transact(phone.agent.register_request(contact=f"{two};expires=0")).status == 200


def test_a_200_has_the_date(world):
    phone = world.phone("alice")
    assert phone.transact(phone.agent.register_request()).get("date") == "Fri, 15 Jan 2027 08:16:40 GMT"


@pytest.mark.parametrize("domain", [DOMAIN, "203.0.113.11"])
def test_a_register_with_a_to_tag_is_of_no_dialog(world, domain):
    phone = world.phone("alice")
    phone.agent.domain = domain
    for _ in range(2):
        request = phone.agent.register_request()
        request.headers = [(key, line + ";tag=old" if key == "to" else line) for key, line in request.headers]
        assert phone.transact(request).status == 200
    assert phone.agent.responses("REGISTER")[-1].get("to").count("tag=") == 1


@pytest.mark.parametrize("to", ["isbn:2983792873", "tel:+15551234"])
def test_to_has_to_be_a_sip_address(world, to):
    phone = world.phone("alice")
    request = phone.agent.register_request()
    request.headers = [(key, f"To: <{to}>" if key == "to" else line) for key, line in request.headers]
    assert phone.transact(request).status == 400


def test_phones_that_have_to_wait_do_not_come_at_one_instant(world):
    world.control.dark = True
    seconds = []
    for number in range(30):
        phone = world.phone(f"user{number}")
        answers = [phone.transact(phone.agent.register_request()) for _ in range(2)]
        assert [answer.status for answer in answers] == [503, 503]
        first, second = (int(answer.get("retry-after")) for answer in answers)
        assert first == second
        seconds.append(first)
    assert 5 <= min(seconds) < 9
    assert 16 < max(seconds) <= 20
    assert len(set(seconds)) > 8


def test_a_phone_that_comes_back_to_where_it_was_is_answered(world):
    phone = world.phone("alice")
    assert phone.register() == 200
    there = phone.public
    for public in (("192.0.2.77", there[1]), there):
        del world.phones[phone.public]
        phone.public = public
        world.phones[public] = phone
        assert phone.register() == 200
