"""How many of everything a tenant may make."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambdas.decisions.quotas import OF_STRANGERS, USUAL, quotas
from tests.integration.test_bulk import in_the_directory
from tests.integration.test_provisioning import ask

pytestmark = pytest.mark.integration


def bound(plane, tenant, **most):
    return plane.client.api("PATCH", f"/v1/tenants/{tenant}/bounds", {"quotas": most})["quotas"]


def test_those_who_signed_up_may_make_less_of_everything():
    assert set(OF_STRANGERS) == set(USUAL)
    assert all(OF_STRANGERS[kind] < most for kind, most in USUAL.items())
    assert quotas({"accounts": 7}, True) == {**OF_STRANGERS, "accounts": 7}


def test_accounts_even_when_many_are_made_at_once(plane, tenant):
    owner, key, domain = tenant
    bound(plane, owner, accounts=5)

    def make(number):
        return ask(plane, key, "POST", "/v1/accounts", {"username": f"u{number}", "domain": domain})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(make, range(16)))
    assert sorted(status for status, _ in answers) == [201] * 5 + [409] * 11
    detail = next(answer["detail"] for status, answer in answers if status == 409)
    assert "5 accounts" in detail
    assert "quotas.accounts" in detail  # who raises it, and where
    made = ask(plane, key, "GET", "/v1/accounts")[1]["items"]
    assert ask(plane, key, "DELETE", f"/v1/accounts/{made[0]['aor']}")[0] == 204
    assert make(20)[0] == 201  # there is room again at once
    assert make(21)[0] == 409
    bound(plane, owner, accounts=6)
    assert make(22)[0] == 201
    assert bound(plane, owner, accounts=None)["accounts"] == USUAL["accounts"]


def test_imports_count_as_a_whole(plane, tenant):
    owner, key, domain = tenant
    bound(plane, owner, accounts=3)
    rows = [{"username": f"u{number}", "domain": domain} for number in range(4)]
    assert ask(plane, key, "POST", "/v1/accounts:import", rows)[0] == 409
    assert ask(plane, key, "GET", "/v1/accounts")[1]["items"] == []
    assert ask(plane, key, "POST", "/v1/accounts:import", rows[:3])[0] == 201
    assert ask(plane, key, "POST", "/v1/accounts:import", rows[3:])[0] == 409


def test_what_isnt_made_after_all_isnt_counted(plane, tenant):
    owner, key, domain = tenant
    bound(plane, owner, accounts=2)
    body = {"username": "u", "domain": domain}
    assert [ask(plane, key, "POST", "/v1/accounts", body)[0] for _ in range(4)] == [201, 409, 409, 409]
    assert ask(plane, key, "POST", "/v1/accounts", {**body, "username": "v"})[0] == 201


def test_everything_else(plane, tenant):
    owner, key, _ = tenant
    bound(plane, owner, keys=2, plans=1, plan_versions=3, members=1, domains=1, store=2)
    body = {"plan": {"rules": [{"name": "all", "as_dialled": True}]}}
    for method, path, what, expected in (
        ("POST", "/v1/keys", {}, 201),  # the one of the fixture was the first
        ("POST", "/v1/keys", {}, 409),
        ("POST", "/v1/plans/a/versions", body, 201),
        ("POST", "/v1/plans/b/versions", body, 409),
        ("POST", "/v1/domains", {"name": "more.example"}, 409),
        ("POST", "/v1/members", {"email": f"a@{owner}.example"}, 201),
        ("POST", "/v1/members", {"email": f"b@{owner}.example"}, 409),
        ("PUT", "/v1/store/a", {"value": "1"}, 204),
        ("PUT", "/v1/store/b", {"value": "1"}, 204),
        ("PUT", "/v1/store/c", {"value": "1"}, 409),
        ("PUT", "/v1/store/a", {"value": "2"}, 204),
    ):
        status, answer = ask(plane, key, method, path, what)
        assert status == expected, (path, answer)


def test_of_versions_the_oldest_go_but_not_the_one_that_counts(plane, tenant):
    owner, key, _ = tenant
    bound(plane, owner, plan_versions=3)
    body = {"plan": {"rules": [{"name": "all", "as_dialled": True}]}}
    ask(plane, key, "POST", "/v1/plans/a/versions", {**body, "publish": True})
    for _ in range(5):
        assert ask(plane, key, "POST", "/v1/plans/a/versions", body)[0] == 201
    versions = [one["version"] for one in ask(plane, key, "GET", "/v1/plans/a/versions")[1]["items"]]
    assert versions == [1, 4, 5, 6]
    assert ask(plane, key, "POST", "/v1/plans/a/publish", {"version": 6})[0] == 200
    ask(plane, key, "POST", "/v1/plans/a/versions", body)
    versions = [one["version"] for one in ask(plane, key, "GET", "/v1/plans/a/versions")[1]["items"]]
    assert versions == [5, 6, 7]


def test_a_tenant_cant_raise_its_own(plane, tenant):
    owner, key, _ = tenant
    assert ask(plane, key, "PATCH", f"/v1/tenants/{owner}/bounds", {"quotas": {"accounts": 9}})[0] == 403
    assert ask(plane, key, "PATCH", f"/v1/tenants/{owner}", {"quotas": {"accounts": 9}})[0] == 422
    assert ask(plane, key, "GET", f"/v1/tenants/{owner}")[1]["quotas"]["accounts"] == USUAL["accounts"]


_HEALED = """
import json, sys
from lambdas.repositories.counts import Counts
from lambdas.repositories.directory import Directory
from lambdas.repositories.items import item_key
from lambdas.repositories.models import CountItem
from lambdas.decisions.quotas import QuotaUsedUp

tenant, counts, found = sys.argv[1], Counts(Directory()), []
for number, at in ((10_000, 0), (10_000, 2e9)):  # one that a process that has died left behind; one just made
    CountItem(*item_key(CountItem, f"{tenant}/accounts"), number=number, at=int(at)).save()
    try:
        counts.take(tenant, "accounts")
        found.append("room")
    except QuotaUsedUp:
        found.append("none")
print(json.dumps(found))
"""


def test_a_count_that_is_too_high_is_counted_again(plane, tenant):
    assert json.loads(in_the_directory(plane, _HEALED, tenant[0])) == ["room", "none"]
