"""What the core asks that takes its time: decisions of the control plane, and servers' addresses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from edge.control.client import ControlClient
from edge.proxy.stack.events import Ask, CoreEvent, Decided, Resolve, Resolved
from edge.transport.resolver import Resolver

log = logging.getLogger(__name__)


class Inquiries:
    """Answers are posted, failures too."""

    def __init__(self, post: Callable[[CoreEvent], None], control: ControlClient, resolver: Resolver) -> None:
        self._post = post
        self._control = control
        self._resolver = resolver
        self._asking: set[asyncio.Task[None]] = set()

    def ask(self, action: Ask) -> None:
        self._later(self._ask(action))

    def resolve(self, action: Resolve) -> None:
        self._later(self._resolve(action))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _resolve(self, action: Resolve) -> None:
        server = action.server
        try:
            addresses, fault = await self._resolver.resolve(
                server.host, server.port, server.transport, server.by_dns, action.ipv6
            )
        except Exception as error:
            log.exception("resolving %s failed", server.host)
            addresses, fault = [], type(error).__name__
        self._post(Resolved(action.ref, addresses, fault))

    async def _ask(self, action: Ask) -> None:
        decision = None
        try:
            decision = await self._control.ask(action.question, action.known)
        except Exception:
            log.exception("asking failed")  # the phone is answered all the same
        self._post(Decided(action.ask, decision))

    async def settle(self, seconds: float) -> None:
        """Wait until what has been asked is answered, ``seconds`` at most."""
        if self._asking:
            await asyncio.wait(set(self._asking), timeout=seconds)

    async def close(self) -> None:
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
