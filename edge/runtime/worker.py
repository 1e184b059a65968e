"""A worker: a process of an edge that isn't the first one. It has a core, its part of the sources, and sockets of its
own on the edge's ports; what is the edge's, the first process has. Started by ``edge.runtime.workers`` alone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

from edge.control.client import ControlClient
from edge.control.identity import Identity
from edge.proxy.core import Core
from edge.proxy.stack.events import (
    Action,
    Ask,
    BindingsChanged,
    CoreEvent,
    EndStream,
    FleetChanged,
    Relay,
    Remembered,
    Resolve,
    Send,
    SendFailed,
    Trust,
    WriteReport,
)
from edge.runtime.bans import Bans
from edge.runtime.certificate_files import CertificateWatch
from edge.runtime.crowding import Crowding
from edge.runtime.disk_format import read_account, read_route, route_key, route_name, write_account, write_route
from edge.runtime.garbage import GarbageLooks
from edge.runtime.handing import Handing
from edge.runtime.inbound import Inbound
from edge.runtime.inquiries import Inquiries
from edge.runtime.loop import Loop, RandomIds
from edge.runtime.memory import take_large_buffers_from_the_system
from edge.runtime.notes import Notes
from edge.runtime.origins import Origins
from edge.runtime.pauses import Pauses
from edge.runtime.provider_locator import ProviderLocator
from edge.runtime.snapshot import snapshot, ticket_keys
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.runtime.worker_link import (
    Begin,
    Carry,
    EndWorker,
    ForDisk,
    ForJournal,
    ForOwner,
    Handed,
    Handle,
    Informed,
    Line,
    Query,
    QueryAnswer,
    Recording,
    Remember,
    State,
    TellKept,
    Watch,
    WorkerLink,
    apart,
    whole,
)
from edge.runtime.workers import answer_of
from edge.sip.flow import Flow
from edge.transport import session_tickets
from edge.transport.certificates import Certificates
from edge.transport.resolver import Resolver
from edge.transport.server_trust import ServerTrust
from edge.transport.sockets import Sockets

log = logging.getLogger("edge.worker")

_EVERY = 1.0  # seconds between what is told of itself
_ALL = 1_000_000_000


class _Reports:
    """What the loop asks its journal: the holder has that."""

    possible = True


class WorkerOutbound:
    """Carries the core's actions out: by the sockets here, or by the holder."""

    def __init__(
        self,
        edge: str,
        core: Core,
        post: Callable[[CoreEvent], None],
        sockets: Sockets,
        link: WorkerLink,
        inquiries: Inquiries,
        trust: ServerTrust,
        trace: Trace,
    ) -> None:
        self._edge = edge
        self._core = core
        self._post = post
        self._sockets = sockets
        self._link = link
        self._inquiries = inquiries
        self._trust = trust
        self._trace = trace

    def carry_out(self, action: Action) -> None:
        match action:
            case Send():
                self.send(action)
            case EndStream(flow, after):
                self._sockets.end_later(flow, after)
            case Ask():
                self._inquiries.ask(action)
            case Resolve():
                self._inquiries.resolve(action)
            case Relay(owner, flow, data, boot) if owner == self._edge:
                self._link.send(ForOwner(boot, flow, data))
            case WriteReport(report, ref):
                self._link.send(ForJournal(report.model_dump_json().encode(), ref))
            case Trust(ca):
                self._trust.learn(ca)
                self._link.send(Carry(apart(action)))  # peers may have to send there
            case _:
                self._link.send(Carry(apart(action)))

    def send(self, action: Send) -> None:
        flow, data, ref, until = action
        stack = self._core.stack
        if until and time.monotonic() >= until:
            stack.counters["too_late"] += 1
        elif flow.address in stack.fleet.epochs and (not flow.reliable or stack.partition.has(flow)):
            if self._trace.wanted:
                self._trace.message("out", flow, data)
            sent = not stack.bindings.retired(flow) and self._sockets.send(flow, data, until)
            if not sent and ref:
                self._failed(ref)
        else:
            self._link.send(Carry(apart(action)))

    def _failed(self, ref: str) -> None:
        """Of a transaction here, or of another process's."""
        if self._core.stack.transactions.owns(ref):
            self._post(SendFailed(ref))
        else:
            self._link.send(Carry(apart(SendFailed(ref))))


class Worker:
    """The parts, made of the holder's first frame, and what its others do."""

    def __init__(self, begin: Begin, link: WorkerLink) -> None:
        config = begin.config
        self._sockets_to_adopt = begin.sockets
        self._link = link
        self._static_seconds = config.static_hours * 3600
        core = self._core = Core(
            config.id,
            begin.boot,
            RandomIds(),
            config.keepalive_interval,
            config.digest_algorithms,
            static_seconds=self._static_seconds,
            ports=config.ports,
            names=config.own_names,
            no_nat_networks=config.no_nat_networks,
            partition=begin.partition,
        )
        self._reports = _Reports()
        self._loop = loop = Loop(core, self._reports)
        self._bans, self._trace, waiting = Bans(), Trace(config.id), Waiting()
        crowding = Crowding(lambda: self._sockets.waiting())
        self._inbound = Inbound(loop.post, core.stack, self._bans, self._trace, waiting, core.keeps, crowding)
        self._control = ControlClient(
            Identity.load(config.id, config.key_file),
            config.control,
            config.control_auth,
            core.stack.counters,
            config.workers,
        )
        self._tickets = session_tickets.usable() if config.secure else None
        certificates = Certificates(self._tickets.use_in) if self._tickets is not None else Certificates()
        self._watch = CertificateWatch(config.certificates, certificates, core.stack.counters)
        origins = Origins(config.origins, config.own_names, lambda: core.stack.fleet)
        trust = ServerTrust(config.provider_ca)
        self._sockets = Sockets(
            Handing(self._inbound, core.stack, self._hand),
            Notes(core.stack.counters).note,
            certificates=certificates,
            welcome=origins.welcome,
            server_trust=trust,
            partition=begin.partition,
        )
        resolver = Resolver(config.nameservers, config.provider_networks)
        self._informed: Informed | None = None
        self._locator = ProviderLocator(
            resolver, lambda: self._informed.news.provider_hosts if self._informed is not None else [], loop.post
        )
        self._inquiries = Inquiries(loop.post, self._control, resolver)
        self._outbound = WorkerOutbound(
            config.id, core, loop.post, self._sockets, link, self._inquiries, trust, self._trace
        )
        self._pauses = Pauses()
        self._lines: asyncio.Task[None] | None = None

    def _hand(self, process: int, flow: Flow, data: bytes) -> bool:
        self._link.send(Handed(process, flow, data))
        return True

    async def run(self) -> None:
        """Until it is cancelled."""
        self._watch.load()
        self._loop.start(self._outbound.carry_out)
        for listener, number in self._sockets_to_adopt:
            await self._sockets.adopt(listener, socket.socket(fileno=number))
        GarbageLooks(self._pauses.look.note).start()
        self._pauses.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._locator.run())
            group.create_task(self._watch.run())
            group.create_task(self._tell())

    async def end(self, wanted: bool) -> None:
        """Let go of its sockets. If that is ``wanted``, its streams end before, so that the other side learns of it;
        else the holder is gone, and the next one waits for the ports."""
        if wanted:
            await self._sockets.end()
        self._sockets.close()

    def take(self, frame: Any) -> None:
        """What the holder says."""
        match frame:
            case Handle(event):
                self._handle(whole(event))
            case Handed(_, flow, data):
                self._core.stack.counters["handed_over"] += 1
                self._inbound.deliver(flow, data)
            case Informed():
                self._follow(frame)
            case Remember(records, routes, bindings):
                self._remember(records, routes, bindings)
            case Recording(possible):
                self._reports.possible = possible
            case Query(ref, what, about):
                self._link.send(QueryAnswer(ref, what, answer_of(self._core, what, about)))
            case TellKept():
                self._keep()
            case Watch(wanted):
                self._watch_trace(wanted)

    def _handle(self, event: Any) -> None:
        match event:
            case Send():
                self._outbound.send(event)
            case BindingsChanged(changes):
                streams = (Flow(*change.flow) for change in changes if change.flow[5])
                here = frozenset(flow for flow in streams if self._sockets.has(flow))
                self._loop.post(BindingsChanged(changes, here))
            case _:
                self._loop.post(event)

    def _follow(self, informed: Informed) -> None:
        news, served, bans = self._informed = informed
        if bans is not None:
            self._bans.replace(bans)
        keys, use = ticket_keys(news.reply)
        if self._tickets is not None and keys:
            self._tickets.replace(keys, use)
        self._loop.post(FleetChanged(snapshot(news, served, frozenset(), {})))
        self._locator.look()

    def _remember(self, records: list[tuple[str, bytes]], routes: list[tuple[str, bytes]], bindings: bool) -> None:
        accounts = []
        for aor, data in records:
            try:
                accounts.append((aor, read_account(data)))
            except ValueError:
                self._core.stack.counters["unreadable_records"] += 1
        kept = []
        for name, data in routes:
            try:
                kept.append((route_key(name), read_route(data)))
            except ValueError:
                self._core.stack.counters["unreadable_records"] += 1
        self._loop.post(Remembered(accounts, kept, bindings))

    async def _tell(self) -> None:
        """How it goes."""
        core = self._core
        while True:
            await asyncio.sleep(_EVERY)
            sizes = {**core.gauges(), **self._sockets.sizes()}
            self._link.send(State(dict(core.stack.counters), sizes, core.unanswered, self._pauses.seconds()))

    def _keep(self) -> None:
        core, now = self._core, time.monotonic()
        records = [(aor, write_account(one)) for aor, one in core.disk_records.take_changed(_ALL, now)]
        routes = [(route_name(key), write_route(route)) for key, route in core.kept_routes.take_changed(_ALL)]
        self._link.send(ForDisk(records, routes))

    def _watch_trace(self, wanted: bool) -> None:
        if wanted and self._lines is None:
            self._lines = asyncio.get_running_loop().create_task(self._trace_lines())
        elif not wanted and self._lines is not None:
            self._lines.cancel()
            self._lines = None

    async def _trace_lines(self) -> None:
        queue = self._trace.watch()
        try:
            while True:
                self._link.send(Line(await queue.get()))
        finally:
            self._trace.unwatch(queue)


async def _main(number: int) -> None:
    """Serve until the holder ends, or says so."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    begun: asyncio.Future[Worker] = loop.create_future()
    wanted = False

    def take(frame: Any) -> None:
        if isinstance(frame, Begin):
            begun.set_result(Worker(frame, link))
        elif isinstance(frame, EndWorker):
            nonlocal wanted
            wanted = True
            over.set()
        else:
            begun.result().take(frame)

    link = WorkerLink(take, over.set)
    await loop.create_connection(lambda: link, sock=socket.socket(fileno=number))
    ended: asyncio.Future[Any] = loop.create_task(over.wait())
    await asyncio.wait([ended, begun], return_when=asyncio.FIRST_COMPLETED)
    if begun.done():
        worker = begun.result()
        working: asyncio.Future[Any] = loop.create_task(worker.run())
        await asyncio.wait([ended, working], return_when=asyncio.FIRST_COMPLETED)
        await worker.end(wanted)
        if working.done():
            working.result()  # it never ends but by an error


def main() -> int:
    number, holder = int(sys.argv[1]), int(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the holder says when it is over
    logging.getLogger("websockets").setLevel(logging.WARNING)
    take_large_buffers_from_the_system()
    if os.getppid() != holder:
        return 1
    uvloop.run(_main(number))
    return 0


if __name__ == "__main__":
    sys.exit(main())
