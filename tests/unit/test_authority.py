"""What certificate authorities answer, as rarely as they answer it: over an HTTP that is scripted. The rest is tried with
a real one, in tests/integration."""

from __future__ import annotations

import base64
import datetime
import json
import time

import pytest
import requests

pytest.importorskip("acme")

from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lambdas.certificates.authority import (
    AcmeAuthority,
    AuthorityOut,
    Looked,
    OrderRefused,
    RateLimited,
    new_key,
    signing_request,
)
from lambdas.certificates.ordering import Ordering
from lambdas.certificates.renewing import checked
from lambdas.certificates.settings import AcmeSettings
from lambdas.decisions.certificates import ChallengePlace

CA = "https://ca.test"
NOW = 1_800_000_000.0
NAME = "pbx.example.com"
KEY = new_key()
PROBLEM = "urn:ietf:params:acme:error:"


class Http:
    """Answers by path; each is (status, header fields, body), the last one again and again."""

    def __init__(self, monkeypatch):
        self.answers = {
            "/dir": [(200, {}, {name: f"{CA}/{name}" for name in ("newNonce", "newAccount", "newOrder")})],
            "/newNonce": [(200, {}, b"")],
            "/newAccount": [(201, {"Location": f"{CA}/account/1"}, {"status": "valid"})],
        }
        self.asked = []
        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", self.send)

    def send(self, _, request=None, **__):
        request = request if request is not None else _
        path = request.url.removeprefix(CA)
        self.asked.append((path, self.kid(request)))
        answers = self.answers[path]
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url
        response.headers.update({"Replay-Nonce": "bm9uY2U", **headers})
        response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if not isinstance(body, bytes):
            response.headers.setdefault("Content-Type", "application/json")
        return response

    @staticmethod
    def kid(request):
        if not request.body:
            return None
        head = json.loads(request.body)["protected"]
        return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))).get("kid")

    def authority(self, account=f"{CA}/account/1", **settings):
        return AcmeAuthority(AcmeSettings(f"{CA}/dir", **settings), KEY, account, clock=lambda: NOW)


@pytest.fixture
def http(monkeypatch):
    return Http(monkeypatch)


def problem(code, detail="no", status=400, **headers):
    return status, {"Content-Type": "application/problem+json", **headers}, {"type": PROBLEM + code, "detail": detail}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, 2.0),
        ("7", 7.0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
        ("Friday, 15-Jan-27 08:01:00 GMT", 60.0),
        ("Fri Jan 15 08:01:00 2027", 60.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("soon", 2.0),
        ("-5", 2.0),
    ],
)
def test_patience_is_a_number_of_seconds_or_a_date_wherever_we_are(http, monkeypatch, zone, field, seconds):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        http.answers["/order/1"] = [(200, {"Retry-After": field} if field else {}, {"status": "processing"})]
        assert http.authority().order(f"{CA}/order/1").patience == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


def test_refused_nonces_are_replaced_but_not_for_ever(http):
    http.answers["/order/1"] = [problem("badNonce")] * 9 + [(200, {}, {"status": "ready"})]
    assert http.authority().order(f"{CA}/order/1").body.status == messages.STATUS_READY
    http.answers["/order/1"] = [problem("badNonce")]
    with pytest.raises(AuthorityOut, match="nonces"):
        http.authority().order(f"{CA}/order/1")


@pytest.mark.parametrize(
    ("answer", "kind", "patience", "says"),
    [
        (problem("rateLimited", "too many", 429, **{"Retry-After": "86400"}), RateLimited, 86_400, "too many"),
        (problem("rejectedIdentifier", "policy", 400), OrderRefused, 0, "rejectedIdentifier: policy"),
        (problem("caa", "forbids", 403), OrderRefused, 0, "caa: forbids"),
        (problem("serverInternal", "oh", 500, **{"Retry-After": "30"}), AuthorityOut, 30, "oh"),
        ((404, {"Content-Type": "text/html"}, b"<p>nothing here"), OrderRefused, 0, "404"),
        ((503, {"Content-Type": "text/html"}, b"<p>busy"), AuthorityOut, 0, "503"),
        ((429, {"Retry-After": "9"}, b"slow down"), RateLimited, 9, "429"),
    ],
)
def test_what_is_one_orders_fault_is_told_from_what_is_the_authoritys(http, answer, kind, patience, says):
    http.answers["/newOrder"] = [answer]
    with pytest.raises(kind) as caught:
        http.authority().begin(NAME)
    assert (type(caught.value), caught.value.patience) == (kind, patience)
    assert says in str(caught.value)


@pytest.mark.parametrize("body", [{}, [], "text", {"status": 7}, {"status": "pending", "identifiers": 3}, b"<p>"])
def test_an_answer_that_makes_no_sense_is_the_authoritys_fault(http, body):
    http.answers["/order/1"] = [(200, {}, body)]
    with pytest.raises(AuthorityOut):
        http.authority().order(f"{CA}/order/1")


def test_an_account_that_is_not_known_any_more_is_made_again_with_the_same_key(http):
    http.answers["/newOrder"] = [problem("accountDoesNotExist"), (201, {"Location": f"{CA}/order/2"}, {})]
    http.answers["/newAccount"] = [(201, {"Location": f"{CA}/account/9"}, {"status": "valid"})]
    authority = http.authority()
    assert authority.begin(NAME) == f"{CA}/order/2"
    assert authority.account == f"{CA}/account/9"
    posts = [(path, kid) for path, kid in http.asked if path in ("/newOrder", "/newAccount")]
    assert posts == [
        ("/newOrder", f"{CA}/account/1"), ("/newAccount", None), ("/newOrder", f"{CA}/account/9"),
    ]  # fmt: skip


def test_an_account_that_cannot_be_made_again_leaves_none(http):
    http.answers["/newOrder"] = [problem("accountDoesNotExist")]
    http.answers["/newAccount"] = [(503, {}, b"busy")]
    authority = http.authority()
    with pytest.raises(AuthorityOut, match="503"):
        authority.begin(NAME)
    assert authority.account == ""


def test_an_account_that_we_have_forgotten_is_found_by_its_key(http):
    http.answers["/newAccount"] = [(200, {"Location": f"{CA}/account/7"}, {"status": "valid"})]
    assert http.authority(account="").account == f"{CA}/account/7"


def test_no_account_is_nobodys_fault_but_the_authoritys(http):
    http.answers["/newAccount"] = [problem("externalAccountRequired", "bind it", 403)]
    with pytest.raises(AuthorityOut, match="bind it"):
        http.authority(account="")


def test_an_account_is_bound_to_one_that_we_have_there(http):
    http.authority(
        account="", eab_id="kid-1", eab_key="zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    )
    (made,) = [path for path, _ in http.asked if path == "/newAccount"]
    assert made


# An order, a step at a time


class Asked:
    """An authority whose order and authorization are as a test says."""

    def __init__(self, order, challenge="pending", authorization="pending", error=None):
        self.state, self.challenge, self.authorization_state, self.error = order, challenge, authorization, error
        self.answers = 0
        self.refusal = ""
        self.finalized = []

    def order(self, url):
        value = {"status": self.state, "authorizations": [f"{CA}/authz/1"], "finalize": f"{CA}/finalize/1"}
        value |= {"certificate": f"{CA}/cert/1"} if self.state == "valid" else {}
        return Looked(messages.Order.from_json(value), 5.0)

    def authorization(self, url):
        one = {
            "type": "dns-01",
            "url": f"{CA}/chall/1",
            "status": self.challenge,
            "token": "dG9rZW4tdG9rZW4tdG9rZW4tdG9rZW4",
        }
        one |= {"error": {"type": PROBLEM + self.error[0], "detail": self.error[1]}} if self.error else {}
        other = {**one, "type": "http-01", "url": f"{CA}/chall/2"}
        value = {"status": self.authorization_state, "identifier": {"type": "dns", "value": NAME}}
        return Looked(messages.Authorization.from_json({**value, "challenges": [other, one]}), 3.0)

    def validation(self, challenge):
        return "text"

    def answer(self, challenge):
        self.answers += 1
        if self.refusal:
            raise OrderRefused(self.refusal)

    def finalize(self, order, request):
        self.finalized.append(request)

    def chain(self, url):
        return "chain"


class Records:
    def __init__(self):
        self.put_, self.late = [], 2

    def put(self, *record):
        self.put_.append(record)
        return "change"

    def everywhere(self, change):
        self.late -= 1
        return self.late < 0


def ordering(authority, zones=None, noted=lambda _: None):
    place = ChallengePlace("Z1", f"_acme-challenge.{NAME}")
    return Ordering(NAME, f"{CA}/order/1", KEY, place, authority, zones or Records(), noted)


def test_the_authority_looks_once_the_record_is_everywhere_and_once():
    authority, zones, noted = Asked("pending"), Records(), []
    one = ordering(authority, zones, lambda value: noted.append((value, list(zones.put_))))
    for _ in range(8):  # some call it pending while they look
        one.step()
    assert authority.answers == 1
    assert zones.put_ == [("Z1", f"_acme-challenge.{NAME}", "text")]
    assert noted == [("text", [])]  # before it was put
    authority.challenge = "processing"
    assert one.step() == 3.0
    authority.authorization_state = "valid"
    one.step()
    authority.state = "ready"
    one.step()
    (request,) = authority.finalized
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == [NAME]
    assert not list(request.subject)
    authority.state = "processing"
    assert one.step() == 5.0
    authority.state = "valid"
    assert one.step() == "chain"
    assert authority.answers == 1


def test_a_valid_authorization_takes_no_answer_and_no_record():
    authority, zones = Asked("pending", "valid", "valid"), Records()
    assert isinstance(ordering(authority, zones).step(), float)
    assert (authority.answers, zones.put_) == (0, [])


def test_an_answer_that_comes_too_late_is_no_failure_unless_nothing_comes_of_it():
    authority, zones = Asked("pending"), Records()
    authority.refusal, zones.late = "malformed: Cannot update challenge with status valid", 0
    one = ordering(authority, zones)
    one.step()
    one.step()
    with pytest.raises(OrderRefused, match="Cannot update"):
        one.step()
    authority.authorization_state = "valid"
    one.step()


@pytest.mark.parametrize(
    ("authority", "says"),
    [
        (Asked("invalid", "invalid", "invalid", ("unauthorized", "No TXT record found")), "unauthorized: No TXT"),
        (Asked("pending", "invalid", "invalid", ("dns", "SERVFAIL")), "dns: SERVFAIL"),
        (Asked("pending", "valid", "deactivated"), "the authorization is deactivated"),
        (Asked("invalid"), "the order is invalid"),
    ],
)
def test_an_order_that_will_never_be_ready_says_why(authority, says):
    with pytest.raises(OrderRefused) as caught:
        ordering(authority).step()
    assert says in str(caught.value)


# What it sends


def made(key, name=NAME, begin=NOW - 60, seconds=86_400.0):
    loaded = serialization.load_pem_private_key(key.encode(), None)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(loaded.public_key())
        .serial_number(7)
        .not_valid_before(datetime.datetime.fromtimestamp(begin, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(begin + seconds, datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_only_a_certificate_for_our_key_and_name_that_is_good_now_is_used():
    leaf = checked(made(KEY) + made(new_key()), KEY, NAME, NOW)
    assert leaf.not_valid_after_utc.timestamp() == NOW - 60 + 86_400
    for chain, why in [
        (made(new_key()), "somebody else's"),
        (made(KEY, "other.example.com"), "somebody else's"),
        (made(KEY, seconds=30), "isn't good now"),
        (made(KEY, begin=NOW + 3600), "isn't good now"),
        ("", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
    ]:
        with pytest.raises(OrderRefused, match=why):
            checked(chain, KEY, NAME, NOW)


def test_keys_are_new_each_time_and_requests_are_for_names_of_any_length():
    assert new_key() != new_key()
    name = ".".join(["a" * 60] * 3 + ["example"])
    request = signing_request(KEY, name)
    assert request.is_signature_valid
    assert request.public_key().curve.name == "secp256r1"
