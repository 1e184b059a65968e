"""The phones of ``scripts/register_load``: what they send, and when they are done."""

from __future__ import annotations

import pytest

from edge.sip.headers import parse_digest
from edge.sip.message import Request, make_response
from edge.sip.parser import parse
from lambdas.contract import Credentials, answers
from lambdas.decisions.digest import ha1
from scripts.load_phone import Phone
from scripts.register_load import RegisteringPhone

CHALLENGES = (
    'WWW-Authenticate: Digest realm="sipwizard.test", nonce="other", algorithm=SHA-256, qop="auth"',
    'WWW-Authenticate: Digest realm="sipwizard.test", nonce="abc", algorithm=MD5, qop="auth"',
)


class Server:
    """Has what a phone sends."""

    def __init__(self):
        phone = Phone("many1", "sipwizard.test", "secret", "udp")
        self.got = []
        phone.agent.send = lambda data: self.got.append(parse(data))
        phone.agent.host, phone.agent.port = "192.0.2.1", 5060
        self.phone = RegisteringPhone(phone)

    def answer(self, status, *lines):
        headers = [(line.partition(":")[0].lower(), line) for line in lines]
        self.phone.phone.take(make_response(self.got[-1], status, headers=headers).to_bytes())

    def request(self):
        """The one that has come last."""
        assert isinstance(self.got[-1], Request)
        return self.got[-1]


@pytest.fixture
def server():
    return Server()


def credentials(request):
    return parse_digest(request.get("authorization") or "")


def test_one_challenge_is_for_several(server):
    seen = []
    for number in range(3):
        server.phone.register(3)
        assert server.phone.busy
        if number == 0:
            assert credentials(server.request()) is None
            server.answer(401, *CHALLENGES)
        seen.append(server.request())
        server.answer(100)
        assert server.phone.busy
        server.answer(200)
        assert not server.phone.busy
    assert server.phone.done == 3
    assert [request.get("cseq") for request in seen] == [f"{number} REGISTER" for number in (2, 3, 4)]
    assert [credentials(request)["nc"] for request in seen] == ["00000001", "00000002", "00000003"]
    assert {credentials(request)["nonce"] for request in seen} == {"abc"}
    assert len({request.get("via") for request in seen}) == 3
    assert len({request.get("call-id") for request in seen}) == 1
    server.phone.register(3)  # another Call-ID, challenged anew
    again = server.request()
    assert again.get("call-id") != seen[0].get("call-id")
    assert credentials(again) is None


def test_credentials_are_right(server):
    server.phone.register(1)
    server.answer(401, CHALLENGES[1])
    found = credentials(server.request())
    read = Credentials(**{name: found[name] for name in Credentials.model_fields if name in found})
    assert answers(read, "REGISTER", ha1("MD5", "many1", "sipwizard.test", "secret"))
    assert not answers(read, "REGISTER", ha1("MD5", "many1", "sipwizard.test", "another"))


@pytest.mark.parametrize("status", [403, 503, 401])
def test_a_refusal_is_a_failure(server, status):
    server.phone.register(5)
    server.answer(401, *CHALLENGES)
    server.answer(status, *CHALLENGES)
    assert (server.phone.busy, server.phone.done, server.phone.failed) == (False, 0, 1)
    server.phone.register(5)
    assert credentials(server.request()) is None


def test_options_are_asked_of_the_server(server):
    server.phone._server = "192.0.2.9"
    server.phone.ask()
    request = server.request()
    assert (request.method, request.uri) == ("OPTIONS", "sip:192.0.2.9")
    server.answer(200)
    assert server.phone.done == 1


def test_keep_alives_are_answered(server):
    server.phone.register(1)
    ping = server.phone.phone.agent.request("OPTIONS", "sip:many1@192.0.2.1", from_="<sip:keepalive@192.0.2.9>;tag=1")
    server.phone.phone.take(ping.to_bytes())
    assert server.got[-1].status == 200
    assert server.phone.busy
