"""What the registration agent finds at the core."""

from __future__ import annotations

from collections.abc import Mapping

from edge.proxy.forwarding.ack import Acknowledgement
from edge.proxy.forwarding.record_route import DEFAULT_PORT
from edge.proxy.stack.events import Action, Ids, Send
from edge.proxy.stack.fleet import Fleet
from edge.sip.flow import Flow
from edge.sip.transaction import ClientTransaction

_NOBODYS_TIME = (float("inf"), float("-inf"))


class Hosting:
    """What the core has of it. ``ports`` are those of our addresses for each transport."""

    fleet_now: Fleet
    clients: dict[tuple[str, ...], ClientTransaction | Acknowledgement]
    _actions: list[Action]
    _ids: Ids
    _owner: str

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = dict(ports)

    def transmit(self, flow: Flow, data: bytes, ref: str, until: float = 0.0) -> None:
        self._actions.append(Send(flow, data, ref, until))

    def begin(self, transaction: ClientTransaction, now: float) -> None:
        """Send a client transaction's request, and give it what comes back."""
        self.clients[transaction.key] = transaction
        transaction.begin(now)

    def new_token(self) -> str:
        return self._ids.token()

    def provider_branch(self) -> str:
        """A branch that names this process as its owner."""
        return f"{self._owner}{self._ids.token()}"

    def exclusive(self, address: str) -> tuple[float, float]:
        """From when until when (exclusive) nobody else may register from ``address``."""
        return self.fleet_now.exclusive.get(address, _NOBODYS_TIME)

    def provider_port(self, transport: str) -> int:
        return self._ports.get(transport, DEFAULT_PORT)
