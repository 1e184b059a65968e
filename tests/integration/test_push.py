"""Phones that sleep, over the whole service: credentials by the API, pushes over HTTP/2, the phone back at either edge."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scripts.fleet_parts import DOMAIN, PREFIX, SIP, Host, PhoneAccount
from scripts.processes import wait_for
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.integration

TEAM, APP = "ABCDE12345", "org.example.phone.voip"
SOON = 15.0


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


APNS = {"key": pem(ec.generate_private_key(ec.SECP256R1())), "key_id": "KEY1234567", "team_id": TEAM}
LONG = {**APNS, "key": APNS["key"] + 3300 * "\n"}  # than KMS would seal
ACCOUNT = {
    "type": "service_account",
    "project_id": "project-1",
    "private_key_id": "k",
    "private_key": pem(rsa.generate_private_key(65537, 2048)),
    "client_email": "push@project-1.example",
    "token_uri": "https://oauth2.googleapis.com/token",
}


@pytest.fixture
def service(push_service):
    push_service.asked.clear()
    return push_service


@pytest.fixture(scope="module")
def owner(fleet):
    return fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]


@pytest.fixture(scope="module")
def accounts(fleet):
    """A caller and a sleeper, whom no other test knows."""
    names = [f"push-{secrets.token_hex(3)}" for _ in range(2)]
    made = [fleet.client.api("POST", "/v1/accounts", {"username": name, "domain": DOMAIN}) for name in names]
    return [PhoneAccount(one["aor"], one["username"], one["password"]) for one in made]


@pytest.fixture
def credentials(fleet, owner):
    made = fleet.client.api("PUT", f"/v1/push/apns?tenant={owner}", APNS)
    yield made
    fleet.client.request("DELETE", f"/v1/push/apns?tenant={owner}")


def phone(fleet, account, edge, transport="TCP"):
    host = fleet.edges[edge].host.address
    return SocketPhone(account, DOMAIN, Host(host), (host, SIP), transport)


def register(one, token):
    agent = one.agent
    push = f";pn-provider=apns;pn-prid={token};pn-param={TEAM}.{APP}"
    contact = f"<sip:{agent.username}@{agent.host}:{agent.port};transport=tcp{push}>"
    return one.transact(agent.register_request(3600, contact))


def test_credentials_are_set_and_never_shown(fleet, owner):
    client = fleet.client
    assert client.api("GET", f"/v1/push?tenant={owner}")["items"] == []
    made = client.api("PUT", f"/v1/push/apns?tenant={owner}", APNS)
    assert made["team_id"] == TEAM
    assert client.api("PUT", f"/v1/push/fcm?tenant={owner}", {"service_account": ACCOUNT})["project_id"] == "project-1"
    first = client.api("PUT", f"/v1/push/webpush?tenant={owner}", {"subject": "mailto:a@example.com"})
    again = client.api(
        "PUT", f"/v1/push/webpush?tenant={owner}", {"subject": "mailto:b@example.com", "show_caller": True}
    )
    assert first["public_key"] == again["public_key"]
    assert len(first["public_key"]) == 87
    listed = client.api("GET", f"/v1/push?tenant={owner}")
    assert [one["service"] for one in listed["items"]] == ["apns", "fcm", "webpush"]
    assert "PRIVATE" not in json.dumps([listed, made])
    for wrong in (
        {**APNS, "key": "x"},
        {**APNS, "key": ACCOUNT["private_key"]},
        {**APNS, "team_id": "../../secret"},
        LONG,
    ):
        assert client.request("PUT", f"/v1/push/apns?tenant={owner}", wrong)[0] == 422
    key = client.api("POST", "/v1/keys", {"tenant": owner, "role": "admin"})["key"]
    assert client.request("PUT", "/v1/push/apns", APNS, key)[0] == 403
    assert client.request("GET", "/v1/push/apns", None, key)[0] == 200
    day = time.strftime("%Y-%m-%d", time.gmtime())
    trail = client.api("GET", f"/v1/events?tenant={owner}&day={day}&kind=audit&limit=200")["items"]
    assert any("PUT /v1/push/apns: key, key_id, team_id" in one["text"] for one in trail)
    assert "PRIVATE" not in json.dumps(trail)
    status, _ = client.request("DELETE", f"/v1/tenants/{owner}")
    assert status == 409
    for name in ("apns", "fcm", "webpush"):
        assert client.request("DELETE", f"/v1/push/{name}?tenant={owner}")[0] == 204
    assert client.request("GET", f"/v1/push/apns?tenant={owner}")[0] == 404


def test_a_sleeping_phone_is_woken_once_and_rings_at_the_other_edge(fleet, accounts, credentials, service):
    token, (caller, sleeper) = "ab" * 32, accounts
    with phone(fleet, caller, 0, "UDP") as alice:
        assert alice.register() == 200
        with phone(fleet, sleeper, 0) as asleep:
            assert register(asleep, token).values("feature-caps") == ['*;+sip.pns="apns"']
        invites = [alice.invite(f"sip:{sleeper.aor}") for _ in range(2)]
        wait_for("the push", lambda: service.asked, SOON)
        asked = service.asked[0]
        assert asked.headers[":path"] == f"/3/device/{token}"
        assert asked.headers["apns-topic"] == APP
        assert asked.json["call-id"] in {invite.get("call-id") for invite in invites}
        assert "from-uri" not in asked.json
        with phone(fleet, sleeper, 1) as bob:
            assert register(bob, token).status == 200
            for number in (1, 2):
                bob.wait(lambda number=number: len(bob.agent.requests("INVITE")) >= number)
                bob.send(bob.agent.response(bob.agent.requests("INVITE")[number - 1], 486).to_bytes())
            for invite in invites:
                assert alice.wait(lambda invite=invite: alice.agent.final(invite)).status == 486
    assert len(service.asked) == 1


def test_a_phone_that_is_gone_loses_its_binding_and_its_tenant_is_told(fleet, owner, accounts, credentials, service):
    service.answer = lambda _: (410, {}, {"reason": "Unregistered"})
    token, (caller, sleeper) = "cd" * 32, accounts
    try:
        with phone(fleet, sleeper, 0) as asleep:
            assert register(asleep, token).status == 200
        with phone(fleet, caller, 1, "UDP") as alice:
            assert alice.register() == 200
            alice.invite(f"sip:{sleeper.aor}")
            path = f"/v1/accounts/{sleeper.aor}/bindings"
            wait_for(
                "the binding to go",
                lambda: not [one for one in fleet.client.api("GET", path) if token in one["contact"]],
                SOON,
            )
    finally:
        service.answer = lambda _: (200, {}, {})
    day = time.strftime("%Y-%m-%d", time.gmtime())
    events = fleet.client.api("GET", f"/v1/events?tenant={owner}&day={day}&kind=push")["items"]
    assert any(f"doesn't know a phone of {sleeper.aor}" in one["text"] for one in events)
    assert token not in json.dumps(events)


_BOUNDS = """
from lambdas.repositories.pushes import Pushes
pushes, now = Pushes(), 1_800_000_000.0
print([pushes.claim("phone", now + seconds) for seconds in (0, 1, 4.9, 5, 6, 10)])
print([pushes.claim("another", now), pushes.release("another") or pushes.claim("another", now + 1)])
print([pushes.take("account", 3, now + seconds) for seconds in (0, 1, 2, 3, 60)])
"""


def test_an_account_and_a_phone_have_bounds(fleet):
    """Of all processes together."""
    environment = {**os.environ, "AWS_ENDPOINT_URL": fleet.endpoint, "TABLE_PREFIX": PREFIX}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    done = subprocess.run(
        [sys.executable, "-c", _BOUNDS], env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    phone, released, account = map(json.loads, done.stdout.lower().splitlines())
    assert phone == [True, False, False, True, False, True]
    assert released == [True, True]
    assert account == [True, True, True, False, True]
