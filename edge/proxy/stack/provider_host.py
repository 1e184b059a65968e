"""What the registration agent finds at the stack."""

from __future__ import annotations

from collections.abc import Mapping

from edge.providers.host import OnResolved
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from edge.sip.places import Places
from edge.sip.transaction import ClientTransaction
from edge.sip.uri import DEFAULT_PORT, DEFAULT_TLS_PORT
from lambdas.contract import ProviderReport, Server

_NOBODYS_TIME = (float("inf"), float("-inf"))


class StackHost:
    """The stack as ``edge.providers.host.ProviderHost``. ``ports`` are those of our addresses for each transport."""

    def __init__(self, stack: Stack, ports: Mapping[str, int]) -> None:
        self._stack = stack
        self._ports = dict(ports)
        self.timers = stack.timers

    @property
    def places(self) -> Places:
        return self._stack.fleet.places

    @property
    def registers(self) -> bool:
        return self._stack.partition.process == 0

    def new_token(self) -> str:
        return self._stack.ids.token()

    def new_branch(self) -> str:
        return self._stack.transactions.branch()

    def transmit(self, flow: Flow, data: bytes, ref: str, until: float = 0.0) -> None:
        self._stack.transmit(flow, data, ref, until)

    def begin(self, transaction: ClientTransaction, now: float) -> None:
        self._stack.transactions.begin(transaction, now)

    def terminated(self, transaction: ClientTransaction) -> None:
        self._stack.terminated(transaction)

    def resolve(self, server: Server, address: str, then: OnResolved) -> None:
        self._stack.questions.resolve(server, self._stack.fleet.has_ipv6(address), then)

    def journal(self, report: ProviderReport) -> None:
        self._stack.questions.journal(report)

    def wall(self, now: float) -> float:
        return self._stack.wall(now)

    def exclusive(self, address: str) -> tuple[float, float]:
        return self._stack.fleet.exclusive.get(address, _NOBODYS_TIME)

    def port(self, transport: str) -> int:
        return self._ports.get(transport, DEFAULT_TLS_PORT if transport == "tls" else DEFAULT_PORT)
