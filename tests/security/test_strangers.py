"""What strangers may cost: one packet for each request, nothing kept, and no question that is known to be vain."""

from __future__ import annotations

import tracemalloc

import pytest

from edge.proxy.stack import questions, sources
from edge.proxy.stack.events import Ask, ProvidersAssigned, Received, Send
from edge.sip import digest
from edge.sip.flow import Flow
from edge.sip.parser import parse
from lambdas.contract import RegisterQuestion
from tests.support.agent import Agent
from tests.support.control import DOMAIN
from tests.support.world import World

EDGE = "203.0.113.11"
PAD = "X-Padding: " + "x" * 200 + "\r\n"


@pytest.fixture
def world():
    return World()


def text(method: str, uri: str, sender: str = f"sip:alice@{DOMAIN}", more: str = "", branch: str = "1") -> bytes:
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n"
        f"From: <{sender}>;tag=f\r\nTo: <{uri}>\r\nCall-ID: c{branch}\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
    ).encode()


def stranger(number: int = 1) -> Flow:
    return Flow(EDGE, 5060, "udp", f"198.51.{number // 250}.{number % 250 + 1}", 40_000)


AWAY = "sip:eve@elsewhere.example"
REQUESTS = {
    "401": text("REGISTER", f"sip:{DOMAIN}"),
    "404 foreign": text("REGISTER", "sip:elsewhere.example"),
    "407": text("INVITE", f"sip:bob@{DOMAIN}"),
    "403": text("INVITE", "sip:bob@other.example", AWAY),
    "407 from elsewhere": text("INVITE", f"sip:bob@{DOMAIN}", AWAY),
    "407 anonymous": text("INVITE", f"sip:bob@{DOMAIN}", "sip:anonymous@anonymous.invalid"),
    "407 tel": text("INVITE", "tel:+4930123", "tel:+4930124"),
    "404 at the edge": text("INVITE", f"sip:guess@{EDGE}", AWAY),
    "416": text("INVITE", "im:bob@other.example"),
    "420": text("INVITE", f"sip:bob@{DOMAIN}", more="Proxy-Require: none-such\r\n"),
    "483": text("INVITE", f"sip:bob@{DOMAIN}").replace(b"Max-Forwards: 70", b"Max-Forwards: 0"),
    "481": text("INVITE", f"sip:bob@{DOMAIN}").replace(b"\r\nCall-ID", b";tag=t\r\nCall-ID"),
    "400": text("INVITE", f"sip:bob@{DOMAIN}", more="From: <sip:x@y.example>;tag=2\r\n"),
    "MESSAGE": text("MESSAGE", f"sip:bob@{DOMAIN}", AWAY),
    "PUBLISH": text("PUBLISH", f"sip:bob@{DOMAIN}", AWAY),
    "OPTIONS": text("OPTIONS", f"sip:{DOMAIN}"),
    "CANCEL": text("CANCEL", f"sip:bob@{DOMAIN}"),
    "BYE": text("BYE", f"sip:bob@{DOMAIN}"),
    "505": text("OPTIONS", f"sip:{DOMAIN}").replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"),
    "too long": text("OPTIONS", f"sip:{DOMAIN}", more="X-Long: " + "x" * 9000 + "\r\n"),
}


@pytest.mark.parametrize("algorithms", [["MD5"], ["MD5", "SHA-256"]], ids=["one challenge", "two"])
@pytest.mark.parametrize("padded", [False, True], ids=["short", "400 octets"])
@pytest.mark.parametrize("name", REQUESTS)
def test_one_packet_and_no_more_octets_than_it_is_worth(world, name, padded, algorithms):
    node = world.nodes["edge-a"]
    node.core.stack.authenticator._algorithms = algorithms
    data = REQUESTS[name]
    if padded:
        data = data.replace(b"Content-Length", PAD.encode() + b"Content-Length")
    node.handle(Received(stranger(), data))
    world.run(40)
    assert len(node.sent) <= 1
    octets = sum(len(sent.data) for sent in node.sent) / len(data)
    assert octets <= 3
    if len(data) >= 400:
        assert octets <= (1.5 if len(algorithms) == 1 else 2.0)
    gauges = node.core.gauges()
    assert gauges["server_transactions"] == gauges["questions"] == 0


def test_a_stateless_answer_has_the_same_tag_each_time(world):
    """RFC 3261 §8.2.7."""
    node = world.nodes["edge-a"]
    for _ in range(2):
        node.handle(Received(stranger(), REQUESTS["403"]))
    other = REQUESTS["403"].replace(b"z9hG4bK1", b"z9hG4bK2")
    node.handle(Received(stranger(), other))
    tags = [parse(sent.data).get("to").partition("tag=")[2] for sent in node.sent]
    assert tags[0]
    assert tags[0] == tags[1] != tags[2]


def test_ten_answers_a_second_for_an_address(world):
    node = world.nodes["edge-a"]
    for number in range(300):
        node.handle(Received(stranger(), text("REGISTER", f"sip:{DOMAIN}", branch=str(number))))
        world.run(0.01)
    assert 3 * sources.ANSWERS <= len(node.sent) <= 4 * sources.ANSWERS
    assert node.core.stack.counters["slowed"] == 300 - len(node.sent)


def test_forged_sources_leave_nothing_behind(world):
    """Neither transactions, nor questions, nor memory."""
    core = world.nodes["edge-a"].core
    core.handle(ProvidersAssigned(EDGE, [], [], True), world.now)
    kinds = list(REQUESTS.values())[:-1]
    tracemalloc.start()
    for number in range(400):
        core.handle(Received(stranger(number), kinds[number % len(kinds)]), world.now + number / 4000)
    before = tracemalloc.get_traced_memory()[0]
    asked = 0
    for number in range(20_000):
        data = kinds[number % len(kinds)].replace(b"z9hG4bK1", b"z9hG4bK%d" % number)
        actions = core.handle(Received(stranger(number), data), world.now + 1 + number / 4000)
        asked += sum(isinstance(action, Ask) for action in actions)
        assert sum(isinstance(action, Send) for action in actions) <= 1
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert asked == 0
    assert core.gauges()["server_transactions"] == 0
    assert grown < 2e6


# Credentials that can't be right


def challenged(world, phone):
    """A REGISTER of ``phone`` with its challenge answered."""
    request = phone.agent.register_request()
    phone.send(request.to_bytes())
    return phone.agent.authorize(request, world.wait(lambda: phone.agent.final(request)))


@pytest.mark.parametrize(
    "change",
    [
        ("algorithm=MD5", "algorithm=FOO"),
        ("algorithm=MD5", "algorithm=MD5-sess"),
        ("algorithm=MD5", "algorithm=SHA-512-256"),
        ("qop=auth", "qop=auth-int"),
        ("qop=auth", "qop=nonsense"),
        ('response="', 'response="0'),
    ],
    ids=lambda change: change[1],
)
def test_what_was_never_offered_is_answered_by_the_edge(world, change):
    alice = world.phone("alice")
    request = challenged(world, alice)
    assert change[0] in request.get("authorization")
    index = next(at for at, (key, _) in enumerate(request.headers) if key == "authorization")
    request.headers[index] = ("authorization", request.headers[index][1].replace(*change))
    asked = len(world.control.questions)
    alice.send(request.to_bytes())
    world.run(1)
    assert len(world.control.questions) == asked
    core = world.nodes["edge-a"].core
    assert core.gauges()["server_transactions"] == 0
    assert core.stack.counters["unusable_credentials"] == 1
    assert alice.agent.statuses("REGISTER")[-1] == 401


def test_a_nonce_has_one_spelling(world):
    alice = world.phone("alice")
    request = challenged(world, alice)
    line = request.get("authorization")
    nonce = line.partition('nonce="')[2].partition('"')[0]
    key = digest.make_nonce(7, b"n" * 32, "h", 1000.0, b"salt")
    assert digest.nonce_age(key, {7: b"n" * 32}, "h", 1000.0) == 0
    for other in (key.upper(), key[:2] + " " + key[2:]):
        assert digest.nonce_age(other, {7: b"n" * 32}, "h", 1000.0) is None
    assert nonce == nonce.lower()


def test_spent_nonces_have_a_bound_and_are_never_accepted_twice(monkeypatch):
    monkeypatch.setattr(digest, "MAX_NONCES", 100)
    spent = digest.SpentNonces()
    now, accepted = 0.0, []
    for number in range(1000):
        now += 0.1
        nonce = f"{number:042x}"
        assert spent.spend(nonce, 1, 0.0, now)
        accepted.append((nonce, now))
        assert max(len(spent._young), len(spent._old)) <= 100
    for nonce, at in accepted:
        assert not spent.spend(nonce, 1, now - at, now)
    uses = [spent.spend("f" * 42, count, 0.0, now) for count in range(1000, 1000 + 2 * digest.MAX_USES)]
    assert uses == [True] * digest.MAX_USES + [False] * digest.MAX_USES


# Questions


def guess(world, phone, password):
    world.run(1)
    phone.agent.password = password
    return phone.register()


def test_a_guesser_gets_so_many_questions_and_then_one_after_the_other(world):
    guesser = world.phone("alice")
    world.control.add("bob", "pw-bob")
    for number in range(200):
        name = f"user{number}"
        guesser.agent.username = name
        guesser.send(challenged(world, guesser).to_bytes())
        world.run(0.2)
    asked = sum(isinstance(question, RegisterQuestion) for question in world.control.questions)
    assert sources.QUESTIONS <= asked <= sources.QUESTIONS + 30
    assert world.nodes["edge-a"].core.stack.counters["slowed"] > 100


def test_an_account_that_fails_is_refused_there_and_nowhere_else(world):
    alice, home = world.phone("alice"), world.phone("alice")
    assert [guess(world, alice, "wrong") for _ in range(7)] == [403] * 7
    asked = len(world.control.questions)
    assert guess(world, alice, "pw-alice") == 403  # unseen
    assert len(world.control.questions) == asked
    assert home.register() == 200  # from another address
    world.run(sources.REFUSED + 1)
    assert guess(world, alice, "pw-alice") == 200


def test_a_phone_that_is_registered_isnt_refused_for_its_neighbour(world):
    """An office of one address: one phone with a wrong password, and one with the right one of the same account."""
    right, wrong = world.phone("alice"), world.phone("alice")
    del world.phones[wrong.public]
    wrong.public = (right.public[0], 31_999)
    world.phones[wrong.public] = wrong
    assert right.register() == 200
    assert [guess(world, wrong, "wrong") for _ in range(8)] == [403] * 8
    assert right.register() == 200


def insist(world, phone, request):
    """Send it until it is answered (RFC 3261 §17.1.2.2)."""
    wire = request.to_bytes()

    def send():
        if phone.agent.final(request) is None:
            phone.send(wire)

    for delay in (0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5):
        world.after(delay, send)


def test_fifty_phones_at_once_behind_one_address_all_get_in(world):
    phones = [world.phone(f"office{number}") for number in range(50)]
    for number, phone in enumerate(phones):
        del world.phones[phone.public]
        phone.public = ("192.0.2.200", 20_000 + number)
        world.phones[phone.public] = phone
    requests = [phone.agent.register_request() for phone in phones]
    for phone, request in zip(phones, requests, strict=True):
        insist(world, phone, request)
    world.run(31)
    for phone, request in zip(phones, requests, strict=True):
        insist(world, phone, phone.agent.authorize(request, phone.agent.final(request)))
    world.run(31)
    assert len(world.nodes["edge-a"].core.stack.bindings) == 50


def test_strangers_leave_room_for_those_who_are_known(world, monkeypatch):
    monkeypatch.setattr(questions, "MAX_STRANGERS", 3)
    alice = world.phone("alice")
    assert alice.register() == 200
    world.decision_time = 5.0
    newcomers = [world.phone(f"new{number}") for number in range(5)]
    for phone in newcomers:
        phone.send(challenged(world, phone).to_bytes())
    world.run(1)
    statuses = [phone.agent.statuses("REGISTER")[-1] for phone in newcomers]
    assert statuses.count(503) == 2  # at once, and nothing is done without a decision
    invite = alice.start_call(f"sip:new0@{DOMAIN}")
    world.run(0.1)
    assert alice.agent.statuses("INVITE", invite.get("call-id"))[-1] == 100


def test_wrong_credentials_in_an_invite_get_one_packet(world):
    alice = world.phone("alice")
    alice.agent.password = "wrong"
    invite = alice.agent.invite_request(f"sip:bob@{DOMAIN}")
    alice.send(invite.to_bytes())
    challenge = world.wait(lambda: next(iter(alice.agent.responses("INVITE")), None))
    before = len(world.nodes["edge-a"].sent)
    alice.send(alice.agent.authorize(invite, challenge).to_bytes())
    world.run(40)
    assert len(world.nodes["edge-a"].sent) == before + 1
    assert world.nodes["edge-a"].core.gauges()["server_transactions"] == 0
    assert isinstance(alice.agent, Agent)
