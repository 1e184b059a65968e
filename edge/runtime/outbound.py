"""The core's actions: to the sockets, the mesh, the journal, the resolver and the control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from edge.control.journal import Journal
from edge.mesh.frames import SessionRefreshed, TransactionKeys
from edge.mesh.peers import Mesh
from edge.proxy.core import Core
from edge.proxy.stack.events import (
    Action,
    Ask,
    CoreEvent,
    CountCalls,
    EndStream,
    Entrust,
    Find,
    OrderMedia,
    Relay,
    Resolve,
    Send,
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
from edge.runtime.inquiries import Inquiries
from edge.runtime.media import Media
from edge.runtime.peer_search import write_phones
from edge.runtime.trace import Trace
from edge.runtime.workers import Workers
from edge.sip.flow import Flow
from edge.transport.server_trust import ServerTrust
from edge.transport.sockets import Sockets

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
        inquiries: Inquiries,
        server_trust: ServerTrust,
        journal: Journal,
        workers: Workers,
        media: Media,
        trace: Trace,
    ) -> None:
        self._core = core
        self._post = post
        self._addresses = addresses
        self._follower = follower
        self._sockets = sockets
        self._mesh = mesh
        self._inquiries = inquiries
        self._trust = server_trust
        self._journal = journal
        self._workers = workers
        self._media = media
        self._trace = trace
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
            case Ask():
                self._inquiries.ask(action)
            case Resolve():
                self._inquiries.resolve(action)
            case Trust(ca):
                self._trust.learn(ca)
            case Relay(owner, flow, data, boot):
                if self._trace.wanted:
                    self._trace.crossing(owner, flow, data)
                if not (self._workers.hand_to_owner(boot, flow, data) or self._mesh.pass_on(owner, flow, data)):
                    self._core.stack.counters["ownerless_responses"] += 1
            case WriteReport(report, ref):
                data = report.model_dump_json().encode()
                self._journal.add(data, partial(self._post, Written(ref)) if ref else None)
            case Find(ask, aor, tenant):
                asked = self._mesh.find(ask, aor, tenant) + self._workers.search(ask, "phones", (aor, tenant))
                self._workers.phones.ask(ask, asked)
            case CountCalls(ask, scopes):
                about = scopes, time.monotonic()
                asked = self._mesh.count(ask, scopes) + self._workers.search(ask, "uses", about)
                self._workers.uses.ask(ask, asked)
            case OrderMedia():
                self._media.carry_out(action)
            case Entrust(to, address, keys):
                self._mesh.tell(to, TransactionKeys(address, keys))
            case _:
                self._workers.told_here(action)
                self.tell_peers(action)

    def tell_peers(self, action: Action) -> None:
        """What other edges hear of."""
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
        elif flow.reliable and not self._core.stack.partition.has(flow):
            sent = self._workers.send(Send(flow, data, ref, until))
        else:
            if self._trace.wanted:
                self._trace.message("out", flow, data)
            sent = not self._core.stack.bindings.retired(flow) and self._sockets.send(flow, data, until)
        if not sent and ref:
            self._workers.failed(ref)

    def _wait(self, send: Send) -> None:
        if not self._waiting:
            self._follower.next_change().add_done_callback(self._try_again)
        self._waiting[send.flow, send.data] = send

    def _try_again(self, _: asyncio.Future[None]) -> None:
        """Some address has come, or isn't on its way any more; what it isn't the one of waits on."""
        waiting, self._waiting = self._waiting, {}
        for send in waiting.values():
            asyncio.get_running_loop().call_soon(self.carry_out, send)  # a fault in one is not the others'
