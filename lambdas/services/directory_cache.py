"""What this process remembers of the directory for a moment."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass

from lambdas.calls.facts import Domains
from lambdas.decisions.provider_places import ProviderPlaces
from lambdas.repositories.directory import Directory
from lambdas.repositories.models import PROBES, AccountItem
from lambdas.repositories.providers import Providers
from lambdas.services.cached import Cached


@dataclass(frozen=True, slots=True)
class PublicNetworks:
    """``version`` is another one for another list."""

    all: list[str]
    version: str


class DirectoryCache:
    """A second or two old at most, unless something else is said."""

    def __init__(self, directory: Directory, providers: Providers, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._domains: Cached[tuple[Domains, dict[str, str]]] = Cached(self._read_domains, 1.0)
        self._heads: Cached[dict[str, tuple[int, int]]] = Cached(directory.feed.heads, 1.0)
        self._bans: Cached[list[str]] = Cached(lambda: directory.bans(clock()), 2.0)
        self._networks: Cached[PublicNetworks] = Cached(self._read_networks, 30.0)
        self._places: Cached[ProviderPlaces] = Cached(lambda: providers.places(self._established.get()), 5.0)
        self._established: Cached[frozenset[str]] = Cached(lambda: frozenset(providers.tenants()), 60.0)
        self._probed: dict[str, Cached[bool]] = {}

    def domains(self, fresh: bool = False) -> Domains:
        return self._domains.get(fresh)[0]

    def owner(self, domain: str) -> str:
        """Whose a domain is, by its canonical name; "" if it is none of ours."""
        return self._domains.get()[1].get(domain, "")

    def heads(self) -> dict[str, tuple[int, int]]:
        """The last change of each Region: its number, and when it was made."""
        return self._heads.get()

    def bans(self) -> list[str]:
        """The networks that are banned."""
        return self._bans.get()

    def public_networks(self, fresh: bool = False) -> PublicNetworks:
        """As of half a minute ago, unless they are read now."""
        return self._networks.get(fresh)

    def is_banned(self, address: str) -> bool:
        """Whether an address, or the network of a customer, is in one of them."""
        bans = self._bans.get()
        if address in bans:
            return True
        asked = ipaddress.ip_network(address)
        networks = (ipaddress.ip_network(one) for one in bans if "/" in one)
        return any(asked.prefixlen >= one.prefixlen and asked.network_address in one for one in networks)

    def provider_places(self) -> ProviderPlaces:
        """Where all tenants' providers are; of a tenant that is new it is known in a minute."""
        return self._places.get()

    def has_probe(self, aor: str) -> bool:
        """Whether there is such an account of the service's own, as of a minute ago."""

        def found() -> bool:
            item = self._directory.get(AccountItem, aor)
            return item is not None and item.tenant == PROBES

        if aor not in self._probed:
            self._probed[aor] = Cached(found, 60.0)
        return self._probed[aor].get()

    def _read_networks(self) -> PublicNetworks:
        networks = self._directory.public_networks()
        return PublicNetworks(networks, hashlib.sha256(" ".join(networks).encode()).hexdigest()[:16])

    def _read_domains(self) -> tuple[Domains, dict[str, str]]:
        names, default, owners = self._directory.domains()
        version = hashlib.sha256(json.dumps([sorted(names.items()), default]).encode()).hexdigest()[:16]
        return Domains(names, default, version), owners
