"""Handing addresses on: all of them when this edge is drained, and a surplus one to an edge that came back for it."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator

from edge.control.identity import Identity
from edge.control.journal import Journal
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.runtime.addresses import Addresses
from edge.runtime.loop import Runtime
from lambdas.contract import consent_text

log = logging.getLogger(__name__)

_TAKING = 15.0  # seconds for an edge to take an address
_ENDING = 240.0  # seconds for transactions to end: an INVITE may ring for Timer C
_SETTLED = 4.0  # seconds that an edge must have been linked before an address is given back to it


class Handing:
    """At most one address at a time."""

    def __init__(
        self,
        identity: Identity,
        core: Core,
        runtime: Runtime,
        addresses: Addresses,
        mesh: Mesh,
        journal: Journal,
    ) -> None:
        self._identity = identity
        self._core = core
        self._runtime = runtime
        self._addresses = addresses
        self._mesh = mesh
        self._journal = journal
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Give addresses back to edges that ask for them."""
        since: dict[str, float] = {}
        while True:
            await asyncio.sleep(0.5)
            news, now = self._runtime.last_news, time.monotonic()
            linked = self._mesh.connected()
            since = {edge: since.get(edge, now) for edge in linked}
            if news is None or self._busy.locked():
                continue
            for edge in news.reply.fleet:
                if edge.held or now - since.get(edge.id, now) < _SETTLED:
                    continue
                address = self._addresses.holdings.surplus(edge.wants)
                if address:
                    try:
                        why = await self._hand(address, edge.id)
                    except Exception:
                        log.exception("a fault in giving %s back", address)
                        why = "see above"
                    if why:
                        log.warning("%s isn't given back: %s", address, why)
                        since[edge.id] = now

    async def drain(self) -> AsyncIterator[str]:
        """Hand everything over and wait until nothing is under way; a line for each step. Raises RuntimeError where no
        other edge can take an address: this one then goes on as before."""
        holdings = self._addresses.holdings
        holdings.leaving = True
        try:
            async for line in self._drain():
                yield line
        except Exception:
            holdings.leaving = False
            raise

    async def _drain(self) -> AsyncIterator[str]:
        holdings = self._addresses.holdings
        for address in sorted(holdings.held()):
            whys = []
            for edge in self._mesh.connected():
                why = await self._hand(address, edge)
                if not why:
                    yield f"{address} is with edge {edge} now"
                    break
                whys.append(why)
            else:
                raise RuntimeError(f"{address} stays: {'; '.join(whys) or 'no other edge is linked'}")
        end = time.monotonic() + _ENDING
        told = 0
        while time.monotonic() < end:
            left = sum(not server.answered for server in self._core.servers.values())
            if not left and not self._core.questions:
                break
            if left != told:
                told = left
                yield f"{left} requests are under way"
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)  # retransmissions of what was answered last
        await self._journal.delivered(10.0)
        if len(self._journal):
            yield f"{len(self._journal)} reports wait in the journal for the next start"
        yield "drained"

    async def _hand(self, address: str, to: str) -> str:
        async with self._busy:
            boot = self._mesh.boot_of(to)
            epoch = self._addresses.holdings.epoch(address)
            consent = self._identity.key.sign(consent_text(address, epoch, to, boot))
            log.info("handing %s over to edge %s", address, to)
            return await self._runtime.hand_over(address, to, base64.b64encode(consent).decode(), _TAKING)
