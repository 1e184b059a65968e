"""Whose web pages may have WebSockets (RFC 6455 §10.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from edge.proxy.stack.fleet import Fleet
from edge.sip.uri import host_in_uri


class Origins:
    """Pages under the domains and names of the service, and those that are told. A page elsewhere has no password of
    ours, but its visitors' addresses, some of which have proven themselves."""

    def __init__(self, told: Iterable[str], names: Iterable[str], fleet: Callable[[], Fleet]) -> None:
        self._told = frozenset(told)
        self._names = frozenset(names)
        self._fleet = fleet

    def welcome(self, origin: str) -> bool:
        """Whether pages of ``origin`` (``https://phone.example.com:8443``) may."""
        if origin in self._told or "*" in self._told:
            return True
        try:
            host = urlsplit(origin).hostname or ""
        except ValueError:
            return False
        fleet = self._fleet()
        while host:
            if host in self._names or host in fleet.domains or fleet.address_at(host_in_uri(host)):
                return True
            host = host.partition(".")[2]
        return False
