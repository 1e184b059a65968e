"""What a key may do, and the trail that changes leave."""

from __future__ import annotations

import datetime

import pytest

from tests.integration.test_provisioning import all_of, ask, tenant

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture


def trail(fleet, key, owner=""):
    today = datetime.datetime.now(datetime.UTC).date()
    path = f"/v1/events?day={today}&kind=audit" + (f"&tenant={owner}" if owner else "")
    return [(event["about"], event["text"]) for event in all_of(fleet, key, path, 200)]


def test_a_key_may_do_what_its_role_says(fleet, tenant):
    _, owner, domain = tenant
    made = {
        role: ask(fleet, owner, "POST", "/v1/keys", {"role": role, "note": role})[1]
        for role in ("owner", "admin", "read-only")
    }
    assert [made[role]["role"] for role in made] == ["owner", "admin", "read-only"]
    admin, reader = made["admin"]["key"], made["read-only"]["key"]
    for method in ("PUT", "DELETE"):  # not the route that only tries something
        assert ask(fleet, reader, method, "/v1/store/a:simulate", {"value": "x"})[0] == 403
    account = {"username": "alice", "domain": domain}
    assert ask(fleet, reader, "POST", "/v1/accounts", account)[0] == 403
    assert ask(fleet, admin, "POST", "/v1/accounts", account)[0] == 201
    for key in (reader, admin):
        assert ask(fleet, key, "GET", f"/v1/accounts/alice@{domain}")[0] == 200
        assert ask(fleet, key, "POST", "/v1/keys", {})[0] == 403
        assert ask(fleet, key, "DELETE", f"/v1/keys/{made['owner']['id']}")[0] == 403
    for method, path, body in (
        ("PATCH", f"/v1/accounts/alice@{domain}", {"enabled": False}),
        ("DELETE", f"/v1/accounts/alice@{domain}", None),
        ("PUT", "/v1/store/a", {"value": "b"}),
        ("POST", "/v1/plans/p/versions", {"plan": {"rules": [{"name": "x", "as_dialled": True}]}}),
    ):
        status, problem = ask(fleet, reader, method, path, body)
        assert (status, problem["detail"]) == (403, "This API key may only read.")
    assert ask(fleet, reader, "POST", "/v1/plans/p:simulate", {"caller": "a", "called": "b"})[0] == 404  # it may try
    assert ask(fleet, made["owner"]["key"], "DELETE", f"/v1/keys/{made['admin']['id']}")[0] == 204
    assert ask(fleet, admin, "GET", "/v1/accounts")[0] == 401


def test_changes_leave_a_trail_without_their_values(fleet, tenant):
    owner, key, domain = tenant
    name = key.split("_")[1]
    ask(fleet, key, "POST", "/v1/accounts", {"username": "alice", "domain": domain, "password": "well hidden one"})
    ask(fleet, key, "GET", f"/v1/accounts/alice@{domain}")
    ask(fleet, key, "PATCH", f"/v1/accounts/alice@{domain}", {"colour": "red"})
    ask(fleet, key, "PATCH", f"/v1/accounts/alice@{domain}", {"enabled": False, "display_name": "Alice"})
    fleet.client.api("POST", f"/v1/accounts/alice@{domain}/password", {"password": "well hidden two"})
    ask(fleet, key, "DELETE", f"/v1/accounts/alice@{domain}")
    found = trail(fleet, key)
    assert found[-4:] == [
        (name, f"POST /v1/accounts alice@{domain}: domain, password, username"),
        (name, f"PATCH /v1/accounts/alice@{domain}: display_name, enabled"),
        (fleet.client.key.split("_")[1], f"POST /v1/accounts/alice@{domain}/password: password"),
        (name, f"DELETE /v1/accounts/alice@{domain}"),
    ]
    assert "well hidden" not in str(found)
    assert trail(fleet, fleet.client.key, owner) == found
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    theirs = fleet.client.api("POST", "/v1/keys", {"tenant": other})["key"]
    assert all("alice" not in text for _, text in trail(fleet, theirs))
    assert (fleet.client.key.split("_")[1], f"POST /v1/tenants {other}: name") in trail(fleet, fleet.client.key)
