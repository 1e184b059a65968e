"""The loop: input to the core, the core's actions to sockets, mesh and control plane. It alone knows clock, timers and
randomness."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial

from edge.control.client import ControlClient
from edge.control.heartbeat import News
from edge.control.journal import Journal as JournalFile
from edge.mesh.frames import Keys, Offer
from edge.mesh.peers import Mesh, Peer
from edge.proxy.core import Core
from edge.proxy.stack.events import (
    Action,
    Ask,
    BindingsChanged,
    Decided,
    Entrust,
    Entrusted,
    Event,
    Fed,
    Find,
    FleetChanged,
    FlowClosed,
    Found,
    HangUp,
    Journal,
    Leaving,
    ProvidersAssigned,
    Received,
    Relay,
    Remembered,
    Resolve,
    Resolved,
    Send,
    SendFailed,
    Tick,
    Written,
)
from edge.runtime.addresses import Addresses
from edge.runtime.bans import Bans
from edge.runtime.peer_search import Finding, write
from edge.runtime.provider_accounts import Registrations
from edge.runtime.snapshot import snapshot
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.sip.flow import Flow
from edge.transport.resolver import Resolver
from edge.transport.sockets import Sockets
from lambdas.contract import Question, Server

log = logging.getLogger(__name__)

_LAST_QUESTIONS = 1.0  # seconds for what has been asked to be answered, before an address is offered
_PATIENCE = 2.0  # seconds that messages wait for another edge to take their address


class RandomIds:
    """Identifiers from the operating system's randomness."""

    def token(self) -> str:
        return os.urandom(9).hex()

    def salt(self) -> bytes:
        return os.urandom(4)


class Runtime:
    """Receives from sockets, mesh and heartbeat; carries out what the core says."""

    def __init__(self, core: Core, control: ControlClient, journal: JournalFile, trace: Trace) -> None:
        self._core = core
        self._control = control
        self._journal = journal
        self._trace = trace
        self._addresses: Addresses
        self._sockets: Sockets
        self._mesh: Mesh
        self._registrations: Registrations
        self._resolver: Resolver
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._asking: set[asyncio.Task[None]] = set()
        self.last_news: News | None = None
        self._finding = Finding(lambda ref, targets: self._do(Found(ref, targets)))
        self._declined: dict[str, asyncio.Future[str]] = {}
        self.nudge: Callable[[], None] = lambda: None
        self._waiting = Waiting()
        self._bans = Bans()
        self.ready = asyncio.Event()
        self.loaded = False

    def connect(
        self, sockets: Sockets, mesh: Mesh, addresses: Addresses, registrations: Registrations, resolver: Resolver
    ) -> None:
        """They want the runtime first, and it wants them."""
        self._registrations = registrations
        self._resolver = resolver
        self._sockets = sockets
        self._mesh = mesh
        self._addresses = addresses
        addresses.changed = self.addresses_changed
        addresses.gained = mesh.announce

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    # From the sockets

    def message(self, flow: Flow, data: bytes) -> None:
        if self._bans and flow.host in self._bans:
            self._core.counters["banned"] += 1
            return
        if self._trace.wanted:
            self._trace.message("in", flow, data)
        self._receive(flow, data)

    def _receive(self, flow: Flow, data: bytes) -> None:
        if not self._waiting.keep(flow, data):
            self._do(Received(flow, data))

    def closed(self, flow: Flow) -> None:
        self._do(FlowClosed(flow))

    def unreadable(self, flow: Flow) -> None:
        self._core.counters["malformed"] += 1

    # From the mesh

    def send_for_peer(self, flow: Flow, epoch: int, data: bytes) -> bool:
        fleet = self._core.fleet
        held = fleet.epochs.get(flow.address) if fleet else None
        # A higher epoch than ours means that the address was taken over, and we haven't heard.
        if held is None or epoch > held or self._addresses.over(flow.address) or self._core.bindings.retired(flow):
            return False
        self._core.counters["sent_for_peers"] += 1
        if self._trace.wanted:
            self._trace.message("out", flow, data)
        return self._sockets.send(flow, data)

    def message_from_peer(self, flow: Flow, data: bytes) -> None:
        self._core.counters["received_by_peers"] += 1
        self._receive(flow, data)

    def not_sent(self, ref: str) -> None:
        self._do(SendFailed(ref))

    def find_for_peer(self, aor: str, tenant: str) -> bytes:
        return write(self._core.router.find(aor, tenant))

    def found_by_peer(self, ref: str, data: bytes) -> None:
        self._finding.answered(ref, data)

    def announced(self, edge: str, address: str, epoch: int) -> None:
        self._addresses.follow(self._addresses.holdings.announced(edge, address, epoch))

    def offered(self, edge: str, address: str, epoch: int, consent: str) -> str:
        why = self._addresses.holdings.offered(address, epoch, consent, time.monotonic())
        if not why:
            log.info("edge %s hands %s over", edge, address)
            self.nudge()
        return why

    def declined(self, address: str, why: str) -> None:
        future = self._declined.get(address)
        if future is not None and not future.done():
            future.set_result(why)

    def keys_of_peer(self, edge: str, keys: list[tuple[str, ...]]) -> None:
        self._do(Entrusted(edge, keys))

    def links_changed(self) -> None:
        self.nudge()

    # From the heartbeat

    def news(self, news: News) -> None:
        reply = news.reply
        self.last_news = news
        self._mesh.update(
            Peer(
                edge.id, edge.mesh, edge.certificate, tuple((held.address, held.epoch) for held in edge.held), edge.boot
            )
            for edge in reply.fleet
        )
        if reply.bans is not None:
            self._bans.replace(reply.bans)
        self.addresses_changed()
        if reply.feed_changes or reply.revalidate:
            self._do(Fed(reply.feed_changes, reply.revalidate))
            self._registrations.fed(reply.feed_changes, reply.revalidate)
        if reply.changes:
            self._do(BindingsChanged(reply.changes))
        if reply.hang_ups or self._core.hanging_up:
            self._do(HangUp(reply.hang_ups))
        if not reply.more:
            self.loaded = True
            self._maybe_ready()

    def addresses_changed(self) -> None:
        """Other addresses are served here, or the control plane has told something new."""
        if self.last_news is None:
            return
        now = time.monotonic()
        served = self._addresses.served(now)
        arriving = self._waiting.arriving = self._addresses.holdings.held() - served.keys()
        self._do(FleetChanged(snapshot(self.last_news, served, arriving, self._addresses.holdings.exclusive())))
        self._registrations.served_changed()
        for flow, data in self._waiting.due():
            self._receive(flow, data)
        self._maybe_ready()

    def _maybe_ready(self) -> None:
        fleet = self._core.fleet
        if fleet is None or not fleet.epochs:
            self.ready.clear()
        elif self.loaded:
            self.ready.set()

    def recall(self, news: News, records: list[tuple[str, bytes]], routes: list[tuple[str, bytes]]) -> None:
        """Start with what was kept on disk: the control plane is out of reach."""
        self.news(news)
        self._addresses.follow(
            self._addresses.holdings.resume({held.address: held.epoch for held in news.reply.held}, time.monotonic())
        )
        self.addresses_changed()  # the core keeps bindings only of addresses that are here, or on their way
        self.remember(records, routes, bindings=True)

    def remember(self, records: list[tuple[str, bytes]], routes: list[tuple[str, bytes]], bindings: bool) -> None:
        """Take back the grants, routes, and perhaps the bindings, that were kept on disk."""
        self._do(Remembered(records, routes, bindings))

    # Handing an address over

    async def hand_over(self, address: str, to: str, consent: str, seconds: float) -> str:
        """Have edge ``to`` take ``address``; why it didn't, "" if it did."""
        future = self._declined[address] = self._loop.create_future()
        epoch = self._addresses.holdings.epoch(address)
        self._sockets.stop_accepting(address)
        self._waiting.leaving.add(address)
        begun = self._loop.time()
        try:
            if self._asking:
                await asyncio.wait(set(self._asking), timeout=_LAST_QUESTIONS)
            if not self._mesh.tell(to, Offer(address, epoch, consent)):
                return f"there is no link to edge {to}"
            self._do(Leaving(address, to))
            while self._loop.time() < begun + seconds:
                await asyncio.wait([future], timeout=0.02)
                if future.done():
                    return f"edge {to} can't take {address}: {future.result()}"
                if self._addresses.holdings.epoch(address) != epoch:
                    self._stop_waiting(address, to)
                    return ""
                if self._loop.time() > begun + _PATIENCE:
                    self._stop_waiting(address)
            return f"edge {to} hasn't taken {address} within {seconds:.0f} s"
        finally:
            self._stop_waiting(address)
            if self._addresses.holdings.epoch(address) == epoch:
                self._addresses.reopen(address)
            del self._declined[address]
            self._do(Leaving(address, ""))

    def _stop_waiting(self, address: str, to: str = "") -> None:
        """What came meanwhile is for edge ``to``, or for this one."""
        self._waiting.leaving.discard(address)
        for flow, data in self._waiting.due():
            if not (to and flow.address == address and self._mesh.pass_on(to, flow, data)):
                self._receive(flow, data)

    # The core's actions

    def _do(self, event: Event) -> None:
        """Handle ``event``, and the failures that its actions cause, in order."""
        events = self._events
        events.append(event)
        if self._busy:
            return
        self._busy = True
        self._core.recording = self._journal.possible
        try:
            while events:
                now = time.monotonic()
                try:
                    actions = self._core.handle(events.popleft(), now)
                except Exception:
                    # One message's trouble must not become everybody's. What it had to say already still goes out.
                    self._core.counters["errors"] += 1
                    log.exception("a fault in the core")
                    actions = self._core.take_actions()
                for action in actions:
                    try:
                        self._carry_out(action)
                    except Exception:
                        self._core.counters["errors"] += 1
                        log.exception("a fault in carrying out %s", type(action).__name__)
        finally:
            self._busy = False
        self._arm()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Send(flow, data, ref, until):
                if until and time.monotonic() >= until:
                    self._core.counters["too_late"] += 1
                else:
                    self._send(flow, data, ref, until)
            case Ask(ask, question):
                self._later(self._ask(ask, question))
            case Resolve(ref, server):
                self._later(self._resolve(ref, server))
            case Relay(owner, flow, data):
                if self._trace.wanted:
                    self._trace.crossing(owner, flow, data)
                if not self._mesh.pass_on(owner, flow, data):
                    self._core.counters["ownerless_responses"] += 1
            case Journal(report, ref):
                data = report.model_dump_json().encode()
                self._journal.add(data, partial(self._do, Written(ref)) if ref else None)
            case Find(ask, aor, tenant):
                self._finding.ask(self._mesh, ask, aor, tenant)
            case Entrust(to, address, keys):
                self._mesh.tell(to, Keys(address, keys))

    def _send(self, flow: Flow, data: bytes, ref: str, until: float) -> None:
        fleet = self._core.fleet
        if self._addresses.over(flow.address):
            sent = False
        elif fleet is not None and flow.address not in fleet.epochs and flow.address in fleet.addresses:
            if self._trace.wanted:
                self._trace.crossing("", flow, data)
            sent = self._mesh.send(flow, data, ref)
        else:
            if self._trace.wanted:
                self._trace.message("out", flow, data)
            sent = not self._core.bindings.retired(flow) and self._sockets.send(flow, data, until)
        if not sent and ref:
            self._events.append(SendFailed(ref))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _resolve(self, ref: str, server: Server) -> None:
        try:
            addresses, fault = await self._resolver.resolve(server.host, server.port, server.transport)
        except Exception as error:
            log.exception("resolving %s failed", server.host)
            addresses, fault = [], type(error).__name__
        self._do(Resolved(ref, addresses, fault))

    def providers_assigned(self, event: ProvidersAssigned) -> None:
        self._do(event)

    async def _ask(self, ask: str, question: Question) -> None:
        decision = None
        try:
            decision = await self._control.ask(question)
        except Exception:
            log.exception("asking failed")  # the phone is answered all the same
        self._do(Decided(ask, decision))

    def _arm(self) -> None:
        deadline = self._core.deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(Tick())
