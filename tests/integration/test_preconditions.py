"""Nobody overwrites what they haven't read."""

from __future__ import annotations

import http.client
import json
import threading
from urllib.parse import urlsplit

import pytest

from tests.integration.test_provisioning import ask, tenant

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture


def send(fleet, key, method, path, body=None, match=None):
    """(status, JSON or None, ETag)"""
    parts = urlsplit(fleet.api_url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request(
            method,
            path,
            json.dumps(body) if body is not None else None,
            headers | ({"If-Match": match} if match else {}),
        )
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None, response.getheader("ETag")
    finally:
        connection.close()


PROVIDER = {
    "name": "acme", "host": "sip.acme.example", "username": "1001", "password": "correct horse",
}  # fmt: skip
PLAN = {"plan": {"rules": [{"name": "all", "as_dialled": True}]}}


def said(thing):
    """What somebody has said of it; how a provider account is doing changes by itself."""
    return {name: value for name, value in thing.items() if name != "registration"}


def read(fleet, key, path):
    _, thing, tag = send(fleet, key, "GET", path)
    return said(thing), tag


def test_a_change_of_what_has_changed_meanwhile_is_refused(fleet, tenant):
    name, key, domain = tenant
    assert ask(fleet, key, "POST", "/v1/accounts", {"username": "alice", "domain": domain})[0] == 201
    assert ask(fleet, key, "POST", "/v1/providers", PROVIDER)[0] == 201
    assert ask(fleet, key, "POST", "/v1/plans/office/versions", PLAN)[0] == 201
    things = {
        f"/v1/tenants/{name}": {"country": "GB"},
        f"/v1/domains/{domain}": {"aliases": [f"other.{domain}"]},
        f"/v1/accounts/alice@{domain}": {"display_name": "Alice"},
        "/v1/providers/acme": {"caller_id": "+442079460000"},
    }
    for path, change in things.items():
        status, before, tag = send(fleet, key, "GET", path)
        assert status == 200, path
        assert send(fleet, key, "PATCH", path, change, '"another"')[0] == 412, path
        assert read(fleet, key, path) == (said(before), tag), path
        status, after, new = send(fleet, key, "PATCH", path, change, f'"x", {tag}')
        assert (status, after != before, new != tag) == (200, True, True), path
        assert read(fleet, key, path) == (said(after), new), path
        status, problem, _ = send(fleet, key, "PATCH", path, change, tag)
        assert (status, "Read it again" in problem["detail"]) == (412, True), path
        assert send(fleet, key, "PATCH", path, change, "*")[0] == 200, path
        assert send(fleet, key, "PATCH", path, change)[0] == 200, path
    for path in (f"/v1/accounts/alice@{domain}", "/v1/providers/acme", "/v1/plans/office", f"/v1/domains/{domain}"):
        tag = send(fleet, key, "GET", path)[2]
        assert send(fleet, key, "DELETE", path, match='"another"')[0] == 412, path
        assert send(fleet, key, "DELETE", path, match=tag)[0] == 204, path


def test_of_two_who_read_the_same_one_wins(fleet, tenant):
    _, key, domain = tenant
    path = f"/v1/accounts/alice@{domain}"
    assert ask(fleet, key, "POST", "/v1/accounts", {"username": "alice", "domain": domain})[0] == 201
    tag = send(fleet, key, "GET", path)[2]
    found = []
    threads = [
        threading.Thread(
            target=lambda name=name: found.append(send(fleet, key, "PATCH", path, {"display_name": name}, tag)[0])
        )
        for name in ("a", "b", "c", "d", "e")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 412, 412, 412, 412]


def test_it_is_for_one_thing_only(fleet, tenant):
    _, key, domain = tenant
    status, problem, _ = send(fleet, key, "POST", "/v1/accounts", {"username": "alice", "domain": domain}, '"a"')
    assert (status, "leave it out" in problem["detail"]) == (400, True)
    assert send(fleet, key, "GET", "/v1/accounts")[2] is None  # a list has none
