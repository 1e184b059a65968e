"""What an edge keeps on its disk comes back, and what nobody can read goes."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from edge.control.store import StateStore
from edge.proxy.location.bindings import ContactParams
from edge.proxy.stack.records import AccountRecord, BindingRecord, KeptRoute, RouteKey
from edge.runtime.disk_format import read_account, read_route, route_key, route_name, write_account, write_route
from edge.runtime.restart import load
from edge.sip.flow import Flow
from lambdas.contract import Grant, HeartbeatReply, Keep, Push, Route

ACCOUNT = AccountRecord(
    Grant(tenant="t1", version=7, ha1_md5="0" * 32, ha1_sha256="1" * 64),
    [
        BindingRecord(
            "sip:alice@10.0.0.9",
            Flow("203.0.113.11", 5060, "udp", "198.51.100.7", 4000),
            3000.5,
            "call@10.0.0.9",
            "t1",
            ContactParams(500, "urn:uuid:1", 2),
            push=Push(provider="apns", prid="token", param="TEAM.com.example"),
        )
    ],
    1_800_000_000.0,
)
ROUTE = KeptRoute(Route(targets=[], tenant="t1", keep=Keep(caller="alice", seconds=60)), 1_800_000_060.0)


def test_accounts_and_routes_come_back_as_they_were():
    assert read_account(write_account(ACCOUNT)) == ACCOUNT
    assert read_route(write_route(ROUTE)) == ROUTE
    assert write_account(None) == write_route(None) == b""


@pytest.mark.parametrize("key", [RouteKey("t1", "bob@example.com", ""), RouteKey("t1", "a b@example.com", "alice")])
def test_the_key_of_a_route_comes_back(key):
    assert route_key(route_name(key)) == key


@pytest.fixture
def store(tmp_path):
    store = StateStore(tmp_path / "kept.sqlite", bytes(32))
    yield store
    store.close()


def keep_news(store, age):
    reply = HeartbeatReply(
        version=1, held=[], fleet=[], addresses=[], keys=[], domains_version="1", feed={"eu-west-1": 5}
    )
    news = {"reply": reply.model_dump(mode="json"), "domains": {}, "at": time.time() - age}
    store.keep("news", [("last", json.dumps(news).encode())])
    store.keep("record", [("alice@example.com", write_account(ACCOUNT)), ("bob@example.com", b"{}")])
    store.keep("route", [("t1 bob alice", write_route(ROUTE)), ("t1 old ", b"{}")])


def test_what_was_kept_is_loaded_and_what_nobody_can_read_is_not(store):
    keep_news(store, 100)
    counters = Counter()
    kept = load(store, 3600, counters)
    assert kept.news.reply.feed == {"eu-west-1": 5}
    assert kept.records == [("alice@example.com", ACCOUNT)]
    assert kept.routes == [(RouteKey("t1", "bob", "alice"), ROUTE)]
    assert counters["unreadable_records"] == 1
    assert [name for name, _ in store.load("route")] == ["t1 bob alice"]


def test_what_is_too_old_is_deleted(store):
    keep_news(store, 3601)
    assert load(store, 3600, Counter()) == (None, [], [], [])
    assert store.load("record") == store.load("route") == store.load("provider") == []
