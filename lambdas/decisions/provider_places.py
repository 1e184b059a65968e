"""Where all tenants' providers are: whoever calls there comes from an address that may be trusted there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from lambdas.contract import ProviderPlace, Transport
from lambdas.decisions.uris import host_name

WIDEST = {4: 16, 6: 32}
"""Bits, at least, of a network that calls are taken from by their numbers: whoever is in there may call them."""


def too_wide(network: str) -> bool:
    """Whether a network (CIDR) is wider than that."""
    found = ip_network(network)
    return found.prefixlen < WIDEST[found.version]


@dataclass(frozen=True, slots=True)
class AccountPlace:
    """That accounts of ``tenant`` are at a server; ``trusting``: known there by where their calls come from. With a
    ``network`` (CIDR): that calls for those come from there, too."""

    tenant: str
    host: str
    port: int
    transport: Transport
    trusting: bool
    network: str = ""
    by_dns: bool = False


@dataclass(frozen=True, slots=True)
class ProviderPlaces:
    """``hosts`` are the servers that count, each once; ``version`` is another one for another list."""

    hosts: tuple[ProviderPlace, ...] = ()
    version: str = ""
    _by_name: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict, compare=False)
    _noted: frozenset[AccountPlace] = field(default=frozenset(), compare=False)

    @classmethod
    def of(cls, places: Iterable[AccountPlace], established: Collection[str] | None = None) -> ProviderPlaces:
        """Of tenants that aren't ``established`` only trusting places count: anybody may say that an account of his is
        at any host, and would take it away from all others. None: all are."""
        noted = frozenset(places)
        found: dict[tuple[str, int, Transport, bool], tuple[set[str], set[str]]] = {}
        networks: dict[str, set[str]] = {}
        for place in noted:
            if not place.trusting and established is not None and place.tenant not in established:
                continue
            tenants, trusting = found.setdefault(
                (place.host, place.port, place.transport, place.by_dns), (set(), set())
            )
            tenants.add(place.tenant)
            if place.trusting:
                trusting.add(place.tenant)
            if place.network and not too_wide(place.network):
                networks.setdefault(place.host, set()).add(place.network)
        hosts = tuple(
            ProviderPlace(
                host=host,
                port=port,
                transport=transport,
                by_dns=by_dns,
                tenants=sorted(tenants),
                trusting=sorted(trusting),
                networks=sorted(networks.get(host, ())) if trusting else [],
            )
            for (host, port, transport, by_dns), (tenants, trusting) in sorted(found.items())
        )
        text = json.dumps([one.model_dump() for one in hosts])
        by_name: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        for one in hosts:
            known = by_name.get(one.host, _NOBODY)
            by_name[one.host] = (known[0] | set(one.tenants), known[1] | set(one.trusting))
        return cls(hosts, hashlib.sha256(text.encode()).hexdigest()[:16], by_name, noted)

    def anothers(self, host: str, tenant: str) -> bool:
        """Whether another tenant than ``tenant`` has an account at ``host`` that counts, by whatever port."""
        return bool(self._by_name.get(host_name(host), _NOBODY)[0] - {tenant})

    def trusts_another(self, host: str, tenant: str) -> bool:
        """Whether another tenant is known at ``host`` by where its calls come from, and ``tenant`` isn't."""
        trusting = self._by_name.get(host_name(host), _NOBODY)[1]
        return bool(trusting) and tenant not in trusting

    def trusting(self, hosts: Collection[str]) -> set[str]:
        """The tenants that take calls from there by their numbers."""
        return {tenant for host in hosts for tenant in self._by_name.get(host_name(host), _NOBODY)[1]}

    def knows(self, place: AccountPlace) -> bool:
        """Whether it is on the list, be it that it counts or not."""
        return place in self._noted


_NOBODY: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
