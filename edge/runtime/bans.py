"""Networks that nothing is taken from."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network


class Bans:
    """False while there are none, so that asking costs nothing then."""

    def __init__(self) -> None:
        self._hosts: frozenset[str] = frozenset()
        self._networks: dict[int, set[int]] = {}  # netmask -> network addresses

    def replace(self, networks: Iterable[str]) -> None:
        """``networks`` (CIDR, or an address) are all there are now."""
        hosts: set[str] = set()
        self._networks = {}
        for text in networks:
            network = IPv4Network(text)
            if network.prefixlen == 32:
                hosts.add(str(network.network_address))
            else:
                self._networks.setdefault(int(network.netmask), set()).add(int(network.network_address))
        self._hosts = frozenset(hosts)

    def __bool__(self) -> bool:
        return bool(self._hosts or self._networks)

    def __contains__(self, host: str) -> bool:
        if host in self._hosts:
            return True
        if not self._networks:
            return False
        address = int(IPv4Address(host))
        return any(address & mask in networks for mask, networks in self._networks.items())
