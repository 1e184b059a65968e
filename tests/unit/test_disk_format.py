"""What an edge keeps on its disk comes back, and what nobody can read goes."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from edge.control.store import StateStore
from edge.proxy.core import Core
from edge.proxy.location.bindings import ContactParams
from edge.proxy.stack.records import AccountRecord, BindingRecord, KeptRoute, RouteKey
from edge.runtime.disk_format import read_account, read_route, route_key, route_name, write_account, write_route
from edge.runtime.restart import Restart, load
from edge.sip.flow import Flow
from lambdas.contract import Grant, HeartbeatReply, Keep, Push, Route
from tests.support.world import CountedIds

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


class Starting:
    """An edge that starts, as far as its disk is concerned: nobody answers."""

    def __init__(self, store):
        self.posted = []
        self.core = Core("edge-a", "b1", CountedIds("x"))
        self.last_news = None
        self.tried = asyncio.Event()
        self.tried.set()
        self.addresses_changed = self.follow = lambda *_: None
        self.resume = lambda *_: []
        self.remember = lambda kind, rows, bindings: self.told.append((kind, len(rows), bindings))
        self.leftover = list
        self.told = []
        self.restart = Restart(store, self.core, self.post, self, self, self, self, load(store, 3600), self)

    def news(self, news):
        self.last_news = news

    def post(self, event):
        self.posted.append(event)
        self.core.handle(event, 1000.0)


def test_what_was_kept_is_loaded_and_what_nobody_can_read_is_not(store):
    keep_news(store, 100)
    edge = Starting(store)
    asyncio.run(edge.restart._begin())
    assert edge.last_news.reply.feed == {"eu-west-1": 5}
    assert [event.records for event in edge.posted if event.records] == [[("alice@example.com", ACCOUNT)]]
    assert [event.routes for event in edge.posted if event.routes] == [[(RouteKey("t1", "bob", "alice"), ROUTE)]]
    assert edge.core.stack.counters["unreadable_records"] == 1
    assert edge.told == [("record", 2, True), ("route", 2, True)]
    assert [name for name, _ in store.load("route")] == ["t1 bob alice"]


def test_many_accounts_are_taken_back_a_hundred_at_a_time(store):
    keep_news(store, 100)
    store.keep("record", [(f"u{number:04}@example.com", write_account(ACCOUNT)) for number in range(950)])
    edge = Starting(store)
    asyncio.run(edge.restart._begin())
    pages = [len(event.records) for event in edge.posted if event.records]
    assert (max(pages), sum(pages)) == (100, 951)
    assert len(edge.core.stack.grants) == 951


def test_grants_that_become_void_while_others_are_taken_back_go_from_the_disk(store):
    keep_news(store, 100)
    store.keep("record", [(f"u{number:04}@example.com", write_account(ACCOUNT)) for number in range(950)])
    edge = Starting(store)
    post = edge.post

    def post_and_lose(event):
        post(event)
        if len(edge.posted) == 3:
            edge.core.stack.grants.void_all()

    edge.restart._post = post_and_lose
    asyncio.run(edge.restart._begin())
    assert len(edge.core.stack.grants) < 310
    assert all(edge.core.stack.grants.known(f"u{number:04}@example.com") is None for number in range(950))
    assert len(store.load("record")) < 310  # those go with the next write


def test_what_is_too_old_is_deleted(store):
    keep_news(store, 3601)
    assert load(store, 3600) is None
    assert store.load("record") == store.load("route") == store.load("provider") == []
