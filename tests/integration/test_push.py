"""Phones that sleep, over the whole service: credentials by the API, pushes over HTTP/2, the phone back at either edge."""

from __future__ import annotations

import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scripts.fleet_parts import DOMAIN, SIP, Host
from scripts.processes import wait_for
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.push_double import PushDouble
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.integration

TEAM, APP = "ABCDE12345", "org.example.phone.voip"
SOON = 15.0


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


APNS = {"key": pem(ec.generate_private_key(ec.SECP256R1())), "key_id": "KEY1234567", "team_id": TEAM}
ACCOUNT = {
    "type": "service_account",
    "project_id": "project-1",
    "private_key_id": "k",
    "private_key": pem(rsa.generate_private_key(65537, 2048)),
    "client_email": "push@project-1.example",
    "token_uri": "https://oauth2.googleapis.com/token",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    made = PushDouble(tmp_path_factory.mktemp("push"), lambda _: (200, {}, {}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, service):
    environment = {"APNS_URL": service.url, "SSL_CERT_FILE": str(service.chain)}
    made = loopback_fleet(tmp_path_factory.mktemp("fleet"), fresh_base(), 2, environment=environment)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def owner(fleet):
    return fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]


@pytest.fixture
def credentials(fleet, owner):
    made = fleet.client.api("PUT", f"/v1/push/apns?tenant={owner}", APNS)
    yield made
    fleet.client.request("DELETE", f"/v1/push/apns?tenant={owner}")


def phone(fleet, user, edge, transport="TCP"):
    host = fleet.edges[edge].host.address
    return SocketPhone(fleet.accounts[user], DOMAIN, Host(host), (host, SIP), transport)


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
    for wrong in ({**APNS, "key": "x"}, {**APNS, "key": ACCOUNT["private_key"]}, {**APNS, "team_id": "../../secret"}):
        assert client.request("PUT", f"/v1/push/apns?tenant={owner}", wrong)[0] == 422
    status, _ = client.request("DELETE", f"/v1/tenants/{owner}")
    assert status == 409
    for name in ("apns", "fcm", "webpush"):
        assert client.request("DELETE", f"/v1/push/{name}?tenant={owner}")[0] == 204
    assert client.request("GET", f"/v1/push/apns?tenant={owner}")[0] == 404


def test_a_sleeping_phone_is_woken_and_rings_at_the_other_edge(fleet, owner, credentials, service):
    service.asked.clear()
    token = "ab" * 32
    with phone(fleet, "alice", 0, "UDP") as alice:
        assert alice.register() == 200
        with phone(fleet, "bob", 0) as asleep:
            answer = register(asleep, token)
            assert answer.values("feature-caps") == ['*;+sip.pns="apns"']
        invite = alice.invite(f"sip:bob@{DOMAIN}")
        wait_for("the push", lambda: service.asked, SOON)
        (asked,) = service.asked
        assert asked.headers[":path"] == f"/3/device/{token}"
        assert asked.headers["apns-topic"] == APP
        assert asked.json["call-id"] == invite.get("call-id")
        assert "from-uri" not in asked.json
        with phone(fleet, "bob", 1) as bob:
            assert register(bob, token).status == 200
            incoming = bob.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
            bob.send(bob.agent.response(incoming, 486).to_bytes())
            assert alice.wait(lambda: alice.agent.final(invite)).status == 486
    assert len(service.asked) == 1


def test_a_phone_that_is_gone_loses_its_binding_and_its_tenant_is_told(fleet, owner, credentials, service):
    service.asked.clear()
    service.answer = lambda _: (410, {}, {"reason": "Unregistered"})
    token = "cd" * 32
    try:
        with phone(fleet, "carol", 0) as asleep:
            assert register(asleep, token).status == 200
        with phone(fleet, "alice", 1, "UDP") as alice:
            assert alice.register() == 200
            alice.invite(f"sip:carol@{DOMAIN}")
            path = f"/v1/accounts/carol@{DOMAIN}"
            wait_for("the binding to go", lambda: not fleet.client.api("GET", f"{path}/bindings"), SOON)
    finally:
        service.answer = lambda _: (200, {}, {})
    day = time.strftime("%Y-%m-%d", time.gmtime())
    events = fleet.client.api("GET", f"/v1/events?tenant={owner}&day={day}&kind=push")["items"]
    assert any("doesn't know a phone of carol" in one["text"] for one in events)
    assert token not in json.dumps(events)
