"""The heartbeat: every 2 s the edge renews its leases and learns what has changed."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from edge.control.client import ControlClient
from edge.control.holdings import AddressStep, Holdings
from edge.control.identity import Identity
from lambdas.contract import VERSION, CertificateVersion, Heartbeat, HeartbeatReply, ProviderPlace

log = logging.getLogger(__name__)

INTERVAL = 2.0
_HURRY = 0.4  # until the first one succeeds, and while an address may be had


@dataclass(frozen=True, slots=True)
class News:
    """What one heartbeat brought, and when (monotonic) it did."""

    reply: HeartbeatReply
    domains: dict[str, str]
    at: float
    provider_hosts: list[ProviderPlace] = field(default_factory=list)
    public_networks: list[str] = field(default_factory=list)


class HeartbeatLoop:
    """Beats until it is cancelled, and hands each reply to ``on_news``, then what follows for the addresses to
    ``on_steps``."""

    def __init__(
        self,
        client: ControlClient,
        identity: Identity,
        boot: str,
        holdings: Holdings,
        mesh: str,
        listen: list[str],
        interface: str,
        linked: Callable[[], Collection[str]],
        on_news: Callable[[News], None],
        on_steps: Callable[[Iterable[AddressStep]], None],
        on_certificates: Callable[[Sequence[CertificateVersion]], None] | None,
        media: bool,
        feed: dict[str, int] | None = None,
    ) -> None:
        """``on_certificates`` gets the list of those that there are, where the control plane gets any for the edge.
        ``media``: it relays them. ``feed``: the cursor into the change feed up to which all is known already."""
        self._client = client
        self._identity = identity
        self._boot = boot
        self._holdings = holdings
        self._mesh = mesh
        self._listen = listen
        self._interface = interface
        self._linked = linked
        self._on_news = on_news
        self._on_steps = on_steps
        self._on_certificates = on_certificates
        self._media = media
        self._nudged = asyncio.Event()
        self.tried = asyncio.Event()
        self._domains: dict[str, str] = {}
        self._domains_version = ""
        self._bans_version = ""
        self._provider_hosts: list[ProviderPlace] = []
        self._provider_hosts_version = ""
        self._public_networks: list[str] = []
        self._public_networks_version = ""
        self._certificates_version = ""
        self._cursors: dict[str, int] = {}
        self._feed = feed or {}
        self._refused: dict[str, str] = {}

    def nudge(self) -> None:
        """Beat now."""
        self._nudged.set()

    def reread(self) -> None:
        """Have the next one bring all bindings once more, as the first one does."""
        self._cursors = {}
        self.nudge()

    async def run(self) -> None:
        while True:
            self._nudged.clear()
            sent_at = time.monotonic()
            reply = await self._client.heartbeat(self._beat(sent_at))
            now = time.monotonic()
            if reply is None:
                self._on_steps(self._holdings.due(now))
            else:
                self._take(reply, sent_at, now)
                if reply.more:
                    continue
            self.tried.set()
            hurried = not self._domains_version or self._holdings.hurried(self._linked(), now)
            try:
                async with asyncio.timeout(max(0.0, sent_at + (_HURRY if hurried else INTERVAL) - now)):
                    await self._nudged.wait()
            except TimeoutError:
                pass

    def _beat(self, now: float) -> Heartbeat:
        asks = self._holdings.asks(self._linked(), now)
        return Heartbeat(
            version=VERSION,
            boot=self._boot,
            addresses=asks.addresses,
            mesh=self._mesh,
            listen=self._listen,
            certificate=base64.b64encode(self._identity.certificate_der).decode(),
            domains=self._domains_version,
            changes_since=self._cursors,
            feed=self._feed,
            takes=asks.takes,
            placed=asks.placed,
            releases=asks.releases,
            driver=self._holdings.driver,
            hosts=asks.hosts,
            interface=self._interface,
            bans=self._bans_version,
            provider_hosts=self._provider_hosts_version,
            public_networks=self._public_networks_version,
            media=self._media,
            certificates=self._certificates_version if self._on_certificates is not None else None,
        )

    def _take(self, reply: HeartbeatReply, sent_at: float, now: float) -> None:
        if reply.domains is not None:
            self._domains = reply.domains
            self._domains_version = reply.domains_version
        self._bans_version = reply.bans_version
        if reply.provider_hosts is not None:
            self._provider_hosts = reply.provider_hosts
        self._provider_hosts_version = reply.provider_hosts_version
        if reply.public_networks is not None:
            self._public_networks = reply.public_networks
        self._public_networks_version = reply.public_networks_version
        if reply.certificates is not None and self._on_certificates is not None:
            self._on_certificates(reply.certificates)
        self._certificates_version = reply.certificates_version
        for address, why in reply.refused.items():
            if self._refused.get(address) != why:
                log.warning("address %s can't be had: %s", address, why)
        self._refused = reply.refused
        self._cursors = reply.cursors
        self._feed = reply.feed
        steps = self._holdings.learn(reply, sent_at, now)
        self._on_news(News(reply, self._domains, now, self._provider_hosts, self._public_networks))
        self._on_steps(steps)
