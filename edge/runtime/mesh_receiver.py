"""What the mesh brings: packets to send for peers, messages for us as their owner, and news of addresses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from edge.control.holdings import Holdings
from edge.mesh.frames import SessionCopied, SessionRefreshed, SessionsTold
from edge.proxy.core import Core
from edge.proxy.stack.events import (
    AwakeThere,
    ClosedThere,
    CoreEvent,
    Entrusted,
    HeldThere,
    OverThere,
    RefreshedThere,
    StreamsEnd,
    SummaryThere,
)
from edge.runtime.addresses import AddressMover
from edge.runtime.inbound import Inbound
from edge.runtime.media import Media
from edge.runtime.media_keeper import MediaKeeper
from edge.runtime.outbound import Outbound
from edge.runtime.peer_search import read_phones, read_uses
from edge.runtime.trace import Trace
from edge.runtime.workers import Workers
from edge.sip.flow import Flow
from edge.transport.server_trust import ServerTrust
from edge.transport.sockets import Sockets

log = logging.getLogger(__name__)


class MeshReceiver:
    """The mesh's MeshUser. ``nudge`` has the next heartbeat leave at once; ``declined`` hears of handovers that a peer
    won't take."""

    def __init__(
        self,
        core: Core,
        post: Callable[[CoreEvent], None],
        inbound: Inbound,
        outbound: Outbound,
        sockets: Sockets,
        server_trust: ServerTrust,
        holdings: Holdings,
        addresses: AddressMover,
        workers: Workers,
        media: Media,
        keeper: MediaKeeper,
        trace: Trace,
        nudge: Callable[[], None],
        declined: Callable[[str, str], None],
    ) -> None:
        self._core = core
        self._post = post
        self._inbound = inbound
        self._outbound = outbound
        self._sockets = sockets
        self._trust = server_trust
        self._holdings = holdings
        self._addresses = addresses
        self._workers = workers
        self._media = media
        self._keeper = keeper
        self._trace = trace
        self._nudge = nudge
        self._declined = declined

    def send_for_peer(self, flow: Flow, epoch: int, data: bytes, lost: Callable[[], None]) -> None:
        if not self._send_for_peer(flow, epoch, data, lost):
            lost()

    def _send_for_peer(self, flow: Flow, epoch: int, data: bytes, lost: Callable[[], None]) -> bool:
        """False if it can't be sent; whether it can on another process's stream that one says."""
        stack = self._core.stack
        arriving = flow.address in stack.fleet.arriving and not flow.connection  # connections don't come along
        if arriving and epoch <= self._holdings.epoch(flow.address):
            self._outbound.send(flow, data)  # it waits for the address
            return True
        held = stack.fleet.epochs.get(flow.address)
        # A higher epoch than ours means that the address was taken over, and we haven't heard.
        if held is None or epoch > held or self._addresses.over(flow.address) or stack.bindings.retired(flow):
            return False
        stack.counters["sent_for_peers"] += 1
        if flow.reliable and not stack.partition.has(flow):
            self._workers.send_for_peer(flow, data, lost)
            return True
        if self._trace.wanted:
            self._trace.message("out", flow, data)
        return self._sockets.send(flow, data)

    def trust_for_peer(self, ca: str) -> None:
        self._trust.learn(ca)

    def message_from_peer(self, flow: Flow, data: bytes) -> None:
        self._core.stack.counters["received_by_peers"] += 1
        self._inbound.deliver(flow, data)

    def not_sent(self, ref: str) -> None:
        self._workers.failed(ref)

    def find_for_peer(self, aor: str, tenant: str, answer: Callable[[bytes], None]) -> None:
        self._workers.gather("phones", (aor, tenant), answer)

    def found_by_peer(self, ref: str, data: bytes) -> None:
        self._workers.phones.answered(ref, read_phones(data))

    def count_for_peer(self, scopes: list[str], answer: Callable[[bytes], None]) -> None:
        self._workers.gather("uses", (scopes, time.monotonic()), answer)

    def counted_by_peer(self, ref: str, data: bytes) -> None:
        self._workers.uses.answered(ref, read_uses(data))

    def over_at_peer(self, call: str) -> None:
        self._post(OverThere(call))

    def refreshed_at_peer(self, call: SessionRefreshed) -> None:
        self._post(RefreshedThere(call.address, call.tenant, call.call, call.started, call.seconds))

    def summary_at_peer(self, aor: str, tenant: str, summary: str) -> None:
        self._post(SummaryThere(aor, tenant, summary))

    def awake_at_peer(self, data: bytes) -> None:
        for phone in read_phones(data):
            self._post(AwakeThere(phone))

    def closed_at_peer(self, flow: Flow, aors: tuple[str, ...]) -> None:
        self._post(ClosedThere(flow, aors))

    def streams_end_at_peer(self, address: str) -> None:
        self._post(StreamsEnd())

    def announced(self, edge: str, address: str, epoch: int) -> None:
        self._addresses.follow(self._holdings.announced(edge, address, epoch))
        self._keeper.announced(address, epoch)
        self._post(HeldThere(address, epoch))

    def offered(self, edge: str, address: str, epoch: int, consent: str) -> str:
        why = self._holdings.offered(address, epoch, consent, time.monotonic())
        if not why:
            log.info("edge %s hands %s over", edge, address)
            self._nudge()
        return why

    def declined(self, address: str, why: str) -> None:
        self._declined(address, why)

    def keys_of_peer(self, edge: str, keys: list[tuple[str, ...]]) -> None:
        self._post(Entrusted(edge, keys))

    def media_for_peer(self, address: str, data: bytes, answer: Callable[[bytes], None]) -> None:
        self._media.for_peer(address, data, answer)

    def media_answered(self, ref: str, data: bytes) -> None:
        self._media.answered_by_peer(ref, data)

    def session_copied(self, frame: SessionCopied) -> None:
        self._keeper.copied(frame)

    def sessions_left(self, address: str) -> None:
        self._keeper.left(address)

    def sessions_wanted(self, address: str) -> Iterable[SessionCopied | SessionsTold]:
        return self._keeper.wanted(address)

    def sessions_told(self, edge: str, frame: SessionsTold) -> None:
        self._keeper.told(edge, frame)

    def links_changed(self) -> None:
        self._keeper.links_changed()
        self._nudge()
