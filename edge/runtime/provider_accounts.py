"""Fetches the provider accounts of the addresses held here, and keeps them as they are in the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from edge.control.client import ControlClient
from edge.proxy.stack.events import ProvidersAssigned
from edge.runtime.catching_up import CatchUp
from lambdas.contract import VERSION, Change, ProvidersReply, ProvidersRequest

_RETRY = 2.0  # seconds
_MOST = 50  # accounts in one request
_OVERDUE = 60.0  # seconds after which a change that replication hasn't brought is no longer waited for


class ProviderAccounts:
    """``served`` gives the addresses here with their epochs; what comes goes to ``assigned``."""

    def __init__(
        self,
        control: ControlClient,
        ports: Mapping[str, int],
        served: Callable[[], Mapping[str, int]],
        known: Callable[[str], bool],
        assigned: Callable[[ProvidersAssigned], None],
    ) -> None:
        self._control = control
        self._ports = dict(ports)
        self._served = served
        self._known = known
        self._assigned = assigned
        self._loaded: dict[str, int] = {}
        self._changed: dict[str, tuple[int, float]] = {}
        self._catching_up = CatchUp("provider accounts", self._catch_up, _RETRY)

    def served_changed(self) -> None:
        """Other addresses may be served here, or in other epochs."""
        self._catching_up.told()

    def fed(self, changes: Iterable[Change], revalidate: bool) -> None:
        """What the change feed says of providers."""
        served = self._served()
        for change in changes:
            if change.provider and (change.address in served or self._known(change.provider)):
                self._await(change.provider, change.version)
        if revalidate:
            self._loaded.clear()
            self._catching_up.told()

    async def run(self) -> None:
        await self._catching_up.run()

    async def _catch_up(self) -> bool:
        """Whether all is known now."""
        served = dict(self._served())
        self._loaded = {address: epoch for address, epoch in self._loaded.items() if served.get(address) == epoch}
        for address, epoch in served.items():
            if address not in self._loaded:
                if not await self._load(address, epoch):
                    return False
                self._loaded[address] = epoch
        wanted = sorted(self._changed.items())
        for start in range(0, len(wanted), _MOST):
            if not await self._refresh(served, dict(wanted[start : start + _MOST])):
                return False
        return not self._changed

    async def _refresh(self, served: Mapping[str, int], wanted: dict[str, tuple[int, float]]) -> bool:
        """Fetch what has changed; what another Region's change hasn't reached yet stays to be fetched."""
        gone = set(wanted)
        late: set[str] = set()
        for address, epoch in served.items():
            reply = await self._fetch(address, epoch, list(wanted), "")
            if reply is None or self._served().get(address) != epoch:
                return False
            gone -= {account.id for account in reply.accounts} | set(reply.pending)
            late |= {account.id for account in reply.accounts if account.version < wanted[account.id][0]}
            late |= set(reply.pending)
            self._assigned(ProvidersAssigned(address, reply.accounts, []))
        self._assigned(ProvidersAssigned("", [], sorted(gone)))
        now = asyncio.get_running_loop().time()
        for name, (version, since) in wanted.items():
            if self._changed.get(name) == (version, since) and (name not in late or now - since > _OVERDUE):
                del self._changed[name]
        return True

    def _await(self, provider: str, version: int) -> None:
        self._changed[provider] = (version, asyncio.get_running_loop().time())
        self._catching_up.told()

    async def _load(self, address: str, epoch: int) -> bool:
        after = ""
        while True:
            reply = await self._fetch(address, epoch, [], after)
            if reply is None or self._served().get(address) != epoch:
                return False
            for name in reply.pending:
                self._await(name, 0)
            after = reply.following
            self._assigned(ProvidersAssigned(address, reply.accounts, [], complete=not after))
            if not after:
                return True

    async def _fetch(self, address: str, epoch: int, ids: list[str], after: str) -> ProvidersReply | None:
        request = ProvidersRequest(
            version=VERSION, address=address, epoch=epoch, ports=self._ports, ids=ids, after=after
        )
        return await self._control.providers(request)
