"""Which URIs lead to the fleet itself (RFC 3261 §16.4)."""

from __future__ import annotations

from collections.abc import Iterable

from edge.proxy.stack.fleet import Fleet
from edge.sip.flow import Flow
from edge.sip.uri import Uri


class OwnPlaces:
    """``ports`` are those of our addresses; ``names`` are host names of edges, beside those of our domains and what
    lies under them."""

    def __init__(self, ports: Iterable[int], names: Iterable[str]) -> None:
        self._ports = frozenset(ports)
        self._names = frozenset(name.lower() for name in names)

    def has(self, uri: Uri, at: Flow, fleet: Fleet) -> bool:
        """Whether ``uri`` is a place of ours; ``at`` is how it came to be asked."""
        if uri.port and uri.port != at.port and uri.port not in self._ports:
            return False  # somebody else's, on the same machine
        return bool(fleet.address_at(uri.host)) or self._is_name(uri.host.removesuffix("."), fleet)

    def _is_name(self, host: str, fleet: Fleet) -> bool:
        while host:
            if host in fleet.domains or host in self._names:
                return True
            host = host.partition(".")[2]
        return False
