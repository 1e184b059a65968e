"""Networks that nothing is taken from."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network


class Bans:
    """False while there are none, so that asking costs nothing then."""

    def __init__(self) -> None:
        self._hosts: frozenset[str] = frozenset()
        self._networks: dict[bool, dict[int, set[int]]] = {False: {}, True: {}}  # IPv6 -> netmask -> network addresses

    def replace(self, networks: Iterable[str]) -> None:
        """``networks`` (CIDR, or an address) are all there are now."""
        hosts: set[str] = set()
        self._networks = {False: {}, True: {}}
        for text in networks:
            network = ip_network(text)
            if network.num_addresses == 1:
                hosts.add(str(network.network_address))
            else:
                known = self._networks[network.version == 6]
                known.setdefault(int(network.netmask), set()).add(int(network.network_address))
        self._hosts = frozenset(hosts)

    def __bool__(self) -> bool:
        return bool(self._hosts or any(self._networks.values()))

    def __contains__(self, host: str) -> bool:
        if host in self._hosts:
            return True
        networks = self._networks[":" in host]
        if not networks:
            return False
        address = int(ip_address(host))
        return any(address & mask in known for mask, known in networks.items())
