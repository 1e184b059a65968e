"""``python -m edge --config edge.toml`` runs one edge; ``python -m edge public-key --config edge.toml`` prints what to
register with the control plane, making the key file if there is none; ``python -m edge enrol --config edge.toml --api
URL --token TOKEN`` (or ``--instance``) makes both and registers it; ``python -m edge drain --config edge.toml`` hands
the running edge's addresses to others and ends it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path

import uvloop
from aiohttp import web

from edge import compiled_core
from edge.config import Config, ConfigError, load
from edge.control.client import ControlClient
from edge.control.heartbeat import HeartbeatLoop, News
from edge.control.holdings import Holdings
from edge.control.identity import Identity, IdentityError
from edge.control.journal import Journal, JournalError
from edge.control.store import StateStore
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.runtime import admin, metrics, restart
from edge.runtime.addresses import AddressMover, served_here
from edge.runtime.bans import Bans
from edge.runtime.certificate_files import CertificateWatch
from edge.runtime.crowding import Crowding
from edge.runtime.draining import Draining
from edge.runtime.enrol import EnrolError, enrol, enrol_instance
from edge.runtime.fetched_certificates import FetchedCertificates
from edge.runtime.follower import Follower
from edge.runtime.garbage import GarbageLooks
from edge.runtime.handing import Handing
from edge.runtime.inbound import Inbound
from edge.runtime.inquiries import Inquiries
from edge.runtime.instance import InstanceError
from edge.runtime.loop import Loop, RandomIds
from edge.runtime.media import Media
from edge.runtime.media_keeper import MediaKeeper
from edge.runtime.memory import take_large_buffers_from_the_system
from edge.runtime.mesh_receiver import MeshReceiver
from edge.runtime.notes import Notes
from edge.runtime.origins import Origins
from edge.runtime.outbound import Outbound
from edge.runtime.own_place import OwnPlace
from edge.runtime.pauses import Pauses
from edge.runtime.probing import Probing
from edge.runtime.provider_accounts import ProviderAccounts
from edge.runtime.provider_locator import ProviderLocator
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.runtime.workers import Workers
from edge.sip.partition import Partition
from edge.transport import session_tickets
from edge.transport.certificates import Certificates
from edge.transport.resolver import Resolver
from edge.transport.server_trust import ServerTrust
from edge.transport.session_tickets import SessionTickets
from edge.transport.sockets import ListenError, Sockets

log = logging.getLogger("edge")


async def run(config: Config, identity: Identity, tickets: SessionTickets | None) -> None:
    """Serve until SIGINT or SIGTERM, or until drained. ``tickets``: how TLS sessions are taken up at other edges."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        pauses = Pauses()
        running = await _start(config, identity, tickets, stop, stack, pauses)
        looks = GarbageLooks(pauses.look.note)
        looks.start()
        stack.callback(looks.stop)
        pauses.start()
        stack.callback(pauses.close)
        log.info("edge %s listens on %s", config.id, ", ".join(config.listen))
        _say_what_runs()
        tasks = [asyncio.create_task(work) for work in (stop.wait(), *running)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done - {tasks[0]}:
            task.result()  # they never end but by an error
    log.info("edge %s has stopped", config.id)


async def _start(
    config: Config,
    identity: Identity,
    tickets: SessionTickets | None,
    stop: asyncio.Event,
    stack: contextlib.AsyncExitStack,
    pauses: Pauses,
) -> list[Coroutine[None, None, None]]:
    """Make the edge's parts from the ground up, each of those before it, and open them; what has to run. ``stack``
    closes them."""
    boot = secrets.token_hex(4)
    static_seconds = config.static_hours * 3600
    core = Core(
        config.id,
        boot,
        RandomIds(),
        config.keepalive_interval,
        config.digest_algorithms,
        static_seconds=static_seconds,
        ports=config.ports,
        names=config.own_names,
        no_nat_networks=config.no_nat_networks,
        partition=Partition(0, config.workers),
    )
    counters = core.stack.counters
    control = ControlClient(identity, config.control, config.control_auth, counters, config.workers)
    journal = Journal(config.state, identity.state_key(), control.report)
    stack.push_async_callback(journal.close)
    store = StateStore(config.state / "kept.sqlite", identity.state_key())
    stack.callback(store.close)
    kept = restart.load(store, static_seconds)
    trace, bans, waiting = Trace(config.id), Bans(), Waiting()
    loop = Loop(core, journal)
    notes = Notes(counters)
    inbound = Inbound(loop.post, core.stack, bans, trace, waiting, core.keeps, Crowding(lambda: sockets.waiting()))
    server_trust = _server_trust(config)
    certificates = Certificates(tickets.use_in) if tickets is not None else Certificates()
    watch = CertificateWatch(config.certificates, certificates, counters)
    fetched = FetchedCertificates(control, boot, store, certificates, lambda: _names(config, kept, follower), counters)
    origins = Origins(config.origins, config.own_names, lambda: core.stack.fleet)
    divided = Handing(inbound, core.stack, lambda *message: workers.hand(*message)) if config.workers > 1 else inbound
    sockets = Sockets(
        divided,
        notes.note,
        movable=config.takeover != "none",
        certificates=certificates,
        welcome=origins.welcome,
        server_trust=server_trust,
        partition=core.stack.partition,
    )

    def reread() -> None:
        """A worker has to learn again what the control plane knows."""
        beats.reread()
        accounts.fed([], revalidate=True)

    workers = Workers(config, core, loop.post, sockets, store, journal, trace, reread)
    holdings = Holdings(config.address, config.home_host, config.takeover, config.spares)
    mesh = Mesh(config.id, boot, identity.key, identity.certificate, notes.note, config.mesh_networks)

    def served() -> dict[str, int]:
        return served_here(holdings, sockets, time.monotonic())

    accounts = ProviderAccounts(control, config.ports, served, core.agent.known, workers.tell_all)
    resolver = Resolver(config.nameservers, config.provider_networks)
    locator = ProviderLocator(
        resolver, lambda: follower.last_news.provider_hosts if follower.last_news is not None else [], loop.post
    )
    keeper = MediaKeeper(config.state, store, mesh, counters)
    media = Media(config, mesh, counters, lambda address: addresses.engine_place(address), keeper, loop.post)
    follower = Follower(
        core, loop.post, inbound, mesh, holdings, sockets, bans, waiting, accounts, locator, media, tickets, workers
    )
    addresses = AddressMover(config, holdings, sockets, mesh.announce, follower.addresses_changed)
    own_place = OwnPlace(config)

    def news(found: News) -> None:
        own_place.compare(found.reply)
        follower.news(found)

    beats = HeartbeatLoop(
        control,
        identity,
        boot,
        holdings,
        config.mesh_seen,
        config.listen,
        config.takeover_interface,
        mesh.connected,
        news,
        addresses.follow,
        fetched.told if config.certificate == "acme" else None,
        media.on,
        kept.reply.feed if kept is not None else None,
    )
    inquiries = Inquiries(loop.post, control, resolver)
    outbound = Outbound(
        core,
        loop.post,
        addresses,
        follower,
        sockets,
        mesh,
        inquiries,
        server_trust,
        journal,
        workers,
        media,
        trace,
    )
    draining = Draining(
        identity,
        core,
        loop.post,
        follower,
        holdings,
        addresses,
        sockets,
        mesh,
        inbound,
        inquiries,
        keeper,
        waiting,
        journal,
    )
    receiver = MeshReceiver(
        core,
        workers.tell_all,
        inbound,
        outbound,
        sockets,
        server_trust,
        holdings,
        addresses,
        workers,
        media,
        keeper,
        trace,
        beats.nudge,
        draining.declined,
    )
    restarting = restart.Restart(store, core, loop.post, follower, holdings, addresses, beats, kept, workers)
    probing = Probing(
        config.id,
        config.home_host,
        lambda: follower.last_news.reply if follower.last_news is not None else None,
        lambda report: journal.add(report.model_dump_json().encode()),
    )
    source = fetched if config.certificate == "acme" else watch
    source.load()
    loop.start(outbound.carry_out)
    workers.start(outbound.carry_out, outbound.tell_peers, inbound)
    stack.callback(loop.close)
    if media.on:
        await _open_keeper(keeper)
        stack.callback(keeper.close)
    stack.push_async_callback(media.close)
    stack.push_async_callback(inquiries.close)
    stack.callback(sockets.close)
    stack.push_async_callback(addresses.close)
    await addresses.open_home()
    await _open_mesh(mesh, config.mesh, receiver)
    stack.push_async_callback(mesh.close)
    if config.metrics:
        runner = await _open_metrics(
            config.metrics, core, sockets, certificates, mesh, media, follower, journal, trace, pauses, workers
        )
        stack.push_async_callback(runner.cleanup)
    stack.push_async_callback((await admin.serve(config.state, draining, stop.set)).cleanup)
    stack.callback(control.close)
    stack.push_async_callback(sockets.end)
    return [
        beats.run(),
        restarting.run(),
        journal.run(),
        draining.run(),
        accounts.run(),
        locator.run(),
        probing.run(),
        keeper.run(),
        source.run(),
        *([workers.run()] if config.workers > 1 else []),
    ]


def _server_trust(config: Config) -> ServerTrust:
    try:
        return ServerTrust(config.provider_ca)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"provider_ca: {config.provider_ca} can't be used: {error.strerror or error}") from error


async def _open_keeper(keeper: MediaKeeper) -> None:
    try:
        await keeper.open()
    except OSError as error:
        raise ListenError(f"media: no port on loopback for engines' sessions: {error.strerror or error}") from error


async def _open_mesh(mesh: Mesh, where: str, receiver: MeshReceiver) -> None:
    host, _, port = where.rpartition(":")
    try:
        await mesh.open(host, int(port), receiver)
    except OSError as error:
        raise ListenError(f"mesh: {where} can't be opened: {error.strerror or error}") from error


async def _open_metrics(
    where: str,
    core: Core,
    sockets: Sockets,
    certificates: Certificates,
    mesh: Mesh,
    media: Media,
    follower: Follower,
    journal: Journal,
    trace: Trace,
    pauses: Pauses,
    workers: Workers,
) -> web.AppRunner:
    host, _, port = where.rpartition(":")
    try:
        where_to = host.strip("[]"), int(port)
        return await metrics.serve(
            *where_to, core, sockets, certificates, mesh, media, follower, journal, trace, pauses, workers
        )
    except OSError as error:
        raise ListenError(f"metrics: {where} can't be opened: {error.strerror or error}") from error


def _names(config: Config, kept: News | None, follower: Follower) -> list[str]:
    """The edges' names, this one's own first, as they were told last."""
    news = follower.last_news or kept
    places = [place for place in news.reply.places if place.name] if news is not None else []
    return [place.name for place in sorted(places, key=lambda place: place.address != config.address)]


def _say_what_runs() -> None:
    if compiled_core.FAULT:
        log.warning("the core runs uncompiled, and takes twice the CPU: %s", compiled_core.FAULT)
    else:
        log.info("the core runs compiled, %s", compiled_core.version())


def _raise_file_limit() -> None:
    """A stream is a file; the usual soft limit of 1,024 is far below what one edge serves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edge", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["run", "public-key", "enrol", "drain"], default="run")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--api", help="for enrol: the provisioning API's URL; with --instance the decisions' URL")
    parser.add_argument("--token", help="for enrol: as POST /v1/edges/tokens gives it, or in EDGE_TOKEN")
    parser.add_argument(
        "--instance", action="store_true", help="for enrol: this EC2 instance's role says which edge it is"
    )
    parser.add_argument("--verbose", action="store_true", help="log what an operator seldom wants to know")
    options = parser.parse_args()
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _raise_file_limit()
    for library in ("quic", "websockets"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        if options.command == "enrol":
            token = options.token or os.environ.get("EDGE_TOKEN", "")
            if not options.api or not (token or options.instance):
                parser.error("enrol needs --api, and --token or --instance")
            if options.instance:
                name = enrol_instance(options.api, options.config)
            else:
                name = enrol(options.api, token, options.config)
            print(f"This is edge {name} now; see {options.config}.")
            return 0
        config = load(options.config)
        if options.command == "public-key":
            print(Identity.load_or_make(config.id, config.key_file).public_key)
            return 0
        if options.command == "drain":
            admin.drain(config.state, lambda line: print(line, flush=True))
            return 0
        take_large_buffers_from_the_system()
        tickets = session_tickets.usable() if config.secure else None
        uvloop.run(run(config, Identity.load(config.id, config.key_file), tickets))
    except (
        ConfigError, EnrolError, IdentityError, InstanceError, JournalError, ListenError, admin.AdminError, ValueError,
    ) as error:  # fmt: skip
        print(f"edge: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
