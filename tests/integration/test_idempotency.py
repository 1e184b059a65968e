"""A POST that is sent again is done once."""

from __future__ import annotations

import datetime
import http.client
import json
import threading
from urllib.parse import urlsplit

import pytest

from scripts.fleet_parts import development_client
from tests.integration.test_provisioning import ask, tenant

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture


def post(fleet, key, path, body, once=None):
    """(status, JSON, whether it was said before)"""
    parts = urlsplit(fleet.api_url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body), headers | ({"Idempotency-Key": once} if once else {}))
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.getheader("Idempotency-Replayed")
    finally:
        connection.close()


def test_the_answer_comes_again_and_nothing_else_happens(fleet, tenant):
    _, key, domain = tenant
    body = {"username": "alice", "domain": domain}
    first = post(fleet, key, "/v1/accounts", body, "k1")
    again = post(fleet, key, "/v1/accounts", body, "k1")
    assert (first[0], first[2], again[2]) == (201, None, "true")
    assert again[:2] == first[:2]  # the password that was made, too
    assert post(fleet, key, "/v1/accounts", body, "k2")[0] == 409  # another request: it exists
    assert len(ask(fleet, key, "GET", "/v1/accounts")[1]["items"]) == 1
    trail = ask(fleet, key, "GET", f"/v1/events?kind=audit&day={_today()}")[1]["items"]
    assert len([event for event in trail if event["text"].startswith("POST /v1/accounts ")]) == 1
    # A password in the table can't be read by who reads the table.
    table = development_client("dynamodb", fleet.endpoint)
    stored = json.dumps(table.scan(TableName="sipwizard-directory")["Items"])
    assert "IDEMPOTENT#" in stored
    assert first[1]["password"] not in stored


def _today():
    return datetime.datetime.now(datetime.UTC).date()


def test_one_key_is_for_one_request(fleet, tenant):
    _, key, domain = tenant
    assert post(fleet, key, "/v1/accounts", {"username": "alice", "domain": domain}, "k")[0] == 201
    status, problem, _ = post(fleet, key, "/v1/accounts", {"username": "bob", "domain": domain}, "k")
    assert (status, "another request" in problem["detail"]) == (409, True)
    assert post(fleet, key, "/v1/keys", {"note": "x"}, "k")[0] == 409
    mine = fleet.client.api("POST", "/v1/keys", {"tenant": tenant[0]})["key"]
    assert post(fleet, mine, "/v1/accounts", {"username": "bob", "domain": domain}, "k")[0] == 201  # another sender's


def test_what_was_refused_may_be_tried_again(fleet, tenant):
    _, key, domain = tenant
    wrong = {"username": "alice", "domain": domain, "password": "short"}
    assert post(fleet, key, "/v1/accounts", wrong, "k")[0] == 422
    assert post(fleet, key, "/v1/accounts", {**wrong, "password": "long enough by now"}, "k")[0] == 201


def test_strangers_and_strange_keys(fleet, tenant):
    _, key, domain = tenant
    body = {"username": "alice", "domain": domain}
    assert post(fleet, "sw_nobody_x", "/v1/accounts", body, "k")[0] == 401
    for odd in ("x" * 201, "\x7f"):
        assert post(fleet, key, "/v1/accounts", body, odd)[0] == 400


def test_of_two_retries_of_one_that_was_lost_only_one_is_done(fleet, tenant):
    """Its answer never came, and a minute later two retries do at once."""
    owner, key, _ = tenant
    table = development_client("dynamodb", fleet.endpoint)
    for number in range(4):
        body, once = {"note": f"n{number}"}, f"lost {number}"
        assert post(fleet, key, "/v1/keys", body, once)[0] == 201
        for item in table.scan(
            TableName="sipwizard-directory", FilterExpression="begins_with(pk, :p)",
            ExpressionAttributeValues={":p": {"S": "IDEMPOTENT#"}},
        )["Items"]:  # fmt: skip
            table.update_item(
                TableName="sipwizard-directory", Key={"pk": item["pk"], "sk": item["sk"]},
                UpdateExpression="SET #a = :a, #s = :z", ExpressionAttributeNames={"#a": "at", "#s": "status"},
                ExpressionAttributeValues={":a": {"N": str(int(item["at"]["N"]) - 100)}, ":z": {"N": "0"}},
            )  # fmt: skip
        results = []
        threads = [
            threading.Thread(
                target=lambda body=body, once=once: results.append(post(fleet, key, "/v1/keys", body, once))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        notes = [one["note"] for one in fleet.client.api("GET", f"/v1/keys?tenant={owner}")["items"]]
        assert notes.count(f"n{number}") == 2, results
    table.close()


def test_what_a_key_may_not_do_isnt_replayed_to_it(fleet, tenant):
    owner, key, domain = tenant
    made = ask(fleet, key, "POST", "/v1/keys", {"role": "admin"})[1]
    body = {"username": "alice", "domain": domain}
    assert post(fleet, made["key"], "/v1/accounts", body, "k")[0] == 201
    table = development_client("dynamodb", fleet.endpoint)
    name = {"S": f"KEY#{made['id']}"}
    table.update_item(
        TableName="sipwizard-directory", Key={"pk": name, "sk": name}, UpdateExpression="SET #r = :r",
        ExpressionAttributeNames={"#r": "role"}, ExpressionAttributeValues={":r": {"S": "read-only"}},
    )  # fmt: skip
    table.close()
    assert post(fleet, made["key"], "/v1/accounts", body, "k")[0] == 403


def test_two_at_once_are_one(fleet, tenant):
    _, key, domain = tenant
    results = []

    def send(number):
        results.append(post(fleet, key, "/v1/accounts", {"username": "twin", "domain": domain}, "k"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [result for result in results if result[0] == 201]
    assert [result[2] for result in made].count(None) == 1
    assert len({result[1]["password"] for result in made}) == 1
    assert all("under way" in result[1]["detail"] for result in results if result[0] != 201)
