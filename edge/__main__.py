"""``python -m edge --config edge.toml`` runs one edge; ``python -m edge public-key --config edge.toml`` prints what to
register with the control plane, making the key file if there is none."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import resource
import secrets
import signal
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from edge import metrics
from edge.config import Config, ConfigError, load
from edge.control.client import ControlClient
from edge.control.heartbeat import HeartbeatLoop
from edge.control.identity import Identity, IdentityError
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.runtime import RandomIds, Runtime
from edge.trace import Trace
from edge.transport.sockets import ListenError, Place, Sockets

log = logging.getLogger("edge")


async def run(config: Config, identity: Identity) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    boot = secrets.token_hex(4)
    core = Core(config.id, boot, RandomIds(), config.keepalive_interval, config.digest_algorithms)
    control = ControlClient(identity, config.control, config.control_auth)
    trace = Trace(config.id)
    runtime = Runtime(core, control, trace)
    sockets = Sockets(runtime)
    mesh = Mesh(config.id, boot, identity.key, identity.certificate, runtime)
    runtime.connect(sockets, mesh)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runtime.close)
        stack.callback(sockets.close)
        await sockets.open([Place(at.transport, at.host, at.port, config.address) for at in config.listens])
        await _open_mesh(mesh, config.mesh)
        stack.push_async_callback(mesh.close)
        if config.metrics:
            stack.push_async_callback((await _open_metrics(config.metrics, core, mesh, runtime, trace)).cleanup)
        await control.open()
        stack.push_async_callback(control.close)
        beats = HeartbeatLoop(control, identity, boot, [config.address], config.mesh_seen, runtime.news)
        beating = asyncio.create_task(beats.run())
        log.info("edge %s listens on %s", config.id, ", ".join(config.listen))
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([beating, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (beating, stopping):
            task.cancel()
        await asyncio.gather(beating, stopping, return_exceptions=True)
        if beating in done:
            beating.result()  # it never ends but by an error
    log.info("edge %s has stopped", config.id)


async def _open_mesh(mesh: Mesh, where: str) -> None:
    host, _, port = where.rpartition(":")
    try:
        await mesh.open(host, int(port))
    except OSError as error:
        raise ListenError(f"mesh: {where} can't be opened: {error.strerror or error}") from error


async def _open_metrics(where: str, core: Core, mesh: Mesh, runtime: Runtime, trace: Trace) -> web.AppRunner:
    host, _, port = where.rpartition(":")
    try:
        return await metrics.serve(host, int(port), core, mesh, runtime, trace)
    except OSError as error:
        raise ListenError(f"metrics: {where} can't be opened: {error.strerror or error}") from error


def _raise_file_limit() -> None:
    """A stream is a file; the usual soft limit of 1,024 is far below what one edge serves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edge", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "public-key"], default="run")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--verbose", action="store_true", help="log what an operator seldom wants to know")
    options = parser.parse_args()
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _raise_file_limit()
    logging.getLogger("quic").setLevel(logging.WARNING)
    try:
        config = load(options.config)
        if options.command == "public-key":
            print(Identity.load_or_make(config.id, config.key_file).public_key)
            return 0
        uvloop.run(run(config, Identity.load(config.id, config.key_file)))
    except (ConfigError, IdentityError, ListenError, ValueError) as error:
        print(f"edge: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
