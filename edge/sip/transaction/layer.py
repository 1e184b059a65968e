"""The transaction layer (RFC 3261 §17): the tables of both kinds of transactions, and what matches in them.

Every branch that is made here reads ``cookie edge.boot.random[-mark]``: it names its owner, this life (boot) of this
edge, so that an edge that gets somebody else's response knows whom to hand it to.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from edge.sip.flow import Flow
from edge.sip.ids import Ids
from edge.sip.message import Request
from edge.sip.transaction.client import ClientTransaction
from edge.sip.transaction.machine import TransactionUser
from edge.sip.transaction.matching import BRANCH_COOKIE
from edge.sip.transaction.server import InviteServer, KeptOctets, NonInviteServer, ServerTransaction

TransactionKey = tuple[str, ...]
"""(branch, method) of a client transaction (§17.1.3); of a server transaction as ``server_key`` gives it."""


class Outgoing(Protocol):
    """A request on its way: a client transaction, or an ACK, which has none."""

    key: TransactionKey
    flow: Flow

    def fail(self, now: float, why: str = "") -> None:
        """Its flow is dead, or what it sent is lost."""


class CancelTarget(Protocol):
    """Who answers an INVITE, and hears of its CANCEL (§9.2)."""

    def cancel(self, now: float, why: str) -> None:
        """``why`` is the CANCEL's Reason value (RFC 3326), or ""."""


MOST_SERVERS, MOST_OCTETS = 200_000, 128 * 1024 * 1024
"""Server transactions open at once, and octets of the responses that they keep to send again: 6,000 requests a second,
since each is kept for 32 s."""
SHARE = 0.1
"""Of those, what strangers may fill."""


class TransactionLayer:
    """``servers`` and ``clients`` are the open ones, by key."""

    def __init__(self, edge: str, boot: str, ids: Ids) -> None:
        """``edge`` and ``boot`` are tokens (§25.1) without dots."""
        self.boot = boot
        self.owner = f"{BRANCH_COOKIE}{edge}.{boot}."
        self.servers: dict[TransactionKey, ServerTransaction] = {}
        self.clients: dict[TransactionKey, Outgoing] = {}
        self._on_streams: dict[Flow, dict[TransactionKey, Outgoing]] = {}
        self._kept = KeptOctets()
        self._cancel_targets: dict[TransactionKey, CancelTarget] = {}
        self._ids = ids

    # Branches

    def branch(self, mark: str = "") -> str:
        """A new one; ``mark`` stands for where its request goes (RFC 5393 §4.2)."""
        token = self._ids.token()
        return f"{self.owner}{token}-{mark}" if mark else f"{self.owner}{token}"

    def owns(self, branch: str) -> bool:
        """Whether this process made it."""
        return branch.startswith(self.owner)

    def owns_boot(self, boot: str) -> bool:
        """Whether this is the process of the edge that ``boot`` names."""
        return self.boot == boot

    # Client transactions

    def begin(self, transaction: ClientTransaction, now: float) -> None:
        """Send its request, and give it what comes back."""
        self._keep(transaction)
        transaction.begin(now)

    def watch(self, outgoing: Outgoing) -> None:
        """Tell it if it is lost, until it is forgotten."""
        self._keep(outgoing)

    def client(self, branch: str, method: str) -> ClientTransaction | None:
        """The one that a response belongs to (§17.1.3)."""
        found = self.clients.get((branch, method))
        return found if isinstance(found, ClientTransaction) else None

    def send_failed(self, ref: str, now: float) -> None:
        """What was sent with ``ref``, the key joined by a space, is lost."""
        branch, _, method = ref.partition(" ")
        outgoing = self.clients.get((branch, method))
        if outgoing is not None:
            outgoing.fail(now)

    def flow_closed(self, flow: Flow, now: float, why: str = "") -> None:
        """A connection has ended, or couldn't be made (``why``), wherever it was: nothing comes back on it (§18.4)."""
        for outgoing in list(self._on_streams.get(flow, {}).values()):
            outgoing.fail(now, why)

    def streams_lost(self, addresses: Collection[str], now: float) -> None:
        """Whoever held these addresses has taken the connections along."""
        for flow in [flow for flow in self._on_streams if flow.address in addresses] if addresses else ():
            self.flow_closed(flow, now)

    def forget(self, outgoing: Outgoing) -> None:
        self.clients.pop(outgoing.key, None)
        others = self._on_streams.get(outgoing.flow)
        if others is not None and others.pop(outgoing.key, None) is not None and not others:
            del self._on_streams[outgoing.flow]

    def _keep(self, outgoing: Outgoing) -> None:
        self.clients[outgoing.key] = outgoing
        if outgoing.flow.reliable:
            self._on_streams.setdefault(outgoing.flow, {})[outgoing.key] = outgoing

    # Server transactions

    def full(self, share: float = 1.0) -> bool:
        """Whether there is no room in this ``share`` for another one."""
        return len(self.servers) >= MOST_SERVERS * share or self._kept.total >= MOST_OCTETS * share

    def open(
        self, user: TransactionUser, request: Request, key: TransactionKey, flow: Flow, now: float
    ) -> ServerTransaction:
        """A new one, for a request that matches none."""
        kind = InviteServer if request.method == "INVITE" else NonInviteServer
        server = self.servers[key] = kind(user, key, flow, self._ids.token(), now, self._kept)
        server.begin(request)
        return server

    def attend(self, server: ServerTransaction, target: CancelTarget) -> None:
        """``target`` answers it."""
        self._cancel_targets[server.key] = target

    def cancel_target(self, server: ServerTransaction) -> CancelTarget | None:
        return self._cancel_targets.get(server.key)

    def close(self, server: ServerTransaction) -> None:
        if self.servers.pop(server.key, None) is not None:
            self._kept.total -= len(server.last)
        self._cancel_targets.pop(server.key, None)
