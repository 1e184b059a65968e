"""Where providers are: what comes from there mustn't be banned because of one of their customers."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lambdas.repositories.models import ProviderItem
from lambdas.repositories.providers import Providers
from lambdas.services.cached import Cached

_AT_ONCE = 10
_SECONDS = 60.0
_WIDEST = {4: 24, 6: 48}  # bits; nobody proves that a network is his provider's


@dataclass(frozen=True, slots=True)
class SparedNetwork:
    """A network that a tenant's provider is in."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    tenant: str
    provider: str


class SparedNetworks:
    """As of a minute ago: hosts that are addresses, networks that calls may come from, and the servers that edges are
    registered with. Providers of those who have signed up don't count: anybody could spare any address so."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._known: Cached[list[SparedNetwork]] = Cached(self._read, _SECONDS)

    def all(self) -> list[SparedNetwork]:
        """Every one."""
        return self._known.get()

    def _read(self) -> list[SparedNetwork]:
        servers = self._providers.servers()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [
                place
                for found in pool.map(self._providers.of, self._providers.tenants())
                for item in found
                for place in _places(item, servers.get(item.id, ""))
            ]


def _places(item: ProviderItem, server: str) -> Iterator[SparedNetwork]:
    for text in (item.host, item.outbound_proxy.partition(":")[0], server, *item.sources):
        with contextlib.suppress(ValueError):  # a name
            network = ipaddress.ip_network(text)
            if network.prefixlen >= _WIDEST[network.version]:
                yield SparedNetwork(network, item.tenant, item.name)
