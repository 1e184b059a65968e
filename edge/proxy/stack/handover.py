"""Handing an edge address over without failing a call: server transactions stay with the process that made them, and
what their clients still send (CANCEL, ACK, retransmissions) comes in at the new holder and crosses back."""

from __future__ import annotations

from edge.proxy.stack.events import Action, Entrust, Relay
from edge.sip.flow import Flow
from edge.sip.transaction import ServerTransaction
from edge.sip.transaction.layer import TransactionKey

KEEP = 200.0  # seconds for which a transaction may still be open: an INVITE rings for up to Timer C

_BATCH = 50  # keys in one message to the other edge: those of RFC 2543 are long


class Handover:
    """``leaving``: addresses on their way to another edge."""

    def __init__(self) -> None:
        self.leaving: dict[str, str] = {}
        self._owners: dict[TransactionKey, tuple[str, float]] = {}

    def leave(self, address: str, to: str, servers: dict[TransactionKey, ServerTransaction]) -> list[Action]:
        """Begin, or with ``to`` "" end, the handover of ``address``."""
        if not to:
            self.leaving.pop(address, None)
            return []
        self.leaving[address] = to
        keys = [key for key, server in servers.items() if server.flow.address == address]
        return [Entrust(to, address, keys[at : at + _BATCH]) for at in range(0, len(keys), _BATCH)]

    def opened(self, address: str, key: TransactionKey) -> list[Action]:
        """A server transaction was made meanwhile."""
        to = self.leaving.get(address)
        return [Entrust(to, address, [key])] if to else []

    def entrusted(self, owner: str, keys: list[TransactionKey], now: float) -> None:
        """Edge ``owner`` goes on with these."""
        self._owners = {key: entry for key, entry in self._owners.items() if entry[1] > now}
        self._owners.update((key, (owner, now + KEEP)) for key in keys)

    def crossing(self, key: TransactionKey, flow: Flow, data: bytes) -> Relay | None:
        """Where a request for server transaction ``key`` has to go, if that isn't here."""
        found = self._owners.get(key) if self._owners else None
        return Relay(found[0], flow, data) if found is not None else None
