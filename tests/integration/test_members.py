"""People: signing up, members and their keys, and whose a domain is. Mail goes to MiniStack's mailbox."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.fleet_parts import DOMAIN, PREFIX, SIP, Host, PhoneAccount, development_client
from scripts.processes import wait_for
from tests.integration.test_provisioning import ask
from tests.support.dns_server import DnsServer
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration

SENDER = "sip@example.com"


@pytest.fixture(scope="module")
def names():
    base = fresh_base()
    made = DnsServer(f"{base.rpartition('.')[0]}.40")
    yield made
    made.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, names):
    environment = {
        "MAIL_FROM": SENDER, "SIGN_UP": "on", "DOMAIN_NAMESERVERS": names.address, "DOMAIN_PROOF": "required",
        "API_RATE": "200", "REFUSED_RATE": "50", "PUBLIC_URL": "https://sip.people.example",
    }  # fmt: skip
    made = loopback_fleet(tmp_path_factory.mktemp("fleet"), fresh_base(), 2, environment=environment)
    try:
        made.start()
        development_client("sesv2", made.endpoint).create_email_identity(EmailIdentity=SENDER)
        yield made
    finally:
        made.stop()


def open_(fleet, method, path, body=None):
    """As a stranger."""
    return ask(fleet, "", method, path, body)


def mails(fleet, to):
    with urllib.request.urlopen(f"{fleet.endpoint}/_ministack/ses/messages") as reply:
        boxes = json.load(reply)
    return [mail for box in boxes["messages"].values() for mail in box if to in mail["To"]]


def token_for(fleet, to, number=1):
    mail = wait_for("the mail", lambda: mails(fleet, to)[number - 1 :], 10)[-1]
    assert "https://sip.people.example/v1/" in mail["BodyText"]  # PUBLIC_URL, not the request's Host
    return re.search(r'"token": "([^"]+)"', mail["BodyText"])[1]


def test_from_an_address_to_a_call_in_under_a_minute(fleet):
    begun = time.monotonic()
    assert open_(fleet, "POST", "/v1/signup", {"email": "ann@people.example"})[0] == 202
    token = token_for(fleet, "ann@people.example")
    assert open_(fleet, "POST", "/v1/signup/confirm", {"token": token, "username": "alice"})[0] == 409  # somebody's
    status, made = open_(fleet, "POST", "/v1/signup/confirm", {"token": token, "username": "ann"})
    assert (status, made["account"]["aor"]) == (201, f"ann@{DOMAIN}")
    edges = fleet.edges
    account = PhoneAccount(made["account"]["aor"], "ann", made["account"]["password"])
    more = ask(fleet, made["key"], "POST", "/v1/accounts", {"username": "ann-2", "domain": DOMAIN})
    assert more[0] == 404  # the domain is the service's
    phones = [SocketPhone(account, DOMAIN, Host(edge.host.address), (edge.address, SIP)) for edge in edges]
    with phones[0] as one, phones[1] as other:
        assert (one.register(), other.register()) == (200, 200)
        dialog, _ = call(one, other, f"sip:ann@{DOMAIN}")
        in_dialog(one, dialog, "BYE", other)
    assert time.monotonic() - begun < 60 * slowness()
    assert ask(fleet, made["key"], "GET", "/v1/members")[1]["items"] == [
        {"email": "ann@people.example", "tenant": made["tenant"], "role": "owner"}
    ]
    shown = ask(fleet, made["key"], "GET", f"/v1/tenants/{made['tenant']}")[1]
    assert (shown["limits"]["concurrent_calls"], shown["limits"]["relayed_calls"]) == (4, 8)
    assert shown["outside"] is False
    assert ask(fleet, made["key"], "PATCH", f"/v1/tenants/{made['tenant']}", {"outside": True})[0] == 422
    assert ask(fleet, made["key"], "PATCH", f"/v1/tenants/{made['tenant']}/bounds", {"outside": True})[0] == 403
    allowed = fleet.client.api("PATCH", f"/v1/tenants/{made['tenant']}/bounds", {"outside": True})
    assert (allowed["outside"], allowed["limits"]["concurrent_calls"]) == (True, 4)
    # A token is good once, and only as it was sent.
    status, problem = open_(fleet, "POST", "/v1/signup/confirm", {"token": token, "username": "ann-b"})
    assert (status, "used already" in problem["detail"]) == (403, True)
    assert fleet.client.request("GET", f"/v1/accounts/ann-b@{DOMAIN}")[0] == 404
    for bad in (token[:-1] + ("0" if token[-1] != "0" else "1"), "x", "x.y", "é.é", token.replace(".", "")):
        assert open_(fleet, "POST", "/v1/signup/confirm", {"token": bad, "username": "eve"})[0] == 403
    assert open_(fleet, "POST", "/v1/login/confirm", {"token": token})[0] == 403  # for something else
    assert open_(fleet, "POST", "/v1/signup", {"email": "nobody"})[0] == 422


def test_nobody_learns_which_names_another_tenant_has(fleet):
    """In the domain that those share who sign up; a name may look like a number."""
    assert open_(fleet, "POST", "/v1/signup", {"email": "num@people.example"})[0] == 202
    token = token_for(fleet, "num@people.example")
    assert open_(fleet, "POST", "/v1/signup/confirm", {"token": token, "username": "12345"})[0] == 201
    edge = fleet.edges[0]
    with SocketPhone(fleet.accounts["alice"], DOMAIN, Host(edge.host.address), (edge.address, SIP)) as alice:
        heard = set()
        for name in ("12345", "54321"):
            invite = alice.invite(f"sip:{name}@{DOMAIN}")
            final = alice.wait(lambda invite=invite: alice.agent.final(invite))
            heard.add((final.status, final.reason))
        assert heard == {(404, "Not Found: no outbound route for this number")}


def test_mails_are_asked_for_slowly(fleet):
    statuses = [open_(fleet, "POST", "/v1/signup", {"email": "flood@people.example"})[0] for _ in range(7)]
    assert statuses == [202] * 5 + [429] * 2


def test_members_their_roles_and_their_keys(fleet):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Members"})["id"]
    owner = fleet.client.api(
        "POST", "/v1/members", {"tenant": tenant, "email": "owner@people.example", "role": "owner"}
    )
    assert owner == {"email": "owner@people.example", "tenant": tenant, "role": "owner"}
    made = open_(fleet, "POST", "/v1/login/confirm", {"token": token_for(fleet, "owner@people.example")})[1]
    key = made["key"]
    assert (made["role"], made["tenant"], made["member"]) == ("owner", tenant, "owner@people.example")
    assert ask(fleet, key, "POST", "/v1/members", {"email": "bea@people.example", "role": "read-only"})[0] == 201
    assert ask(fleet, key, "POST", "/v1/members", {"email": "bea@people.example"})[0] == 409
    bea = open_(fleet, "POST", "/v1/login/confirm", {"token": token_for(fleet, "bea@people.example")})[1]["key"]
    assert ask(fleet, bea, "GET", "/v1/accounts")[0] == 200
    assert ask(fleet, bea, "PATCH", f"/v1/tenants/{tenant}", {"country": "GB"})[0] == 403
    path = "/v1/members/bea@people.example"
    assert ask(fleet, key, "PATCH", path, {"role": "admin"})[1]["role"] == "admin"
    assert ask(fleet, bea, "PATCH", f"/v1/tenants/{tenant}", {"country": "GB"})[0] == 200
    assert ask(fleet, bea, "POST", "/v1/members", {"email": "eve@people.example"})[0] == 403
    for method, body in (("PATCH", {"role": "admin"}), ("DELETE", None)):
        status, problem = ask(fleet, key, method, "/v1/members/owner@people.example", body)
        assert (status, "last owner" in problem["detail"]) == (409, True)
    # Another key, by mail; nobody learns who is a member.
    for email in ("bea@people.example", "nobody@people.example"):
        assert open_(fleet, "POST", "/v1/login", {"email": email, "tenant": tenant})[0] == 202
    again = open_(fleet, "POST", "/v1/login/confirm", {"token": token_for(fleet, "bea@people.example", 2)})[1]["key"]
    assert not mails(fleet, "nobody@people.example")
    assert ask(fleet, key, "DELETE", path)[0] == 204
    assert [ask(fleet, one, "GET", "/v1/accounts")[0] for one in (bea, again)] == [401, 401]
    assert ask(fleet, key, "GET", path)[0] == 404


def test_owners_get_a_mail_when_somebody_is_suspended(fleet):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Notices"})["id"]
    for email, role in (
        ("first@people.example", "owner"),
        ("second@people.example", "owner"),
        ("x@people.example", "admin"),
    ):
        fleet.client.api("POST", "/v1/members", {"tenant": tenant, "email": email, "role": role})
    fleet.client.api("POST", "/v1/domains", {"tenant": tenant, "name": "notices.example"})
    fleet.client.api("POST", "/v1/accounts", {"username": "gus", "domain": "notices.example"})
    path = "/v1/accounts/gus@notices.example/suspension"
    fleet.client.api("PUT", path, {"reason": "calls to nowhere"})

    def told(to):
        return [mail for mail in mails(fleet, to) if "suspended" in mail["Subject"]]

    for to in ("first@people.example", "second@people.example"):
        (mail,) = wait_for("the mail", lambda to=to: told(to), 15)
        assert mail["Subject"] == "gus@notices.example is suspended"
        assert "calls to nowhere" in mail["BodyText"]
        assert "account lift gus@notices.example" in mail["BodyText"]
    fleet.client.api("DELETE", path)
    fleet.client.api("PUT", f"/v1/tenants/{tenant}/suspension", {"reason": "unpaid"})
    wait_for("the other mail", lambda: len(told("first@people.example")) == 2, 15)
    assert not told("x@people.example")


def test_what_a_member_may_do_is_asked_each_time(fleet):
    """Keys may be missing in the list of keys, which comes late: so their copies of the role count for nothing."""
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Roles"})["id"]
    fleet.client.api("POST", "/v1/members", {"tenant": tenant, "email": "cy@people.example", "role": "owner"})
    made = open_(fleet, "POST", "/v1/login/confirm", {"token": token_for(fleet, "cy@people.example")})[1]
    assert made["role"] == "owner"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    audit = ask(fleet, made["key"], "GET", f"/v1/events?day={today}&kind=audit")[1]["items"]
    assert [one["text"] for one in audit][1:] == [f"POST /v1/login/confirm: API key {made['id']} of cy@people.example"]
    table, client = f"{PREFIX}-directory", development_client("dynamodb", fleet.endpoint)
    key = {"pk": {"S": f"MEMBER#{tenant}/cy@people.example"}, "sk": {"S": f"MEMBER#{tenant}/cy@people.example"}}
    role = {"#r": "role"}
    client.update_item(
        TableName=table, Key=key, UpdateExpression="SET #r = :r", ExpressionAttributeNames=role,
        ExpressionAttributeValues={":r": {"S": "read-only"}},
    )  # fmt: skip
    assert ask(fleet, made["key"], "PATCH", f"/v1/tenants/{tenant}", {"country": "GB"})[0] == 403
    assert ask(fleet, made["key"], "GET", f"/v1/tenants/{tenant}")[0] == 200
    client.delete_item(TableName=table, Key=key)
    client.close()
    assert ask(fleet, made["key"], "GET", f"/v1/tenants/{tenant}")[0] == 401


def test_two_owners_cant_remove_each_other(fleet):
    for number in range(4):
        tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Duel"})["id"]
        emails = [f"dan{number}@people.example", f"dora{number}@people.example"]
        for email in emails:
            fleet.client.api("POST", "/v1/members", {"tenant": tenant, "email": email, "role": "owner"})
        key = fleet.client.api("POST", "/v1/keys", {"tenant": tenant})["key"]
        paths = [f"/v1/members/{email}" for email in emails]
        with ThreadPoolExecutor(2) as pool:
            statuses = sorted(pool.map(lambda path, key=key: ask(fleet, key, "DELETE", path)[0], paths))
        assert statuses in ([204, 409], [204, 412], [412, 412])
        assert fleet.client.api("GET", f"/v1/members?tenant={tenant}")["items"]


def test_an_administrator_can_close_a_tenant(fleet):
    """Whose last owner is gone, or never was: their address was mistyped."""
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Closing"})["id"]
    member = fleet.client.api(
        "POST", "/v1/members", {"tenant": tenant, "email": "Tpyo@People.example", "role": "owner"}
    )
    assert member["email"] == "tpyo@people.example"
    assert fleet.client.request("DELETE", f"/v1/tenants/{tenant}")[0] == 409
    fleet.client.api("DELETE", f"/v1/members/tpyo@people.example?tenant={tenant}")
    with ThreadPoolExecutor(4) as pool:
        gone = sorted(pool.map(lambda _: fleet.client.request("DELETE", f"/v1/tenants/{tenant}")[0], range(4)))
    assert gone == [204, 404, 404, 404]


def test_an_owner_cant_flood_somebody_with_mail(fleet):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Flood"})["id"]
    statuses = []
    for number in range(7):
        email = "Victim@people.example" if number % 2 else "victim@people.example"
        statuses.append(fleet.client.request("POST", "/v1/members", {"tenant": tenant, "email": email})[0])
        fleet.client.request("DELETE", f"/v1/members/{email}?tenant={tenant}")
    assert statuses == [201] * 5 + [429] * 2


def test_a_tenants_domain_has_to_be_its_own(fleet, names):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Proof"})["id"]
    key = fleet.client.api("POST", "/v1/keys", {"tenant": tenant})["key"]
    body = {"name": "own.example", "aliases": ["alias.example"]}
    status, problem = ask(fleet, key, "POST", "/v1/domains", body)
    assert (status, len(problem["errors"])) == (403, 2)
    wanted = {fault["field"]: fault["fault"].rpartition(" ")[2] for fault in problem["errors"]}
    assert set(wanted) == {"_sipwizard.own.example", "_sipwizard.alias.example"}
    names.records["_sipwizard.own.example", "TXT"] = ['"v=spf1 -all"', f'"{wanted["_sipwizard.own.example"]}"']
    status, problem = ask(fleet, key, "POST", "/v1/domains", body)
    assert (status, [fault["field"] for fault in problem["errors"]]) == (403, ["_sipwizard.alias.example"])
    assert ask(fleet, key, "POST", "/v1/domains", {"name": "own.example"})[0] == 201
    assert ask(fleet, key, "PATCH", "/v1/domains/own.example", {"aliases": ["alias.example"]})[0] == 403
    names.records["_sipwizard.alias.example", "TXT"] = [f'"{wanted["_sipwizard.alias.example"]}"']
    assert ask(fleet, key, "PATCH", "/v1/domains/own.example", {"aliases": ["alias.example"]})[0] == 200
    # What proves it for one tenant proves nothing for another.
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Thief"})["id"]
    thief = fleet.client.api("POST", "/v1/keys", {"tenant": other})["key"]
    assert ask(fleet, key, "DELETE", "/v1/domains/own.example")[0] == 204
    assert ask(fleet, thief, "POST", "/v1/domains", {"name": "own.example"})[0] == 403
    assert (
        fleet.client.request("POST", "/v1/domains", {"tenant": other, "name": "own.example"})[0] == 201
    )  # an administrator


def test_the_domain_of_those_who_sign_up_stays(fleet):
    status, problem = fleet.client.request("DELETE", f"/v1/domains/{DOMAIN}")
    assert (status, "sign up" in problem["detail"]) == (409, True)


def test_requests_come_slowly_enough(fleet):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Busy"})["id"]
    busy, calm = (fleet.client.api("POST", "/v1/keys", {"tenant": tenant})["key"] for _ in range(2))
    statuses = [ask(fleet, busy, "GET", "/v1/keys")[0] for _ in range(260)]
    assert set(statuses) == {200, 429}
    assert statuses[:190] == [200] * 190
    assert ask(fleet, calm, "GET", "/v1/keys")[0] == 200  # others go on
    # Whoever guesses keys isn't even looked up any more; from another address it would go on.
    begun, guesses = time.monotonic(), 0
    while (status := ask(fleet, f"sw_{'0' * 16}_{guesses:064d}", "GET", "/v1/keys")[0]) == 401:
        guesses += 1
        assert guesses <= 60 + time.monotonic() - begun  # one more for each second
    assert status == 429
    assert guesses >= 45
