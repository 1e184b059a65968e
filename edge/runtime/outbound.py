"""The core's actions: to the sockets, the mesh, the journal, the resolver and the control plane."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial

from edge.control.client import ControlClient
from edge.control.journal import Journal
from edge.mesh.frames import SessionRefreshed, TransactionKeys
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.proxy.stack.call_counts import ScopeUse
from edge.proxy.stack.events import (
    Action,
    Ask,
    CoreEvent,
    CountCalls,
    Decided,
    EndStream,
    Entrust,
    Find,
    OrderMedia,
    Relay,
    Resolve,
    Resolved,
    Send,
    SendFailed,
    TellAwake,
    TellClosed,
    TellOver,
    TellRefreshed,
    TellSummary,
    Trust,
    WriteReport,
    Written,
)
from edge.runtime.addresses import AddressMover
from edge.runtime.follower import Follower
from edge.runtime.media import Media
from edge.runtime.peer_search import PeerSearch, write_phones
from edge.runtime.trace import Trace
from edge.sip.flow import Flow
from edge.transport.resolver import Resolver
from edge.transport.server_trust import ServerTrust
from edge.transport.sockets import Sockets
from lambdas.contract import Question, Server, Target

log = logging.getLogger(__name__)


_MOST_WAITING = 1000  # packets


class Outbound:
    """Carries actions out; what comes of them is posted.

    An address that is on its way here can be sent from by nobody: whoever held it has heard that it is ours, and its
    packets don't arrive here yet. What is to be sent from it waits for that moment; a call to one of its phones would
    fail otherwise.
    """

    def __init__(
        self,
        core: Core,
        post: Callable[[CoreEvent], None],
        addresses: AddressMover,
        follower: Follower,
        sockets: Sockets,
        mesh: Mesh,
        control: ControlClient,
        resolver: Resolver,
        server_trust: ServerTrust,
        journal: Journal,
        phones: PeerSearch[list[Target]],
        uses: PeerSearch[list[ScopeUse]],
        media: Media,
        trace: Trace,
    ) -> None:
        self._core = core
        self._post = post
        self._addresses = addresses
        self._follower = follower
        self._sockets = sockets
        self._mesh = mesh
        self._control = control
        self._resolver = resolver
        self._trust = server_trust
        self._journal = journal
        self._phones = phones
        self._uses = uses
        self._media = media
        self._trace = trace
        self._asking: set[asyncio.Task[None]] = set()
        self._waiting: dict[tuple[Flow, bytes], Send] = {}  # a request that is sent again waits once

    def carry_out(self, action: Action) -> None:
        match action:
            case Send(flow, data, ref, until):
                if until and time.monotonic() >= until:
                    self._core.stack.counters["too_late"] += 1
                else:
                    self.send(flow, data, ref, until)
            case EndStream(flow, after):
                self._sockets.end_later(flow, after)
            case Ask(ask, question, known):
                self._later(self._ask(ask, question, known))
            case Resolve(ref, server, ipv6):
                self._later(self._resolve(ref, server, ipv6))
            case Trust(ca):
                self._trust.learn(ca)
            case Relay(owner, flow, data):
                if self._trace.wanted:
                    self._trace.crossing(owner, flow, data)
                if not self._mesh.pass_on(owner, flow, data):
                    self._core.stack.counters["ownerless_responses"] += 1
            case WriteReport(report, ref):
                data = report.model_dump_json().encode()
                self._journal.add(data, partial(self._post, Written(ref)) if ref else None)
            case Find(ask, aor, tenant):
                self._phones.ask(ask, self._mesh.find(ask, aor, tenant))
            case CountCalls(ask, scopes):
                self._uses.ask(ask, self._mesh.count(ask, scopes))
            case OrderMedia():
                self._media.carry_out(action)
            case _:
                self._tell(action)

    def _tell(self, action: Action) -> None:
        """What only peers hear of."""
        match action:
            case TellOver(call):
                self._mesh.tell_over(call)
            case TellRefreshed():
                self._mesh.tell_refreshed(SessionRefreshed(*action))
            case TellSummary(aor, tenant, summary):
                self._mesh.tell_summary(aor, tenant, summary)
            case TellAwake(phone):
                self._mesh.tell_awake(write_phones([phone]))
            case TellClosed(flow, aors):
                self._mesh.tell_closed(flow, aors)
            case Entrust(to, address, keys):
                self._mesh.tell(to, TransactionKeys(address, keys))

    def send(self, flow: Flow, data: bytes, ref: str = "", until: float = 0.0) -> None:
        """From here, or by the edge that holds the flow's address. A failure is posted, unless ``ref`` is ""."""
        fleet = self._core.stack.fleet
        if self._addresses.over(flow.address) or (flow.address in fleet.arriving and flow.connection):
            sent = False  # connections don't come along with an address
        elif flow.address in fleet.arriving and len(self._waiting) < _MOST_WAITING:
            self._wait(Send(flow, data, ref, until))
            return
        elif flow.address not in fleet.epochs and flow.address in fleet.addresses:
            if self._trace.wanted:
                self._trace.crossing("", flow, data)
            can = not flow.server or fleet.knows_servers
            sent = can and self._mesh.send(flow, data, ref, self._trust.pem(flow.server))
        else:
            if self._trace.wanted:
                self._trace.message("out", flow, data)
            sent = not self._core.stack.bindings.retired(flow) and self._sockets.send(flow, data, until)
        if not sent and ref:
            self._post(SendFailed(ref))

    def _wait(self, send: Send) -> None:
        if not self._waiting:
            self._follower.next_change().add_done_callback(self._try_again)
        self._waiting[send.flow, send.data] = send

    def _try_again(self, _: asyncio.Future[None]) -> None:
        """Some address has come, or isn't on its way any more; what it isn't the one of waits on."""
        waiting, self._waiting = self._waiting, {}
        for send in waiting.values():
            asyncio.get_running_loop().call_soon(self.carry_out, send)  # a fault in one is not the others'

    # What takes its time

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _resolve(self, ref: str, server: Server, ipv6: bool) -> None:
        try:
            addresses, fault = await self._resolver.resolve(
                server.host, server.port, server.transport, server.by_dns, ipv6
            )
        except Exception as error:
            log.exception("resolving %s failed", server.host)
            addresses, fault = [], type(error).__name__
        self._post(Resolved(ref, addresses, fault))

    async def _ask(self, ask: str, question: Question, known: bool) -> None:
        decision = None
        try:
            decision = await self._control.ask(question, known)
        except Exception:
            log.exception("asking failed")  # the phone is answered all the same
        self._post(Decided(ask, decision))

    async def settle(self, seconds: float) -> None:
        """Wait until what has been asked is answered, ``seconds`` at most."""
        if self._asking:
            await asyncio.wait(set(self._asking), timeout=seconds)

    async def close(self) -> None:
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
