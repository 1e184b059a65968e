"""Starting again in the dark: what an edge needs for that is kept on its disk, and brought back."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from edge.control.heartbeat import HeartbeatLoop, News
from edge.control.holdings import Holdings
from edge.control.store import StateStore, record_kinds
from edge.providers.host import AccountKept
from edge.proxy.core import Core
from edge.proxy.stack.events import CoreEvent, Remembered
from edge.proxy.stack.records import AccountRecord, KeptRoute, RouteKey
from edge.runtime.addresses import AddressMover
from edge.runtime.disk_format import (
    read_account,
    read_provider,
    read_route,
    route_key,
    route_name,
    write_account,
    write_provider,
    write_route,
)
from edge.runtime.follower import Follower
from edge.runtime.workers import Workers
from lambdas.contract import HeartbeatReply, ProviderPlace

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds between writes of what has changed
_NEWS_EVERY = 30.0  # seconds between writes of a heartbeat that says nothing new
_BATCH = 500
_PATIENCE = 2.5  # seconds for the control plane to answer, before the disk is used
_TOLD_ONCE: dict[str, Any] = {
    "changes": [],
    "feed_changes": [],
    "provider_hosts": None,
    "certificates": None,
    "public_networks": None,
    "more": False,
}
"""What of a heartbeat's answer is kept elsewhere, or nowhere."""


class Kept(NamedTuple):
    """What an edge finds on its disk: the last heartbeat, and the accounts and decisions that go with it."""

    news: News | None
    records: list[tuple[str, AccountRecord]]
    routes: list[tuple[RouteKey, KeptRoute]]
    providers: list[tuple[str, AccountKept]]


def load(store: StateStore, static_seconds: float, counters: Counter[str]) -> Kept:
    """What is in ``store``; nothing, and all of it is deleted, if its heartbeat is older than ``static_seconds``."""
    news = _load_news(store)
    records = [(kind, *record) for kind in record_kinds() for record in store.load(kind)]
    routes, providers = store.load("route"), store.load("provider")
    if news is None or time.monotonic() - news.at > static_seconds:
        # Without the cursor that goes with them, nobody could tell which grants have been revoked.
        for kind, name, _ in records:
            store.keep(kind, [(name, b"")])
        store.keep("route", [(name, b"") for name, _ in routes])
        store.keep("provider", [(name, b"") for name, _ in providers])
        return Kept(None, [], [], [])
    kept = Kept(news, [], [], [])
    for _, aor, data in records:
        try:
            kept.records.append((aor, read_account(data)))
        except ValueError:
            counters["unreadable_records"] += 1  # of another version: the account is asked for again
    for name, data in routes:
        try:
            kept.routes.append((route_key(name), read_route(data)))
        except ValueError:
            store.keep("route", [(name, b"")])
    for name, data in providers:
        try:
            kept.providers.append((name, read_provider(data)))
        except ValueError:
            store.keep("provider", [(name, b"")])
    return kept


def _load_news(store: StateStore) -> News | None:
    for _, data in store.load("news"):
        try:
            kept = json.loads(data)
            reply = HeartbeatReply.model_validate(kept["reply"])
            age = max(0.0, time.time() - kept["at"])
            places = [ProviderPlace.model_validate(one) for one in kept.get("provider_hosts", [])]
            networks = [str(network) for network in kept.get("public_networks", [])]
            return News(reply, kept["domains"], time.monotonic() - age, places, networks)
        except (ValueError, KeyError, TypeError) as error:
            log.error("the heartbeat that was kept can't be used: %s", error)
    return None


class Restart:
    """One task: first what was kept, if the control plane doesn't answer; then keeping up with changes."""

    def __init__(
        self,
        store: StateStore,
        core: Core,
        post: Callable[[CoreEvent], None],
        follower: Follower,
        holdings: Holdings,
        addresses: AddressMover,
        beats: HeartbeatLoop,
        kept: Kept,
        workers: Workers,
    ) -> None:
        self._store = store
        self._core = core
        self._post = post
        self._follower = follower
        self._holdings = holdings
        self._addresses = addresses
        self._beats = beats
        self._kept = kept
        self._workers = workers
        self._leftover: list[tuple[str, list[str]]] = []
        self._written_at = float("-inf")
        self._written = ""

    async def run(self) -> None:
        await self._begin()
        while True:
            await asyncio.sleep(_EVERY)
            await self._keep()

    async def _begin(self) -> None:
        """Grants are of use in any case; the rest only if nobody answers."""
        tried = asyncio.create_task(self._beats.tried.wait())
        await asyncio.wait([tried], timeout=_PATIENCE)
        tried.cancel()
        news, records, routes, providers = self._kept
        self._kept = Kept(None, [], [], [])
        if news is None:
            return
        last = self._follower.last_news
        if last is None:
            age = time.monotonic() - news.at
            log.warning("no control plane answers: going on with what was known %.0f s ago", age)
            self._follower.news(news)
            held = {held.address: held.epoch for held in news.reply.held}
            self._addresses.follow(self._holdings.resume(held, time.monotonic(), news.reply.places))
            # The core keeps bindings only of addresses that are here, or on their way.
            self._follower.addresses_changed()
            self._post(Remembered(records, routes, bindings=True, accounts=providers))
            self._workers.remember(bindings=True)
        elif not last.reply.revalidate:
            # The control plane has told where phones are, and is asked for the providers' accounts.
            self._post(Remembered(records, routes, bindings=False, accounts=providers))
            self._workers.remember(bindings=False)
        log.info("%d accounts were kept", len(records))
        self._leftover = self._workers.leftover()
        self._core.disk_records.put_back([aor for _, names in self._leftover for aor in names])

    async def _keep(self) -> None:
        now = time.monotonic()
        news = self._follower.last_news
        accounts, kept_routes = self._core.disk_records, self._core.kept_routes
        while changed := accounts.take_changed(_BATCH, now):
            records = [(aor, write_account(record)) for aor, record in changed]
            if not await asyncio.to_thread(self._store.keep, "record", records):
                accounts.put_back([aor for aor, _ in changed])
                return
        while routes := kept_routes.take_changed(_BATCH):
            names = [(route_name(key), write_route(route)) for key, route in routes]
            if not await asyncio.to_thread(self._store.keep, "route", names):
                kept_routes.put_back([key for key, _ in routes])
                return
        while providers := self._core.agent.take_changed(_BATCH):
            accounts_kept = [(name, write_provider(kept)) for name, kept in providers]
            if not await asyncio.to_thread(self._store.keep, "provider", accounts_kept):
                self._core.agent.put_back([name for name, _ in providers])
                return
        if not await self._workers.keep() or not await self._tidy_up():
            return
        # The cursor last: a grant that it has revoked is gone from the disk by then.
        if news is not None:
            await self._keep_news(news, now)

    async def _tidy_up(self) -> bool:
        """What processes had that this edge hasn't any more is the others' by now."""
        while self._leftover:
            kind, names = self._leftover[0]
            if not await asyncio.to_thread(self._store.keep, kind, [(name, b"") for name in names]):
                return False
            del self._leftover[0]
        return True

    async def _keep_news(self, news: News, now: float) -> None:
        reply = news.reply.model_copy(update=dict(_TOLD_ONCE))
        held = sorted((held.address, held.epoch) for held in reply.held)
        versions = f"{reply.domains_version} {reply.provider_hosts_version} {reply.public_networks_version}"
        edges = [edge.id for edge in reply.fleet]
        telling = f"{held} {versions} {reply.addresses} {reply.places} {reply.feed} {edges}"
        if telling == self._written and now - self._written_at < _NEWS_EVERY:
            return
        kept = {
            "reply": reply.model_dump(mode="json"),
            "domains": news.domains,
            "provider_hosts": [one.model_dump(mode="json") for one in news.provider_hosts],
            "public_networks": news.public_networks,
            "at": time.time() - (now - news.at),
        }
        if await asyncio.to_thread(self._store.keep, "news", [("last", json.dumps(kept).encode())]):
            self._written, self._written_at = telling, now
