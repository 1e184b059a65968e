"""Keeps on disk what an edge needs to start again in the dark, and brings it back."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from edge.control.heartbeat import HeartbeatLoop, News
from edge.control.store import Store
from edge.proxy.core import Core
from edge.runtime.loop import Runtime
from lambdas.contract import HeartbeatReply

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds between writes of what has changed
_NEWS_EVERY = 30.0  # seconds between writes of a heartbeat that says nothing new
_BATCH = 500
_PATIENCE = 2.5  # seconds for the control plane to answer, before the disk is used


class Keeper:
    """One task: first what was kept, if the control plane doesn't answer; then keeping up with changes."""

    def __init__(self, store: Store, core: Core, runtime: Runtime, beats: HeartbeatLoop, static_seconds: float) -> None:
        self._store = store
        self._core = core
        self._runtime = runtime
        self._beats = beats
        self._static_seconds = static_seconds
        self._kept_at = float("-inf")
        self._kept = ""
        self._records = store.load("record")
        self._routes = store.load("route")
        self._news = self._load_news()
        if self._news is None or time.time() - self._news[1] > static_seconds:
            # Without the cursor that goes with them, nobody could tell which grants have been revoked.
            store.keep("record", [(name, b"") for name, _ in self._records])
            store.keep("route", [(name, b"") for name, _ in self._routes])
            self._records, self._routes, self._news = [], [], None
        else:
            beats.feed = self._news[0].reply.feed

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
        records, self._records = self._records, []
        routes, self._routes = self._routes, []
        if self._news is None:
            return
        news, at = self._news
        last = self._runtime.last_news
        if last is None:
            log.warning("no control plane answers: going on with what was known %.0f s ago", time.time() - at)
            self._runtime.recall(news, records, routes)
        elif not last.reply.revalidate:
            self._runtime.remember(records, routes, bindings=False)  # the control plane has told where phones are
        log.info("%d accounts were kept", len(records))

    def _load_news(self) -> tuple[News, float] | None:
        for _, data in self._store.load("news"):
            try:
                kept = json.loads(data)
                reply = HeartbeatReply.model_validate(kept["reply"])
                age = max(0.0, time.time() - kept["at"])
                return News(reply, kept["domains"], time.monotonic() - age), float(kept["at"])
            except (ValueError, KeyError, TypeError) as error:
                log.error("the heartbeat that was kept can't be used: %s", error)
        return None

    async def _keep(self) -> None:
        now = time.monotonic()
        news = self._runtime.last_news
        while changed := self._core.memory.take_changed(_BATCH, now):
            if not await asyncio.to_thread(self._store.keep, "record", changed):
                self._core.bindings.changed.update(aor for aor, _ in changed)
                return
        while routes := self._core.kept.take_changed(_BATCH):
            if not await asyncio.to_thread(self._store.keep, "route", routes):
                self._core.kept.changed.update(name for name, _ in routes)
                return
        # The cursor last: a grant that it has revoked is gone from the disk by then.
        if news is not None:
            await self._keep_news(news, now)

    async def _keep_news(self, news: News, now: float) -> None:
        reply = news.reply.model_copy(update={"changes": [], "feed_changes": [], "more": False})
        held = sorted((held.address, held.epoch) for held in reply.held)
        telling = f"{held} {reply.domains_version} {reply.addresses} {reply.feed} {[edge.id for edge in reply.fleet]}"
        if telling == self._kept and now - self._kept_at < _NEWS_EVERY:
            return
        kept = {
            "reply": reply.model_dump(mode="json"),
            "domains": news.domains,
            "at": time.time() - (now - news.at),
        }
        if await asyncio.to_thread(self._store.keep, "news", [("last", json.dumps(kept).encode())]):
            self._kept, self._kept_at = telling, now
