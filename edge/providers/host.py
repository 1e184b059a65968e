"""What the provider machines need from the core around them, and have it keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from edge.sip.flow import Flow, ServerAddress
from edge.sip.places import Places
from edge.sip.timers import TimerHeap
from edge.sip.transaction import ClientTransaction
from lambdas.contract import ProviderAccount, ProviderReport, Server

OnResolved = Callable[[list[ServerAddress], str, float], None]
"""Gets a server's addresses in the order in which to try them, or none and why."""


Realm = tuple[str, str]
"""A realm that asks for passwords, and an algorithm of HASHES."""


class AccountKept(NamedTuple):
    """What is kept of an account on the edge's disk: ``account`` without its password, and instead of that HA1 for each
    realm that has asked. It was claimed for ``address`` in ``epoch``. Whoever stores it encrypts it."""

    account: ProviderAccount
    address: str
    epoch: int
    hashes: dict[Realm, str]


class ProviderHost(Protocol):
    """The core, as providers see it."""

    timers: TimerHeap

    @property
    def places(self) -> Places: ...

    @property
    def registers(self) -> bool:
        """Whether this process does. Others of its edge know the accounts, whose credentials calls need."""

    def new_token(self) -> str: ...

    def new_branch(self) -> str:
        """A branch (RFC 3261 §8.1.1.7) that names this process as its owner."""

    def transmit(self, flow: Flow, data: bytes, ref: str, until: float = 0.0) -> None:
        """Send, unless it is ``until`` (0: whenever)."""

    def begin(self, transaction: ClientTransaction, now: float) -> None:
        """Send its request, and give it what comes back."""

    def terminated(self, transaction: ClientTransaction) -> None: ...

    def resolve(self, server: Server, address: str, then: OnResolved) -> None:
        """RFC 3263 §4, for what is to leave from edge address ``address``."""

    def journal(self, report: ProviderReport) -> None: ...

    def wall(self, now: float) -> float: ...

    def exclusive(self, address: str) -> tuple[float, float]:
        """From when until when only this edge may register from ``address``; empty if it doesn't hold it."""

    def port(self, transport: str) -> int:
        """The port of our addresses for a transport."""
