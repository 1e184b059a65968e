"""At which IP addresses the tenants' providers are, as their names resolve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.sip.flow import ServerAddress


@dataclass(frozen=True, slots=True)
class ProviderAddresses:
    """``tenants`` are those that have accounts at an IP address, ``trusting`` those of them whose calls are known there
    by where they come from: by an address of ours, which all tenants share."""

    tenants: Mapping[str, frozenset[str]]
    trusting: Mapping[str, frozenset[str]]

    def open_to(self, tenant: str, provider: str, addresses: list[ServerAddress]) -> list[ServerAddress]:
        """Those of ``addresses`` that a call of ``tenant`` may go to. By an account of its own (``provider``) none
        where another tenant is trusted, and it isn't itself; elsewhere (``provider`` is "") none where another has an
        account."""
        if not provider:
            return [address for address in addresses if not self.tenants.get(address[1], _NOBODY) - {tenant}]
        return [address for address in addresses if not self._trusts_another(address[1], tenant)]

    def _trusts_another(self, host: str, tenant: str) -> bool:
        trusting = self.trusting.get(host, _NOBODY)
        return bool(trusting) and tenant not in trusting


_NOBODY: frozenset[str] = frozenset()
NONE_KNOWN = ProviderAddresses({}, {})
"""Before the list of them has come."""
