"""SHA-256 beside MD5 (RFC 8760): asked for where the account's setting or the phone allows it, and of nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.proxy.stack.algorithms import Algorithms
from edge.sip.headers import parse_digest
from lambdas.contract import Grant
from tests.support.world import DOMAIN, World

LINPHONE = "User-Agent: Linphonec/5.1.65 (belle-sip/5.1.65)"
AOR = f"alice@{DOMAIN}"


@pytest.fixture
def world() -> World:
    return World(digest_algorithms=("MD5",))


@pytest.fixture
def alice(world):
    return world.phone("alice")


def setting(world, digest):
    """As somebody who changes the account does."""
    known = world.control.accounts[AOR]
    world.control.accounts[AOR] = replace(known, digest=digest, version=round(world.control.clock() * 1000))


def asked_of(world, phone, headers=(), method="REGISTER"):
    """The algorithms that a request without credentials is asked to answer by, in their order."""
    if method == "REGISTER":
        request = phone.agent.register_request(headers=list(headers))
    else:
        request = phone.agent.request(method, f"sip:bob@{DOMAIN}", headers=list(headers))
    phone.send(request.to_bytes())
    response = world.wait(lambda: phone.agent.final(request))
    name = "www-authenticate" if response.status == 401 else "proxy-authenticate"
    return [parse_digest(value)["algorithm"] for value in response.values(name)]


# Phones that the edge knows nothing of


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
@pytest.mark.parametrize(
    "agent", ["", "User-Agent: JsSIP 3.13.8", "User-Agent: baresip v1.0.0 (x86_64/linux)", "User-Agent: Twinkle/1.10.2"]
)
def test_others_are_asked_for_md5_alone(world, alice, method, agent):
    assert asked_of(world, alice, [agent] if agent else [], method) == ["MD5"]
    assert not world.control.questions


@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_a_phone_that_is_known_to_do_it_is_asked_for_both(world, alice, method):
    assert asked_of(world, alice, [LINPHONE], method) == ["SHA-256", "MD5"]
    assert not world.control.questions


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_it_may_answer_by_either(world, alice, algorithm):
    alice.agent.algorithm = algorithm
    assert alice.register(headers=[LINPHONE]) == 200
    questions = len(world.control.questions)
    assert alice.register(headers=[LINPHONE]) == 200
    assert len(world.control.questions) == questions


@pytest.mark.parametrize(
    ("agent", "asked"),
    [
        ("Linphonec/5.1.65", ["SHA-256", "MD5"]),
        ("LinphoneAndroid/5.2.0 (Pixel) LinphoneSDK/5.3.0", ["SHA-256", "MD5"]),
        ("Linphone/3.6.1 (eXosip2/4.1.0)", ["MD5"]),
        ("Linphone", ["MD5"]),
        ("Linphone/99999999999999999999", ["MD5"]),
        ("my Linphone/5.0", ["MD5"]),
        ("", ["MD5"]),
    ],
)
def test_which_phones_are_known(agent, asked):
    assert list(Algorithms(("MD5",)).asked_for("", f"User-Agent: {agent}")) == asked


def test_where_md5_is_left_out_nobody_is_asked_for_it():
    for one in ("", "md5", "both", "sha256"):
        assert list(Algorithms(("SHA-256",)).asked_for(one, "User-Agent: Linphonec/5.1.65")) == ["SHA-256"]


# An account's setting


@pytest.mark.parametrize(
    ("digest", "asked"), [("md5", ["MD5"]), ("sha256", ["SHA-256"]), ("both", ["SHA-256", "MD5"]), ("", ["MD5"])]
)
@pytest.mark.parametrize("method", ["REGISTER", "INVITE"])
def test_an_account_that_is_known_here_is_asked_as_it_wants(world, alice, digest, asked, method):
    setting(world, digest)
    alice.agent.algorithm = "SHA-256" if digest == "sha256" else "MD5"
    other = world.phone("alice")
    assert register(world, alice) == 200
    assert asked_of(world, other, method=method) == asked


def test_its_setting_counts_for_more_than_the_phone(world, alice):
    setting(world, "md5")
    assert alice.register() == 200
    assert asked_of(world, alice, [LINPHONE]) == ["MD5"]


def register(world, phone):
    """Through as many challenges as there are, by whatever is asked for last."""
    request = phone.agent.register_request()
    for _ in range(3):
        phone.send(request.to_bytes())
        response = world.wait(lambda request=request: phone.agent.final(request))
        if response.status != 401:
            break
        phone.agent.algorithm = parse_digest(response.values("www-authenticate")[-1])["algorithm"]
        request = phone.agent.authorize(request, response)
    return response.status


def test_who_must_not_use_md5_is_asked_again(world, alice):
    """What an edge that knows nothing of the account asks for, and is answered rightly, isn't enough."""
    setting(world, "sha256")
    assert register(world, alice) == 200
    assert alice.agent.algorithm == "SHA-256"
    assert alice.agent.statuses("REGISTER")[:2] == [401, 401]
    assert world.nodes["edge-a"].core.stack.grants.known(AOR).digest == "sha256"
    questions = len(world.control.questions)
    assert register(world, alice) == 200
    assert len(world.control.questions) == questions


def test_such_an_account_is_never_let_in_by_md5(world, alice):
    setting(world, "sha256")
    node = world.nodes["edge-a"]
    request = alice.agent.register_request()
    alice.send(request.to_bytes())
    challenge = world.wait(lambda: alice.agent.final(request))
    answer = alice.agent.authorize(request, challenge)
    alice.send(answer.to_bytes())
    refused = world.wait(lambda: alice.agent.final(answer))
    assert refused.status == 401
    assert len(world.control.questions) == 1
    # Once its grant is here, nobody is asked about it any more.
    assert register(world, alice) == 200
    alice.agent.algorithm = "MD5"
    fresh = alice.agent.register_request()
    params = parse_digest(challenge.get("www-authenticate"))
    fresh.headers.insert(
        1, ("authorization", f"Authorization: {alice.agent.credentials('REGISTER', fresh.uri, params)}")
    )
    questions = len(world.control.questions)
    for dark in (False, True):
        world.control.dark = dark
        alice.send(fresh.to_bytes())
        assert world.wait(lambda: alice.agent.final(fresh)).status == 401
        assert len(world.control.questions) == questions
    assert node.core.stack.counters["unusable_credentials"]


def test_wrong_answers_are_wrong_whatever_the_setting(world, alice):
    """Nobody learns of an account's setting who doesn't know its password."""
    setting(world, "sha256")
    alice.agent.password = "guessed"
    assert alice.register() == 403


def test_calls_too(world, alice):
    """At an edge where its phone isn't registered."""
    setting(world, "sha256")
    bob = world.phone("bob")
    assert bob.register() == 200
    message = alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}")
    asked = []
    for _ in range(3):
        alice.send(message.to_bytes())
        response = world.wait(lambda message=message: alice.agent.final(message) or bob.agent.requests("MESSAGE"))
        if isinstance(response, list):
            break
        asked.append(parse_digest(response.values("proxy-authenticate")[-1])["algorithm"])
        alice.agent.algorithm = asked[-1]
        message = alice.agent.authorize(message, response)
    assert asked == ["MD5", "SHA-256"]
    assert bob.agent.requests("MESSAGE")


def test_its_questions_cost_its_source_nothing(world, alice):
    """A phone of such an account isn't taken for somebody who guesses."""
    setting(world, "sha256")
    sources = world.nodes["edge-a"].core.stack.sources
    for _ in range(30):
        request = alice.agent.register_request()
        alice.send(request.to_bytes())
        challenge = world.wait(lambda request=request: alice.agent.final(request))
        if parse_digest(challenge.get("www-authenticate"))["algorithm"] != "MD5":
            break
        answer = alice.agent.authorize(request, challenge)
        alice.send(answer.to_bytes())
        assert world.wait(lambda answer=answer: alice.agent.final(answer)).status == 401
    assert not sources.refused(alice.public[0], AOR, world.now)
    assert register(world, alice) == 200


def test_a_grant_of_before_says_nothing_of_it():
    grant = Grant(tenant="t1", version=1, ha1_md5="0" * 32, ha1_sha256="0" * 64)
    assert grant.digest == ""
