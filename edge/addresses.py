"""The edge addresses of this machine: moved here, listened on, handed on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from edge.config import Config
from edge.control import drivers
from edge.control.holdings import Gained, Holdings, Lost, Place, Step
from edge.transport.sockets import ListenError, Sockets
from edge.transport.sockets import Place as Socket

log = logging.getLogger(__name__)


_LAST_WORDS = 0.5  # seconds in which what had arrived before an address moved is still read


class Addresses:
    """Carries out what Holdings says. ``changed`` is called whenever the addresses served are others."""

    def __init__(self, config: Config, holdings: Holdings, sockets: Sockets) -> None:
        self._config = config
        self.holdings = holdings
        self._sockets = sockets
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._lost: set[asyncio.Task[None]] = set()
        self.changed: Callable[[], None] = lambda: None
        self.gained: Callable[[str, int], None] = lambda address, epoch: None

    async def open_home(self) -> None:
        """Without a driver the own address is here, lease or not. Raises ListenError."""
        if self._config.takeover == "none":
            await self._sockets.open(self._sockets_for(self._config.address, ""))

    def follow(self, steps: Iterable[Step]) -> None:
        """Start what the steps say, in order for each address."""
        for step in steps:
            before = self._moving.get(step.address)
            if isinstance(step, Place) and before is not None and not before.done():
                continue
            task = asyncio.get_running_loop().create_task(self._follow(step, before))
            self._moving[step.address] = task

    async def _follow(self, step: Step, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        match step:
            case Place():
                if await self._move(step):
                    # Not through follow(), which would wait for this very task.
                    for gained in self.holdings.moved(step.address, step.epoch):
                        await self._follow(gained, None)
            case Gained(address, epoch, host):
                try:
                    await self._sockets.open(self._sockets_for(address, host))
                except ListenError as error:
                    log.error("%s; giving %s up", error, address)
                    self.holdings.release(address)
                    return
                log.info("serving %s in epoch %d", address, epoch)
                self.gained(address, epoch)
                self.changed()
            case Lost(address, why):
                log.warning("%s is not ours any more: %s", address, why)
                self.changed()
                if self._config.takeover != "none":
                    self._sockets.stop_accepting(address)
                    await asyncio.sleep(_LAST_WORDS)
                    self._sockets.leave(address)
                if self._config.takeover == "l2":
                    await drivers.remove_from_interface(address, self._config.takeover_interface)

    async def _move(self, step: Place) -> bool:
        config = self._config
        if step.host:
            # It arrives at a host of its own: be there first.
            with contextlib.suppress(ListenError):
                await self._sockets.open(self._sockets_for(step.address, step.host))
        if config.takeover == "l2":
            return await drivers.add_to_interface(step.address, config.takeover_interface)
        return await drivers.run_hook(config.takeover_hook, config.id, step.address, step.epoch, step.host)

    def reopen(self, address: str) -> None:
        """It stays after all: take new streams again."""
        self.follow(self.holdings.again(address))

    def _sockets_for(self, address: str, host: str) -> list[Socket]:
        config = self._config
        if address == config.address:
            return [Socket(at.transport, at.host, at.port, address) for at in config.listens]
        if host:
            return [Socket(at.transport, at.host, at.port, address) for at in config.spare_listens if at.host == host]
        return [Socket(at.transport, address, at.port, address) for at in config.listens]

    def served(self, now: float) -> dict[str, int]:
        """The addresses whose packets arrive here, with their epochs."""
        return {
            address: epoch for address, epoch in self.holdings.served(now).items() if self._sockets.listens(address)
        }

    async def close(self) -> None:
        tasks = list(self._moving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
