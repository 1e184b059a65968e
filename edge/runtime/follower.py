"""Follows the heartbeats, and what of the addresses is here: everybody who has to know is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edge.control.heartbeat import News
from edge.control.holdings import Holdings
from edge.mesh.peers import Mesh, Peer
from edge.proxy.core import Core
from edge.proxy.stack.events import BindingsChanged, CoreEvent, Fed, FleetChanged, HangUp
from edge.runtime.addresses import served_here
from edge.runtime.bans import Bans
from edge.runtime.inbound import Inbound
from edge.runtime.media import Media
from edge.runtime.provider_accounts import ProviderAccounts
from edge.runtime.provider_locator import ProviderLocator
from edge.runtime.snapshot import snapshot, ticket_keys
from edge.runtime.waiting import Waiting
from edge.runtime.workers import Workers
from edge.sip.flow import Flow
from edge.transport.session_tickets import SessionTickets
from edge.transport.sockets import Sockets


class Follower:
    """``last_news`` is the last heartbeat's; ``ready`` once the edge serves an address whose bindings have been
    read."""

    def __init__(
        self,
        core: Core,
        post: Callable[[CoreEvent], None],
        inbound: Inbound,
        mesh: Mesh,
        holdings: Holdings,
        sockets: Sockets,
        bans: Bans,
        waiting: Waiting,
        accounts: ProviderAccounts,
        locator: ProviderLocator,
        media: Media,
        tickets: SessionTickets | None,
        workers: Workers,
    ) -> None:
        self._core = core
        self._post = post
        self._inbound = inbound
        self._mesh = mesh
        self._holdings = holdings
        self._sockets = sockets
        self._bans = bans
        self._waiting = waiting
        self._accounts = accounts
        self._locator = locator
        self._media = media
        self._tickets = tickets
        self._workers = workers
        self._loaded = False
        self._watchers: list[asyncio.Future[None]] = []
        self.last_news: News | None = None
        self.ready = asyncio.Event()

    def news(self, news: News) -> None:
        """A heartbeat was answered."""
        reply = news.reply
        self.last_news = news
        self._mesh.update(
            Peer(
                edge.id,
                edge.mesh,
                edge.certificate,
                tuple((held.address, held.epoch) for held in edge.held),
                edge.boot,
                edge.region,
            )
            for edge in reply.fleet
        )
        if reply.bans is not None:
            self._bans.replace(reply.bans)
        self._locator.look()
        self.addresses_changed()
        if reply.feed_changes or reply.revalidate:
            self._workers.fed(Fed(reply.feed_changes, reply.revalidate))
            self._accounts.fed(reply.feed_changes, reply.revalidate)
        if reply.changes:
            streams = (Flow(*change.flow) for change in reply.changes if change.flow[5])
            self._post(BindingsChanged(reply.changes, frozenset(flow for flow in streams if self._sockets.has(flow))))
            self._workers.tell(BindingsChanged(reply.changes))
        if reply.hang_ups or self._core.hanging_up:
            self._post(HangUp(reply.hang_ups))
        if not reply.more:
            self._loaded = True
            self._note_readiness()

    def addresses_changed(self) -> None:
        """Other addresses are served here, or the control plane has told something new."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)
        if self.last_news is None:
            return
        keys, use = ticket_keys(self.last_news.reply)
        if self._tickets is not None and keys:
            self._tickets.replace(keys, use)
        served = served_here(self._holdings, self._sockets, time.monotonic())
        self._media.follow(served, self._holdings.held())
        arriving = self._holdings.held().difference(served)
        self._waiting.arrive(arriving)
        self._post(FleetChanged(snapshot(self.last_news, served, arriving, self._holdings.exclusive(), self._media.on)))
        self._workers.informed(self.last_news, served)
        self._accounts.served_changed()
        for flow, data in self._waiting.due():
            self._inbound.deliver(flow, data)
        self._note_readiness()

    def next_change(self) -> asyncio.Future[None]:
        """Done with the next call of ``addresses_changed``."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append(watcher)
        return watcher

    def _note_readiness(self) -> None:
        if not self._core.stack.fleet.epochs:
            self.ready.clear()
        elif self._loaded:
            self.ready.set()
