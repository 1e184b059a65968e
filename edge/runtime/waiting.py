"""Messages of addresses that are on their way: here, until the driver has confirmed; away, until another edge has taken
them. Whoever holds the address in the end handles them, so that no question is asked in an epoch that is over."""

from __future__ import annotations

from edge.sip.flow import Flow

_MOST = 1000  # messages; further ones are handled at once


class Waiting:
    """Streams don't move along, so what comes on them doesn't wait for an address to leave."""

    def __init__(self) -> None:
        self._arriving: frozenset[str] = frozenset()
        self._leaving: set[str] = set()
        self._messages: list[tuple[Flow, bytes]] = []

    def arrive(self, addresses: frozenset[str]) -> None:
        """These are all that are on their way here."""
        self._arriving = addresses

    def leave(self, address: str) -> None:
        """It is on its way to another edge."""
        self._leaving.add(address)

    def settle(self, address: str) -> None:
        """It has left, or stays."""
        self._leaving.discard(address)

    def keep(self, flow: Flow, data: bytes) -> bool:
        """Whether the message has to wait; it is kept then."""
        if not self._waits(flow) or len(self._messages) >= _MOST:
            return False
        self._messages.append((flow, data))
        return True

    def due(self) -> list[tuple[Flow, bytes]]:
        """Those that needn't wait any longer, in the order in which they came."""
        if not self._messages:
            return []
        messages, self._messages = self._messages, []
        due: list[tuple[Flow, bytes]] = []
        for flow, data in messages:
            (self._messages if self._waits(flow) else due).append((flow, data))
        return due

    def _waits(self, flow: Flow) -> bool:
        return flow.address in self._arriving or (flow.address in self._leaving and not flow.reliable)
