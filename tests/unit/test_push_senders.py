"""Pushes as the services get them: what is signed, encrypted and said, and what follows from their answers."""

from __future__ import annotations

import base64
import json
import ssl
import time
from dataclasses import replace
from types import SimpleNamespace

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lambdas.contract import Push, PushQuestion
from lambdas.decisions.push import PushService
from lambdas.decisions.values import StoredBinding
from lambdas.lookups.errors import OutsideError
from lambdas.lookups.outside import Outside
from lambdas.push.apns import Apns, device
from lambdas.push.fcm import Fcm
from lambdas.push.outcome import SENT, Fate
from lambdas.push.sending import Sending
from lambdas.push.webpush import WebPush, encrypted
from lambdas.repositories.push_services import PushCredentials
from lambdas.repositories.pushes import NotQueued, PushOrder
from lambdas.services.facts import StoredFacts
from lambdas.services.rates import Quota
from tests.support.push_double import PushDouble

KEY = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
TOKEN, OTHER = "ab" * 32, "cd" * 32
BOTH = {"prid": f"{TOKEN}:remote&{OTHER}:voip", "param": "ABCDE12345.org.example.phone.remote&voip"}


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


APNS = PushCredentials("apns", "ABCDE12345", "KEY1234567", "", "", False, "r1", pem(KEY))
ACCOUNT = {"client_email": "push@project.example", "private_key": pem(RSA), "private_key_id": "k1"}
FCM = PushCredentials("fcm", "project-1", "", "", "", False, "r2", json.dumps(ACCOUNT))
WEB = PushCredentials("webpush", "", "", "mailto:a@example.com", text(point(KEY)), False, "r3", pem(KEY))


def order(**changes):
    made = PushOrder(
        "t1", "bob@example.com", "binding", "apns", TOKEN, "ABCDE12345.org.example.phone.voip", "call", "call-1", "",
        time.time(),
    )  # fmt: skip
    return replace(made, **changes)


def ok(_):
    return 200, {}, {}


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = PushDouble(tmp_path, ok)
    for name in ("APNS_URL", "FCM_URL"):
        monkeypatch.setenv(name, made.url)
    monkeypatch.setenv("FCM_TOKEN_URL", f"{made.url}/token")
    yield made
    made.close()


@pytest.fixture
def client(server):
    context = ssl.create_default_context(cafile=str(server.chain))
    with httpx.Client(http2=True, timeout=3, verify=context) as made:
        yield made


# APNs


def test_apns_gets_what_it_wants(server, client):
    assert Apns(client).send(order(), APNS) == SENT
    (asked,) = server.asked
    said = asked.headers
    assert (said[":method"], said[":path"]) == ("POST", f"/3/device/{TOKEN}")
    assert said["apns-topic"] == "org.example.phone.voip"
    assert (said["apns-push-type"], said["apns-priority"]) == ("voip", "10")
    assert 0 < int(said["apns-expiration"]) - time.time() <= 20
    token = said["authorization"].removeprefix("bearer ")
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "KEY1234567", "typ": "JWT"}
    claims = jwt.decode(token, KEY.public_key(), algorithms=["ES256"])
    assert claims["iss"] == "ABCDE12345"
    assert abs(claims["iat"] - time.time()) < 5
    assert asked.json == {"aps": {"call-id": "call-1"}, "event": "call", "call-id": "call-1"}


def test_a_token_and_a_connection_serve_many_pushes(server, client):
    apns = Apns(client)
    for _ in range(3):
        assert apns.send(order(), APNS) == SENT
    assert server.connections == 1
    assert len({asked.headers["authorization"] for asked in server.asked}) == 1


@pytest.mark.parametrize(
    ("changes", "token", "topic", "kind", "priority"),
    [
        ({}, TOKEN, "org.example.phone.voip", "voip", "10"),
        ({"why": "refresh"}, TOKEN, "org.example.phone.voip", "voip", "10"),
        ({"param": "ABCDE12345.org.example.phone"}, TOKEN, "org.example.phone", "alert", "10"),
        ({"param": "ABCDE12345.org.example.phone", "why": "message"}, TOKEN, "org.example.phone", "background", "5"),
        ({**BOTH}, OTHER, "org.example.phone.voip", "voip", "10"),
        ({**BOTH, "why": "refresh"}, TOKEN, "org.example.phone", "background", "5"),
    ],
)
def test_which_of_a_phones_tokens(server, client, changes, token, topic, kind, priority):
    assert Apns(client).send(order(**changes), APNS) == SENT
    said = server.asked[0].headers
    assert said[":path"] == f"/3/device/{token}"
    assert (said["apns-topic"], said["apns-push-type"], said["apns-priority"]) == (topic, kind, priority)


@pytest.mark.parametrize(
    "changes",
    [
        {"prid": "../../3/device/" + TOKEN},
        {"prid": "not hexadecimal"},
        {"prid": ""},
        {"param": "ABCDE12345."},
        {"param": "ABCDE12345.a b\r\nx: y.voip"},
        {"prid": f"{TOKEN}:other", "param": BOTH["param"]},
    ],
)
def test_what_is_no_device_is_asked_nothing(server, client, changes):
    assert device(order(**changes)) is None
    assert Apns(client).send(order(**changes), APNS).fate is Fate.GONE
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "reason", "fate"),
    [
        (410, "Unregistered", Fate.GONE),
        (400, "BadDeviceToken", Fate.GONE),
        (400, "DeviceTokenNotForTopic", Fate.GONE),
        (400, "BadTopic", Fate.REFUSED),
        (403, "Forbidden", Fate.REFUSED),
        (429, "TooManyRequests", Fate.AGAIN),
        (503, "Shutdown", Fate.AGAIN),
    ],
)
def test_what_apns_says_of_it(server, client, status, reason, fate):
    server.answer = lambda _: (status, {}, {"reason": reason})
    assert Apns(client).send(order(), APNS).fate is fate
    assert len(server.asked) == 1


def test_a_stale_token_is_made_anew_once(server, client):
    server.answer = lambda _: (403, {}, {"reason": "ExpiredProviderToken"}) if len(server.asked) < 2 else (200, {}, {})
    now = [time.time()]
    apns = Apns(client, lambda: now[0])
    assert apns.send(order(), APNS) == SENT
    assert len(server.asked) == 2
    now[0] += 3100
    assert apns.send(order(), APNS) == SENT
    assert len({asked.headers["authorization"] for asked in server.asked[1:]}) == 2


# FCM


def fcm_server(server, status=200, value=None):
    def answer(asked):
        if asked.headers[":path"] == "/token":
            return 200, {}, {"access_token": f"access-{len(server.asked)}", "expires_in": 3600, "token_type": "Bearer"}
        return status, {}, value or {"name": "projects/project-1/messages/1"}

    server.answer = answer


def test_fcm_gets_what_it_wants(server, client):
    fcm_server(server)
    fcm = Fcm(client)
    to = order(provider="fcm", prid="registration:token", param="project-1")
    assert fcm.send(to, FCM) == fcm.send(to, FCM) == SENT
    token, first, second = server.asked
    form = httpx.QueryParams(token.body.decode())
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(form["assertion"], RSA.public_key(), algorithms=["RS256"], audience=f"{server.url}/token")
    assert claims["iss"] == "push@project.example"
    assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
    assert claims["exp"] - claims["iat"] == 3600
    assert first.headers[":path"] == second.headers[":path"] == "/v1/projects/project-1/messages:send"
    assert first.headers["authorization"] == "Bearer access-1"
    assert first.json == {
        "message": {
            "token": "registration:token",
            "data": {"event": "call", "call-id": "call-1"},
            "android": {"priority": "HIGH", "ttl": "20s"},
        }
    }


def fcm_error(code, message="", status="INVALID_ARGUMENT"):
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    details = [{"@type": kind, "errorCode": code}] if code else []
    return {"error": {"code": 400, "message": message, "status": status, "details": details}}


@pytest.mark.parametrize(
    ("status", "value", "fate"),
    [
        (404, fcm_error("UNREGISTERED"), Fate.GONE),
        (403, fcm_error("SENDER_ID_MISMATCH"), Fate.GONE),
        (400, fcm_error("", "The registration token is not a valid FCM registration token"), Fate.GONE),
        (400, fcm_error("INVALID_ARGUMENT", "Invalid value at message.data"), Fate.REFUSED),
        (403, fcm_error("", status="PERMISSION_DENIED"), Fate.REFUSED),
        (429, fcm_error("QUOTA_EXCEEDED"), Fate.AGAIN),
        (503, fcm_error("UNAVAILABLE"), Fate.AGAIN),
        (500, "not an object", Fate.AGAIN),
    ],
)
def test_what_fcm_says_of_it(server, client, status, value, fate):
    fcm_server(server, status, value)
    assert Fcm(client).send(order(provider="fcm"), FCM).fate is fate


def test_an_access_token_that_is_not_taken_is_got_anew(server, client):
    def answer(asked):
        if asked.headers[":path"] == "/token":
            return 200, {}, {"access_token": f"access-{len(server.asked)}"}
        return (200 if asked.headers["authorization"] == "Bearer access-3" else 401), {}, {}

    server.answer = answer
    assert Fcm(client).send(order(provider="fcm"), FCM) == SENT
    assert len(server.asked) == 4


def test_an_account_that_gets_no_token(server, client):
    server.answer = lambda _: (400, {}, {"error": "invalid_grant"})
    outcome = Fcm(client).send(order(provider="fcm"), FCM)
    assert (outcome.fate, len(server.asked)) == (Fate.REFUSED, 1)


# Web Push


def decoded(data):
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def test_encryption_is_that_of_the_rfcs_example():
    """RFC 8291 appendix A."""
    own = ec.derive_private_key(
        int.from_bytes(decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")), ec.SECP256R1()
    )  # fmt: skip
    public = decoded("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
    sealed = encrypted(
        b"When I grow up, I want to be a watermelon",
        public,
        decoded("BTBZMqHH6r4Tts7J_aSIgg"),
        own,
        decoded("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert text(sealed) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
        "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def opened(sealed, page, secret):
    """As a browser does it (RFC 8291 §3.4)."""
    salt, size, theirs = sealed[:16], sealed[20], sealed[21 : 21 + sealed[20]]
    shared = page.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
    keyed = HKDF(SHA256(), 32, secret, b"WebPush: info\0" + point(page) + theirs).derive(shared)
    key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(keyed)
    nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(keyed)
    plain = AESGCM(key).decrypt(nonce, sealed[21 + size :], None)
    assert plain.endswith(b"\2")
    return plain[:-1]


class Browser:
    """A push service that is asked by ``outside``, and a page that has subscribed."""

    def __init__(self, status=201):
        self.status = status
        self.asked = []
        self.page, self.secret = ec.generate_private_key(ec.SECP256R1()), bytes(range(16))

    def address(self, host):
        if host != "push.example":
            raise OutsideError(f"{host} isn't at a public address", True)
        return "192.0.2.1"

    def inside(self, address):
        return False

    def request(self, method, url, host, address, headers, body=None):
        self.asked.append((method, url, headers, body))
        return self.status, ""


@pytest.mark.parametrize("keys", [True, False])
def test_a_browsers_service_gets_what_it_wants(keys):
    browser = Browser()
    param = f"{text(point(browser.page))}.{text(browser.secret)}" if keys else ""
    to = order(provider="webpush", prid="https://push.example/send/x", param=param, caller="alice@example.com")
    assert WebPush(browser).send(to, WEB) == SENT
    ((method, url, headers, body),) = browser.asked
    assert (method, url) == ("POST", "https://push.example/send/x")
    assert (headers["ttl"], headers["urgency"], headers["topic"]) == ("20", "high", "sip-call")
    scheme, _, fields = headers["authorization"].partition(" ")
    said = dict(field.strip().split("=", 1) for field in fields.split(","))
    assert (scheme, said["k"]) == ("vapid", text(point(KEY)))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(said["k"]))
    claims = jwt.decode(said["t"], public, algorithms=["ES256"], audience="https://push.example")
    assert claims["sub"] == "mailto:a@example.com"
    assert claims["exp"] - time.time() <= 24 * 3600
    if keys:
        assert headers["content-encoding"] == "aes128gcm"
        told = json.loads(opened(body, browser.page, browser.secret))
        assert told == {"event": "call", "call-id": "call-1", "from-uri": "sip:alice@example.com"}
    else:
        assert (body, "content-encoding" in headers) == (b"", False)


@pytest.mark.parametrize(
    ("status", "fate"), [(404, Fate.GONE), (410, Fate.GONE), (429, Fate.AGAIN), (502, Fate.AGAIN), (403, Fate.REFUSED)]
)
def test_what_a_browsers_service_says_of_it(status, fate):
    assert (
        WebPush(Browser(status)).send(order(provider="webpush", prid="https://push.example/x", param=""), WEB).fate
        is fate
    )


@pytest.mark.parametrize(
    "prid",
    [
        "http://push.example/x",
        "https://push.example:8443/x",
        "https://user@push.example/x",
        "https://push.example:x/",
        "file:///etc/passwd",
    ],
)
def test_only_https_at_its_port_is_asked(prid):
    browser = Browser()
    assert WebPush(browser).send(order(provider="webpush", prid=prid, param=""), WEB).fate is Fate.GONE
    assert browser.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "192.168.1.1"])
def test_nothing_inside_is_asked(host):
    with pytest.raises(OutsideError) as error:
        WebPush(Outside(1)).send(order(provider="webpush", prid=f"https://{host}/x", param=""), WEB)
    assert error.value.forbidden


def test_keys_that_are_none():
    to = order(provider="webpush", prid="https://push.example/x", param="bm90IGEga2V5.c2hvcnQ")
    assert WebPush(Browser()).send(to, WEB).fate is Fate.GONE


# What follows


class Tables(SimpleNamespace):
    """As far as sending needs them."""

    def __init__(self, push):
        self.items = [
            StoredBinding(
                aor="bob@example.com", contact="sip:bob@10.0.0.9", flow=("203.0.113.11", 5060, "tcp", "192.0.2.1", 1, 1),
                key="k", call_id="c", cseq=1, registered_at=1, changed_at=1, expires_at=time.time() + 1000,
                revision="r", tenant="t1", push=push,
            )
        ]  # fmt: skip
        self.told = []
        self.credentials = lambda tenant, service: {"apns": APNS, "fcm": FCM, "webpush": WEB}.get(service)
        super().__init__(
            push_services=SimpleNamespace(prepare=lambda: None, credentials=lambda *a: self.credentials(*a)),
            bindings=SimpleNamespace(of=lambda aor: tuple(self.items), write=self._write),
            events=SimpleNamespace(add=lambda tenant, event: self.told.append((tenant, event.text))),
        )

    def _write(self, puts):
        for put in puts:
            self.items = [put.binding]
        return True


TOO_OFTEN = "bob@example.com wants to be woken too often; it isn't for the rest of the minute"
PUSH = Push(provider="apns", prid=TOKEN, param="ABCDE12345.org.example.phone.voip")


@pytest.mark.parametrize("left", [True, False])
def test_a_push_that_was_not_sent_keeps_no_other_back(tables, left):
    """Who tries again at once isn't told that one is on its way."""
    claimed, queued, fault = set(), [], [NotQueued("no")]

    def claim(phone, now):
        free = phone not in claimed
        claimed.add(phone)
        return free

    def send(order):
        if fault:
            raise fault.pop()
        queued.append(order)

    pushes = SimpleNamespace(claim=claim, release=claimed.discard, send=send, take=lambda *_: left)
    quotas = SimpleNamespace(pushes=Quota(100), logs=Quota(100))
    facts = StoredFacts(
        SimpleNamespace(
            tables=SimpleNamespace(pushes=pushes, events=tables.events), quotas=quotas, clock=lambda: 1_800_000_000.0
        )
    )
    (item,) = tables.items
    question = PushQuestion(
        request="r", address="203.0.113.11", epoch=1, aor=item.aor, binding=item.id, why="call", call_id="c"
    )
    assert [facts.push(item, question) for _ in range(3)] == [False, left, left]
    assert len(queued) == left
    assert [text for _, text in tables.told] == ([] if left else 3 * [TOO_OFTEN])


@pytest.fixture
def tables():
    return Tables(PUSH)


@pytest.fixture
def slept():
    return []


@pytest.fixture
def sending(tables, client, slept):
    return Sending(tables, client, Browser(), slept.append)


def mine(tables, **changes):
    return order(binding=tables.items[0].id, **changes)


def test_who_is_gone_is_registered_no_longer(server, sending, tables):
    server.answer = lambda _: (410, {}, {"reason": "Unregistered"})
    sending.take(mine(tables))
    assert tables.items[0].removed
    ((tenant, said),) = tables.told
    assert tenant == "t1"
    assert "doesn't know a phone of bob@example.com any more" in said
    assert TOKEN not in said


def test_who_has_another_name_by_now_stays(server, sending, tables):
    server.answer = lambda _: (410, {}, {"reason": "Unregistered"})
    sending.take(mine(tables, prid="ef" * 32))
    assert not tables.items[0].removed


@pytest.mark.parametrize("again", [1, 2])
def test_a_busy_service_is_asked_once_more(server, sending, tables, slept, again):
    server.answer = lambda _: (429, {"retry-after": "2"}, {}) if len(server.asked) <= again else (200, {}, {})
    sending.take(mine(tables))
    assert (len(server.asked), slept) == (2, [2.0])
    assert len(tables.told) == again - 1


def test_a_connection_that_was_lost_meanwhile_costs_no_push(server, sending, tables):
    sending.take(mine(tables))
    server.drop()
    sending.take(mine(tables))
    assert server.connections == 2
    assert not tables.told


def test_a_push_that_comes_too_late_is_not_sent(server, sending, tables):
    sending.take(mine(tables, at=time.time() - 21))
    assert server.asked == []
    sending.take(mine(tables, at=time.time() - 21, why="refresh"))
    assert len(server.asked) == 1


def test_a_key_that_cannot_sign_is_told_of_without_itself(sending, tables):
    tables.credentials = lambda tenant, service: replace(APNS, secret="not a key")
    sending.take(mine(tables))
    ((_, said),) = tables.told
    assert "the credentials can't be used" in said
    assert "not a key" not in said
    assert "secret" not in repr(APNS)


def test_without_credentials_nothing_is_sent(server, sending, tables):
    tables.credentials = lambda tenant, service: None
    sending.take(mine(tables))
    assert (server.asked, len(tables.told)) == ([], 1)


@pytest.mark.parametrize(
    ("service", "push", "serves"),
    [
        (PushService("apns", "TEAM"), ("apns", "x", "TEAM.com.example"), True),
        (PushService("apns", "TEAM"), ("apns.dev", "x", "TEAM.com.example"), True),
        (PushService("apns", "TEAM"), ("apns", "x", "OTHER.com.example"), False),
        (PushService("apns", "TEAM"), ("fcm", "x", "TEAM.com.example"), False),
        (PushService("fcm", "project"), ("fcm", "x", "project"), True),
        (PushService("fcm", "project"), ("fcm", "x", "929724111839"), True),
        (PushService("fcm", "project"), ("fcm", "x", "others"), False),
        (PushService("webpush"), ("webpush", "https://push.example/x", ""), True),
        (PushService("webpush"), ("webpush", "http://push.example/x", ""), False),
    ],
)
def test_whom_a_service_wakes(service, push, serves):
    provider, prid, param = push
    assert service.serves(Push(provider=provider, prid=prid, param=param)) is serves
