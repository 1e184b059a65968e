"""Orders from this machine: a Unix socket in the state directory, which only its owner can open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
from aiohttp import web

from edge.runtime.draining import Draining

log = logging.getLogger(__name__)

_SOCKET = "control.sock"


class AdminError(Exception):
    """The edge can't be reached or won't do it; the text says why."""


async def serve(state: Path, draining: Draining, stop: Callable[[], None]) -> web.AppRunner:
    """``POST /drain`` drains the edge, tells how it goes in JSON lines, and ends the process."""

    async def drain(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)

        async def say(**line: str) -> None:
            with contextlib.suppress(ConnectionError):  # whoever asked has gone; it goes on
                await response.write(json.dumps(line).encode() + b"\n")

        try:
            async for line in draining.drain():
                await say(say=line)
        except Exception as error:
            log.exception("draining failed")
            await say(error=str(error))
        else:
            stop()
        return response

    app = web.Application()
    app.add_routes([web.post("/drain", drain)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    (state / _SOCKET).unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        with _near(state) as path:
            await web.UnixSite(runner, path).start()
    finally:
        os.umask(mask)
    return runner


@contextlib.contextmanager
def _near(state: Path) -> Iterator[str]:
    """A short name for the socket: unix(7) allows 108 octets, and directories may be deep."""
    descriptor = os.open(state, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)


def drain(state: Path, say: Callable[[str], None]) -> None:
    """Drain the edge that runs with this state directory. Raises AdminError."""
    if not state.is_dir():
        raise AdminError(f"there is no state directory {state}: has the edge ever run?")
    asyncio.run(_drain(state, say))


async def _drain(state: Path, say: Callable[[str], None]) -> None:
    ended = False
    try:
        with _near(state) as path:
            # No limit on the whole: an INVITE may ring for minutes.
            session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path), timeout=aiohttp.ClientTimeout(total=None)
            )
            async with session, session.post("http://edge/drain") as response:
                async for data in response.content:
                    line = json.loads(data)
                    if "error" in line:
                        raise AdminError(line["error"])
                    ended = line["say"] == "drained"
                    say(line["say"])
    except aiohttp.ClientConnectorError as error:
        raise AdminError(f"no edge runs with the state in {state} ({error.strerror})") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        if not ended:
            raise AdminError(f"the edge ended before it was drained: {error}") from error
