"""At which IP addresses the tenants' providers are, as their names resolve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from edge.sip.flow import ServerAddress

MOST_HOSTS = 8
"""At one address, that are asked about."""


@dataclass(frozen=True, slots=True)
class ProviderAddresses:
    """``tenants`` are those that have accounts at an IP address, ``trusting`` those of them whose calls are known there
    by where they come from: by an address of ours, which all tenants share. ``trunks`` are the hosts that such calls
    come in from, by IP address, and ``networks`` the same by the first bits of one (whether it is an IPv6 address, how
    many bits follow those, and their value)."""

    tenants: Mapping[str, frozenset[str]]
    trusting: Mapping[str, frozenset[str]]
    trunks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    networks: Mapping[tuple[bool, int], Mapping[int, frozenset[str]]] = field(default_factory=dict)

    def open_to(self, tenant: str, provider: str, addresses: list[ServerAddress]) -> list[ServerAddress]:
        """Those of ``addresses`` that a call of ``tenant`` may go to. By an account of its own (``provider``) none
        where another tenant is trusted, and it isn't itself; elsewhere (``provider`` is "") none where another has an
        account."""
        if not provider:
            return [address for address in addresses if not self.tenants.get(address[1], _NOBODY) - {tenant}]
        return [address for address in addresses if not self._trusts_another(address[1], tenant)]

    def has_trunk(self, tenant: str, ip: str) -> bool:
        """Whether calls of ``tenant`` are known at ``ip`` by where they come from, which administration has seen to."""
        return tenant in self.trusting.get(ip, _NOBODY)

    def trunks_at(self, ip: str) -> list[str]:
        """The providers' hosts that calls from ``ip`` may be of, known by nothing but that; none: it is a stranger."""
        found = set(self.trunks.get(ip, ()))
        if self.networks:
            value = int(ip_address(ip))
            for (ipv6, rest), known in self.networks.items():
                if ipv6 == (":" in ip):
                    found |= known.get(value >> rest, frozenset())
        return sorted(found)[:MOST_HOSTS]

    def _trusts_another(self, host: str, tenant: str) -> bool:
        trusting = self.trusting.get(host, _NOBODY)
        return bool(trusting) and tenant not in trusting


_NOBODY: frozenset[str] = frozenset()
NONE_KNOWN = ProviderAddresses({}, {})
"""Before the list of them has come."""
