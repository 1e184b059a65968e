"""Starting again in the dark: what an edge needs for that is kept on its disk, and brought back."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from edge.control.heartbeat import HeartbeatLoop, News
from edge.control.holdings import Holdings
from edge.control.store import RECORD, StateStore, record_kinds
from edge.proxy.core import Core
from edge.proxy.stack.events import CoreEvent, Remembered
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
_BATCH = 100  # of what is written, or read, in one step: some milliseconds of the loop
_PATIENCE = 2.5  # seconds for the control plane to answer, before the disk is used
_READ: dict[str, Callable[[bytes], Any]] = {RECORD: read_account, "route": read_route, "provider": read_provider}
"""Accounts, decisions, and accounts with providers: how each is read. ValueError for what can't be."""
_TOLD_ONCE: dict[str, Any] = {
    "changes": [],
    "feed_changes": [],
    "provider_hosts": None,
    "certificates": None,
    "public_networks": None,
    "more": False,
}
"""What of a heartbeat's answer is kept elsewhere, or nowhere."""


def load(store: StateStore, static_seconds: float) -> News | None:
    """The last heartbeat that is in ``store``; None, and all that goes with it is deleted, if it is older than
    ``static_seconds``."""
    news = _load_news(store)
    if news is None or time.monotonic() - news.at > static_seconds:
        # Without the cursor that goes with them, nobody could tell which grants have been revoked.
        for kind in _kinds():
            store.forget(kind)
        return None
    return news


def _kinds() -> list[str]:
    return [*record_kinds(), "route", "provider"]


def read(kind: str, rows: Iterable[tuple[str, bytes]]) -> tuple[list[tuple[str, Any]], list[str]]:
    """What ``rows`` of the disk say, and the names of those that no version of ours can have written."""
    found: list[tuple[str, Any]] = []
    unreadable: list[str] = []
    for name, data in rows:
        try:
            found.append((name, _READ[kind.partition(".")[0]](data)))
        except ValueError:
            unreadable.append(name)
    return found, unreadable


def remembered(kind: str, found: list[tuple[str, Any]], dark: bool) -> Remembered:
    """For the core. ``dark``: the control plane hasn't told where phones are."""
    match kind:
        case "route":
            return Remembered([], [(route_key(name), kept) for name, kept in found], dark)
        case "provider":
            return Remembered([], [], dark, found)
        case _:
            return Remembered(found, [], dark)


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
        kept: News | None,
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
        news, self._kept = self._kept, None
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
        elif last.reply.revalidate:
            for kind in record_kinds():
                await asyncio.to_thread(self._store.forget, kind)
        for kind in _kinds():
            number = await self._remember(kind, news)
            if number:
                log.info("kept on the disk: %d of kind %s", number, kind)
        self._leftover = await asyncio.to_thread(self._workers.leftover)
        self._core.disk_records.put_back([aor for _, names in self._leftover for aor in names])

    async def _remember(self, kind: str, news: News) -> int:
        """Take back what the disk has of ``kind``, page by page, so that calls don't wait for it; how many there
        are. ``news`` are the disk's: once the control plane has spoken itself, it has told where phones are, and is
        asked for the providers' accounts. If grants have become void meanwhile, those that are still to come may be
        among them: they go."""
        records, age = self._core.disk_records, self._core.disk_records.age
        after, number = "", 0
        while True:
            rows, after = await asyncio.to_thread(self._store.page, kind, after, _BATCH)
            found, useless = await asyncio.to_thread(read, kind, rows)
            if kind in record_kinds():
                self._core.stack.counters["unreadable_records"] += len(useless)  # they are asked for again
                useless = []
                if records.age != age:
                    found, useless = [], [name for name, _ in rows]
            dark = self._follower.last_news is news
            self._post(remembered(kind, found, dark))
            if found:
                self._workers.remember(kind, rows, dark)
            number += len(found)
            if useless:
                await asyncio.to_thread(self._store.keep, kind, [(name, b"") for name in useless])
            if not after:
                return number

    async def _keep(self) -> None:
        now = time.monotonic()
        news = self._follower.last_news
        accounts, kept_routes = self._core.disk_records, self._core.kept_routes
        settled = accounts.settled
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
        if news is not None and settled:
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
