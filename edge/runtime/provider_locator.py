"""Finds out at which IP addresses the tenants' providers are, so that no other tenant's calls get there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from ipaddress import ip_network

from edge.proxy.stack.events import ProvidersLocated
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.transport.resolver import Resolver
from lambdas.contract import ProviderPlace

log = logging.getLogger(__name__)

_EVERY = 300.0  # seconds after which names are resolved again
_AT_ONCE = 4
_REMEMBERED = 86_400.0  # seconds for which an address that a name had still counts


_Key = tuple[str, int, str, bool]


class ProviderLocator:
    """``listed`` gives the list of providers' servers, ``located`` gets where they are. Addresses that a name has had
    count on for a day: DNS servers give some of many, and may fail."""

    def __init__(
        self, resolver: Resolver, listed: Callable[[], list[ProviderPlace]], located: Callable[[ProvidersLocated], None]
    ) -> None:
        self._resolver = resolver
        self._listed = listed
        self._located = located
        self._seen: dict[_Key, dict[str, float]] = {}
        self._known: list[ProviderPlace] = []
        self._wake = asyncio.Event()

    def look(self) -> None:
        """The list may be another one."""
        if self._listed() != self._known:
            self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                await self.locate()
            except Exception:
                log.exception("where the providers are can't be found out")
            try:
                async with asyncio.timeout(_EVERY):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def locate(self) -> None:
        """Resolve all names, and tell."""
        self._wake.clear()
        places = self._known = list(self._listed())
        self._seen = {key: self._seen.get(key, {}) for key in map(_key, places)}
        turns = asyncio.Semaphore(_AT_ONCE)

        async def resolve(place: ProviderPlace) -> None:
            async with turns:
                found, fault = await self._resolver.resolve(place.host, place.port, place.transport, place.by_dns)
            if fault:
                log.info("a provider of %s: %s", ", ".join(place.tenants), fault)
            now = time.monotonic()
            seen = self._seen[_key(place)]
            seen.update((ip, now) for _, ip, _ in found)
            for ip in [ip for ip, at in seen.items() if now - at > _REMEMBERED]:
                del seen[ip]

        await asyncio.gather(*(resolve(place) for place in places))
        self._located(ProvidersLocated(self._addresses(places)))

    def _addresses(self, places: list[ProviderPlace]) -> ProviderAddresses:
        tenants: dict[str, frozenset[str]] = {}
        trusting: dict[str, frozenset[str]] = {}
        trunks: dict[str, frozenset[str]] = {}
        networks: dict[tuple[bool, int], dict[int, frozenset[str]]] = {}
        for place in places:
            for ip in self._seen[_key(place)]:
                tenants[ip] = tenants.get(ip, frozenset()) | set(place.tenants)
                if place.trusting:
                    trusting[ip] = trusting.get(ip, frozenset()) | set(place.trusting)
                    trunks[ip] = trunks.get(ip, frozenset()) | {place.host}
            for text in place.networks:
                network = ip_network(text)
                rest = network.max_prefixlen - network.prefixlen
                known = networks.setdefault((network.version == 6, rest), {})
                first = int(network.network_address) >> rest
                known[first] = known.get(first, frozenset()) | {place.host}
        return ProviderAddresses(tenants, trusting, trunks, networks)


def _key(place: ProviderPlace) -> _Key:
    return place.host, place.port, place.transport, place.by_dns
