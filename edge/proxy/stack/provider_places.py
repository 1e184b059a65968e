"""At which IP addresses the tenants' providers are, as their names resolve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from edge.sip.flow import ServerAddress

MOST_HOSTS = 8
"""At one address, that are asked about."""


@dataclass(frozen=True, slots=True)
class ProviderAddresses:
    """``tenants`` are those that have accounts at an IP address, ``trusting`` those of them whose calls are known there
    by where they come from: by an address of ours, which all tenants share. ``trunks`` are the hosts that such calls
    come in from, by IP address, and ``networks`` the same by the first bits of one (their number, and their value)."""

    tenants: Mapping[str, frozenset[str]]
    trusting: Mapping[str, frozenset[str]]
    trunks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    networks: Mapping[int, Mapping[int, frozenset[str]]] = field(default_factory=dict)

    def open_to(self, tenant: str, provider: str, addresses: list[ServerAddress]) -> list[ServerAddress]:
        """Those of ``addresses`` that a call of ``tenant`` may go to. By an account of its own (``provider``) none
        where another tenant is trusted, and it isn't itself; elsewhere (``provider`` is "") none where another has an
        account."""
        if not provider:
            return [address for address in addresses if not self.tenants.get(address[1], _NOBODY) - {tenant}]
        return [address for address in addresses if not self._trusts_another(address[1], tenant)]

    def trunks_at(self, ip: str) -> list[str]:
        """The providers' hosts that calls from ``ip`` may be of, known by nothing but that; none: it is a stranger."""
        found = set(self.trunks.get(ip, ()))
        if self.networks and ip.count(".") == 3:
            value = int(IPv4Address(ip))
            for bits, known in self.networks.items():
                found |= known.get(value >> (32 - bits), frozenset())
        return sorted(found)[:MOST_HOSTS]

    def _trusts_another(self, host: str, tenant: str) -> bool:
        trusting = self.trusting.get(host, _NOBODY)
        return bool(trusting) and tenant not in trusting


_NOBODY: frozenset[str] = frozenset()
NONE_KNOWN = ProviderAddresses({}, {})
"""Before the list of them has come."""
