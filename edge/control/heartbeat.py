"""The heartbeat: every 2 s the edge renews its leases and learns what has changed."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.control.client import ControlClient
from edge.control.identity import Identity
from lambdas.contract import VERSION, Heartbeat, HeartbeatReply

log = logging.getLogger(__name__)

INTERVAL = 2.0
_RETRY = 0.5  # until the first one succeeds


@dataclass(frozen=True, slots=True)
class News:
    """What one heartbeat brought."""

    reply: HeartbeatReply
    domains: dict[str, str]


class HeartbeatLoop:
    """Beats until it is cancelled, and hands each reply to ``on_news``."""

    def __init__(
        self,
        client: ControlClient,
        identity: Identity,
        boot: str,
        addresses: list[str],
        mesh: str,
        on_news: Callable[[News], None],
    ) -> None:
        self._client = client
        self._identity = identity
        self._boot = boot
        self._addresses = addresses
        self._mesh = mesh
        self._on_news = on_news
        self._domains: dict[str, str] = {}
        self._domains_version = ""
        self._cursors: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._epochs: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            started = time.monotonic()
            reply = await self._client.heartbeat(self._beat())
            if reply is not None:
                self._take(reply)
                if reply.more:
                    continue
            interval = INTERVAL if self._domains_version else _RETRY
            await asyncio.sleep(max(0.0, started + interval - time.monotonic()))

    def _beat(self) -> Heartbeat:
        return Heartbeat(
            version=VERSION,
            boot=self._boot,
            addresses=self._addresses,
            mesh=self._mesh,
            certificate=base64.b64encode(self._identity.certificate_der).decode(),
            domains=self._domains_version,
            changes_since=self._cursors,
        )

    def _take(self, reply: HeartbeatReply) -> None:
        if reply.domains is not None:
            self._domains = reply.domains
            self._domains_version = reply.domains_version
        for address, why in reply.refused.items():
            if self._refused.get(address) != why:
                log.error("address %s is not ours to hold: %s", address, why)
        self._refused = reply.refused
        for held in reply.held:
            if self._epochs.get(held.address) != held.epoch:
                log.info("holding %s in epoch %d", held.address, held.epoch)
        self._epochs = {held.address: held.epoch for held in reply.held}
        self._cursors = reply.cursors
        self._on_news(News(reply, self._domains))
