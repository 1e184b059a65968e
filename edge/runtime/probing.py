"""Trying the other edges out: every so often one of them is sent a real registration and a real call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable
from typing import cast

from edge.probes.agent import ProbeAgent, Result
from edge.sip.errors import ParseError
from edge.sip.parser import parse
from lambdas.contract import HeartbeatReply, Probe, ProbeReport, Secret

log = logging.getLogger(__name__)

_PORT = 5060
_TICK = 0.05  # seconds
_LONGEST = 40.0  # seconds for one of them, all in all
_NONE = Result(0.0, 0)


class Probing:
    """``news`` is the last heartbeat's reply, ``report`` takes what was measured."""

    def __init__(
        self, edge: str, host: str, news: Callable[[], HeartbeatReply | None], report: Callable[[ProbeReport], None]
    ) -> None:
        self._edge = edge
        self._host = host
        self._news = news
        self._report = report

    async def run(self) -> None:
        """For ever."""
        while True:
            reply = self._news()
            probe = reply.probe if reply is not None else None
            if reply is None or probe is None:
                await asyncio.sleep(5)
                continue
            # Not all edges at the same moment.
            await asyncio.sleep(probe.seconds * random.uniform(0.8, 1.2))  # noqa: S311
            for edge in reply.fleet:
                for held in edge.held:
                    if edge.id != self._edge and held.placed:
                        await self._try(held.address, edge.region, probe)

    async def _try(self, address: str, region: str, probe: Probe) -> None:
        begun = time.time()
        results: dict[str, Result] = {}
        with contextlib.suppress(OSError):
            results = await measure(self._host, (address, _PORT), probe)
        register, call = results.get("register", _NONE), results.get("call", _NONE)
        if not (register.good and call.good):
            log.warning("edge address %s: REGISTER %d, INVITE %d", address, register.status, call.status)
        self._report(
            ProbeReport(
                edge=self._edge,
                address=address,
                at=begun,
                register_seconds=register.seconds,
                register_status=register.status,
                call_seconds=call.seconds,
                call_status=call.status,
                region=region,
            )
        )


async def measure(host: str, to: tuple[str, int], probe: Probe) -> dict[str, Result]:
    """Try the edge at ``to`` out from ``host``: the results of "register" and, if that was good, "call". Raises
    OSError."""
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[bytes] = asyncio.Queue()
    transport, _ = await loop.create_datagram_endpoint(lambda: _ProbeSocket(received), (host, 0), to)
    try:
        name, port, *_ = cast(tuple[str, int], transport.get_extra_info("sockname"))
        secret = Secret(username=probe.aor.rpartition("@")[0], password=probe.password)
        agent = ProbeAgent(probe.aor, secret, f"{name}:{port}", lambda: os.urandom(9).hex(), loop.time())
        end = loop.time() + _LONGEST
        while not agent.done and loop.time() < end:
            for data in agent.out:
                transport.sendto(data)
            agent.out.clear()
            with contextlib.suppress(TimeoutError, ParseError):
                async with asyncio.timeout(_TICK):
                    data = await received.get()
                agent.receive(parse(data), loop.time())
            agent.tick(loop.time())
        for data in agent.out:
            transport.sendto(data)
        return agent.results
    finally:
        transport.close()


class _ProbeSocket(asyncio.DatagramProtocol):
    def __init__(self, received: asyncio.Queue[bytes]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        if len(data) > 4:
            self._received.put_nowait(data)
