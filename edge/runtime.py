"""The loop: input to the core, the core's actions to sockets, mesh and control plane. It alone knows clock, timers and
randomness."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import time
from collections import deque

from edge.control.client import ControlClient
from edge.control.heartbeat import News
from edge.mesh.peers import Mesh, Peer
from edge.proxy.core import Core
from edge.proxy.events import (
    Ask,
    BindingsChanged,
    Decided,
    Event,
    FleetChanged,
    FlowClosed,
    Received,
    Relay,
    Send,
    SendFailed,
    Tick,
)
from edge.proxy.fleet import Fleet
from edge.proxy.flow_token import TokenKeys
from edge.sip.flow import Flow
from edge.trace import Trace
from edge.transport.sockets import Sockets
from lambdas.contract import FleetKey, HeartbeatReply, Question

log = logging.getLogger(__name__)


class RandomIds:
    """Identifiers from the operating system's randomness."""

    def token(self) -> str:
        return os.urandom(9).hex()

    def salt(self) -> bytes:
        return os.urandom(4)


class Runtime:
    """Receives from sockets, mesh and heartbeat; carries out what the core says."""

    def __init__(self, core: Core, control: ControlClient, trace: Trace) -> None:
        self._core = core
        self._control = control
        self._trace = trace
        self._sockets: Sockets
        self._mesh: Mesh
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._asking: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()

    def connect(self, sockets: Sockets, mesh: Mesh) -> None:
        """Both want the runtime first, and it wants them."""
        self._sockets = sockets
        self._mesh = mesh

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    # From the sockets

    def message(self, flow: Flow, data: bytes) -> None:
        if self._trace.wanted:
            self._trace.message("in", flow, data)
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
        if held is None or epoch > held or self._core.bindings.retired(flow):
            return False
        self._core.counters["sent_for_peers"] += 1
        if self._trace.wanted:
            self._trace.message("out", flow, data)
        return self._sockets.send(flow, data)

    def response_from_peer(self, flow: Flow, data: bytes) -> None:
        self._core.counters["responses_from_peers"] += 1
        self._do(Received(flow, data))

    def not_sent(self, ref: str) -> None:
        self._do(SendFailed(ref))

    # From the heartbeat

    def news(self, news: News) -> None:
        reply = news.reply
        fleet = _fleet(news, time.time() - time.monotonic())
        self._mesh.update(
            Peer(edge.id, edge.mesh, edge.certificate, tuple((held.address, held.epoch) for held in edge.held))
            for edge in reply.fleet
        )
        self._do(FleetChanged(fleet))
        if reply.changes:
            self._do(BindingsChanged(reply.changes))
        if not reply.held:
            self.ready.clear()
        elif not reply.more:
            self.ready.set()

    # The core's actions

    def _do(self, event: Event) -> None:
        """Handle ``event``, and the failures that its actions cause, in order."""
        events = self._events
        events.append(event)
        if self._busy:
            return
        self._busy = True
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
                    match action:
                        case Send(flow, data, ref):
                            self._send(flow, data, ref)
                        case Ask(ask, question):
                            task = self._loop.create_task(self._ask(ask, question))
                            self._asking.add(task)
                            task.add_done_callback(self._asking.discard)
                        case Relay(owner, flow, data):
                            if self._trace.wanted:
                                self._trace.crossing(owner, flow, data)
                            if not self._mesh.respond(owner, flow, data):
                                self._core.counters["ownerless_responses"] += 1
        finally:
            self._busy = False
        self._arm()

    def _send(self, flow: Flow, data: bytes, ref: str) -> None:
        fleet = self._core.fleet
        if fleet is not None and flow.address not in fleet.epochs and flow.address in fleet.addresses:
            if self._trace.wanted:
                self._trace.crossing("", flow, data)
            sent = self._mesh.send(flow, data, ref)
        else:
            if self._trace.wanted:
                self._trace.message("out", flow, data)
            sent = not self._core.bindings.retired(flow) and self._sockets.send(flow, data)
        if not sent and ref:
            self._events.append(SendFailed(ref))

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


def _fleet(news: News, clock: float) -> Fleet:
    reply: HeartbeatReply = news.reply
    use: FleetKey = next(key for key in reply.keys if key.use)
    return Fleet(
        epochs={held.address: held.epoch for held in reply.held},
        addresses=frozenset(reply.addresses),
        domains=news.domains,
        default_domain=reply.default_domain,
        nonce_keys={key.id: base64.b64decode(key.nonce) for key in reply.keys},
        nonce_key=use.id,
        tokens=TokenKeys({key.id: base64.b64decode(key.token) for key in reply.keys}, use.id),
        clock=clock,
    )
