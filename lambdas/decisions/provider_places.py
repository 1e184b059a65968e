"""Where all tenants' providers are: whoever calls there comes from an address that may be trusted there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from lambdas.contract import ProviderPlace
from lambdas.decisions.uris import host_name


@dataclass(frozen=True, slots=True)
class AccountPlace:
    """That accounts of ``tenant`` are at a server; ``trusting``: known there by where their calls come from."""

    tenant: str
    host: str
    port: int
    transport: Literal["udp", "tcp"]
    trusting: bool


@dataclass(frozen=True, slots=True)
class ProviderPlaces:
    """``hosts`` are the servers, each once; ``version`` is another one for another list."""

    hosts: tuple[ProviderPlace, ...] = ()
    version: str = ""
    _by_name: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, places: Iterable[AccountPlace]) -> ProviderPlaces:
        found: dict[tuple[str, int, Literal["udp", "tcp"]], tuple[set[str], set[str]]] = {}
        for place in places:
            tenants, trusting = found.setdefault((place.host, place.port, place.transport), (set(), set()))
            tenants.add(place.tenant)
            if place.trusting:
                trusting.add(place.tenant)
        hosts = tuple(
            ProviderPlace(host=host, port=port, transport=transport, tenants=sorted(tenants), trusting=sorted(trusting))
            for (host, port, transport), (tenants, trusting) in sorted(found.items())
        )
        text = json.dumps([one.model_dump() for one in hosts])
        by_name: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        for one in hosts:
            known = by_name.get(one.host, _NOBODY)
            by_name[one.host] = (known[0] | set(one.tenants), known[1] | set(one.trusting))
        return cls(hosts, hashlib.sha256(text.encode()).hexdigest()[:16], by_name)

    def anothers(self, host: str, tenant: str) -> bool:
        """Whether another tenant than ``tenant`` has an account at ``host``, by whatever port."""
        return bool(self._by_name.get(host_name(host), _NOBODY)[0] - {tenant})

    def trusts_another(self, host: str, tenant: str) -> bool:
        """Whether another tenant is known at ``host`` by where its calls come from, and ``tenant`` isn't."""
        trusting = self._by_name.get(host_name(host), _NOBODY)[1]
        return bool(trusting) and tenant not in trusting

    def knows(self, place: AccountPlace) -> bool:
        tenants, trusting = self._by_name.get(place.host, _NOBODY)
        return place.tenant in (trusting if place.trusting else tenants)


_NOBODY: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
