"""The edge addresses of this machine: moved here, listened on, handed on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from edge.config import Config
from edge.control import drivers
from edge.control.holdings import AddressStep, Gained, Holdings, Lost, Place
from edge.runtime.engine_process import EnginePlace
from edge.transport.sockets import Listener, ListenError, Sockets

log = logging.getLogger(__name__)


_NEVER = float("inf")
_LAST_WORDS = 0.5  # seconds in which what had arrived before an address moved is still read


class AddressMover:
    """Carries out what Holdings says. ``gained`` is called with an address that has come and its epoch, ``changed``
    whenever the addresses served are others."""

    def __init__(
        self,
        config: Config,
        holdings: Holdings,
        sockets: Sockets,
        gained: Callable[[str, int], None],
        changed: Callable[[], None],
    ) -> None:
        self._config = config
        self._holdings = holdings
        self._sockets = sockets
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._until = _NEVER
        self._places: dict[str, EnginePlace] = {}
        self._gained = gained
        self._changed = changed

    async def open_home(self) -> None:
        """Without a driver the own address is here, lease or not. Raises ListenError."""
        if self._config.takeover == "none":
            await self._sockets.open(self._sockets_for(self._config.address, "", ""))

    def follow(self, steps: Iterable[AddressStep]) -> None:
        """Start what the steps say, in order for each address."""
        for step in steps:
            before = self._moving.get(step.address)
            if isinstance(step, Place) and before is not None and not before.done():
                continue
            task = asyncio.get_running_loop().create_task(self._follow(step, before))
            self._moving[step.address] = task
        self._watch()

    def _watch(self) -> None:
        until = self._holdings.until()
        if until == self._until:
            return
        self._until = until
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if until < _NEVER:
            wait = max(0.0, until - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._expire)

    def _expire(self) -> None:
        """A lease may be over. The heartbeat doesn't see to it in time: it may wait for its answer just then."""
        self._until = _NEVER
        self.follow(self._holdings.due(time.monotonic()))
        self._changed()

    def over(self, address: str) -> bool:
        """To be asked right before each send, since the process may have been stopped for a while: whether the lease on
        ``address`` has just run out, and nothing else fences it."""
        if self._until == _NEVER or time.monotonic() < self._until or address not in self._holdings.held():
            return False
        self._expire()
        return address not in self._holdings.held()

    async def _follow(self, step: AddressStep, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        match step:
            case Place():
                if await self._move(step):
                    # Not through follow(), which would wait for this very task.
                    for gained in self._holdings.moved(step.address, step.epoch):
                        await self._follow(gained, None)
            case Gained(address, epoch, host, address6):
                if address6 and self._config.takeover == "ec2" and self._config.takeover_device:
                    await drivers.add_to_interface(address6, self._config.takeover_device)
                listeners = self._sockets_for(address, host, address6)
                self._places[address] = _engine_place(address, address6, listeners)
                try:
                    await self._sockets.open(listeners)
                except ListenError as error:
                    log.error("%s; giving %s up", error, address)
                    self._holdings.release(address)
                    return
                log.info("serving %s in epoch %d", address, epoch)
                self._gained(address, epoch)
                self._changed()
            case Lost(address, why, address6):
                log.warning("%s is not ours any more: %s", address, why)
                self._changed()
                await self._remove(address, address6)
                if self._config.takeover != "none":
                    self._sockets.stop_accepting(address)
                    await asyncio.sleep(_LAST_WORDS)
                    self._sockets.leave(address)

    async def _move(self, step: Place) -> bool:
        config = self._config
        if step.host:
            # It arrives at a host of its own: be there first.
            with contextlib.suppress(ListenError):
                await self._sockets.open(self._sockets_for(step.address, step.host, step.address6))
        if config.takeover == "l2":
            sides = [side for side in (step.address, step.address6) if side]
            return all([await drivers.add_to_interface(side, config.takeover_interface) for side in sides])
        to6 = (config.spare_beside(step.host) or step.address6) if step.address6 else ""
        move = drivers.Move(step.address, step.host or step.address, step.address6, to6)
        return await drivers.run_hook(config.takeover_hook, config.id, step.epoch, move)

    async def _remove(self, address: str, address6: str) -> None:
        config = self._config
        if config.takeover == "l2":
            await drivers.remove_from_interface(address, config.takeover_interface)
        device = {"l2": config.takeover_interface, "ec2": config.takeover_device}.get(config.takeover, "")
        if address6 and device:
            await drivers.remove_from_interface(address6, device)

    def engine_place(self, address: str) -> EnginePlace | None:
        """Where the media of an address are; None before it is here, though something may listen already."""
        return self._places.get(address)

    def reopen(self, address: str) -> None:
        """It stays after all: take new streams again."""
        self.follow(self._holdings.again(address))

    def _sockets_for(self, address: str, host: str, address6: str) -> list[Listener]:
        """Of the own address as the configuration says; of another one the same, or what is meant for ``host``."""
        config = self._config
        if address == config.address:
            return [Listener(at.transport, at.host, at.port, address) for at in config.listens]
        listens, spares = config.listens, config.spare_listens
        if host:
            found = [Listener(at.transport, host, at.port, address) for at in spares if at.host == host]
        else:
            found = [Listener(at.transport, address, at.port, address) for at in listens if not at.ipv6]
        if not address6:
            return found
        beside = config.spare_beside(host)
        if beside:
            return found + [Listener(at.transport, beside, at.port, address) for at in spares if at.host == beside]
        likewise = [at for at in listens if at.ipv6] or listens
        return found + [Listener(at.transport, address6, at.port, address) for at in likewise]

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._moving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _engine_place(address: str, address6: str, listeners: list[Listener]) -> EnginePlace:
    """Where its listeners are."""
    host = next((at.host for at in listeners if ":" not in at.host), address)
    host6 = next((at.host for at in listeners if ":" in at.host), "") if address6 else ""
    return EnginePlace(address, host, address6 if host6 else "", host6)


def served_here(holdings: Holdings, sockets: Sockets, now: float) -> dict[str, int]:
    """The addresses whose packets arrive here, with their epochs."""
    return {address: epoch for address, epoch in holdings.served(now).items() if sockets.listens(address)}
