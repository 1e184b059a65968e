"""The mesh: a link to every other edge of the fleet list, made anew whenever it breaks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Protocol

from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from edge.mesh.frames import (
    Announce,
    CallOver,
    CountUse,
    Decline,
    EndOfStreams,
    FindPhones,
    Frame,
    MediaAnswered,
    MediaAsked,
    NotSent,
    Offer,
    PhoneAwake,
    PhonesFound,
    ReceivedFor,
    SendOn,
    SessionCopied,
    SessionRefreshed,
    SessionsLeft,
    SessionsTold,
    SessionsWanted,
    StreamClosed,
    SummaryChanged,
    TransactionKeys,
    TrustCa,
    UseCounted,
)
from edge.mesh.gate import Gate, Note
from edge.mesh.link import HANDSHAKE, ClientLink, ServerLink, client_configuration, server_configuration
from edge.mesh.outbox import Outbox
from edge.sip.flow import Flow

log = logging.getLogger(__name__)

_RETRY = 0.5  # seconds between attempts to reach a peer


@dataclass(frozen=True, slots=True)
class Peer:
    """An edge of the fleet list: ``mesh`` is ``host:port``, ``certificate`` base64 DER, ``held`` address to epoch,
    ``region`` the Region that it was heard in."""

    id: str
    mesh: str
    certificate: str
    held: tuple[tuple[str, int], ...]
    boot: str = ""
    region: str = ""


class MeshUser(Protocol):
    """Who gets what comes over the mesh."""

    def send_for_peer(self, flow: Flow, epoch: int, data: bytes, lost: Callable[[], None]) -> None:
        """Send on a flow held here; ``lost`` is called if it can't be."""

    def trust_for_peer(self, ca: str) -> None:
        """What it sends next may be for a server whose certificate is signed by ``ca`` (PEM)."""

    def message_from_peer(self, flow: Flow, data: bytes) -> None: ...

    def not_sent(self, ref: str) -> None: ...

    def find_for_peer(self, aor: str, tenant: str, answer: Callable[[bytes], None]) -> None:
        """Where an AOR is at this edge; ``answer`` takes what the peer gets as ``found_by_peer``."""

    def found_by_peer(self, ref: str, data: bytes) -> None: ...

    def count_for_peer(self, scopes: list[str], answer: Callable[[bytes], None]) -> None:
        """What is used of limits as this edge knows; ``answer`` takes what the peer gets as ``counted_by_peer``."""

    def counted_by_peer(self, ref: str, data: bytes) -> None: ...

    def over_at_peer(self, call: str) -> None:
        """A peer has seen an answered call's end."""

    def refreshed_at_peer(self, call: SessionRefreshed) -> None:
        """A session was refreshed there, whose caller may be here."""

    def awake_at_peer(self, data: bytes) -> None:
        """A phone that may sleep has registered there."""

    def summary_at_peer(self, aor: str, tenant: str, summary: str) -> None:
        """A peer has been told what waits for an account."""

    def closed_at_peer(self, flow: Flow, aors: tuple[str, ...]) -> None:
        """A connection there has ended."""

    def streams_end_at_peer(self, address: str) -> None:
        """All connections of an address are about to."""

    def announced(self, edge: str, address: str, epoch: int) -> None:
        """A peer says that an address is now its own."""

    def offered(self, edge: str, address: str, epoch: int, consent: str) -> str:
        """A peer hands an address over; why it can't be taken, "" if it will be."""

    def declined(self, address: str, why: str) -> None: ...

    def keys_of_peer(self, edge: str, keys: list[tuple[str, ...]]) -> None: ...

    def session_copied(self, frame: SessionCopied) -> None:
        """A peer tells of a media session of an address that it holds, or was asked for."""

    def sessions_left(self, address: str) -> None:
        """A peer tells others of an address's from now on."""

    def sessions_wanted(self, address: str) -> Iterable[SessionCopied | SessionsTold]:
        """What this edge has of an address's, for a peer that has got it."""

    def sessions_told(self, edge: str, frame: SessionsTold) -> None:
        """A peer has answered ``sessions_wanted``."""

    def media_for_peer(self, address: str, data: bytes, answer: Callable[[bytes], None]) -> None:
        """An order for the media engine of an address held here; ``answer`` takes what the peer gets as
        ``media_answered``, within 2 s."""

    def media_answered(self, ref: str, data: bytes) -> None: ...

    def links_changed(self) -> None:
        """A link to a peer has come up or ended."""


class Mesh:
    """Both sides of the mesh at one edge."""

    def __init__(
        self,
        edge: str,
        boot: str,
        key: Ed25519PrivateKey,
        certificate: x509.Certificate,
        note: Note,
        networks: Sequence[str] = (),
    ) -> None:
        """``networks``: from where peers' packets may come besides where the fleet list says that they are."""
        self._edge = edge
        self._boot = boot
        self._key = key
        self._certificate = certificate
        self._note = note
        self._networks = [ip_network(network) for network in networks]
        self._opened: MeshUser | None = None
        self._gate: Gate | None = None
        self._local = ""
        self._peers: dict[str, Peer] = {}
        self._region = ""
        self._hosts: set[str] = set()
        self._holders: dict[str, tuple[str, int]] = {}
        self._links: dict[str, ClientLink] = {}
        self._outbox = Outbox(lambda ref: self._user.not_sent(ref))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._boots: dict[str, str] = {}
        self._reached: dict[str, ServerLink] = {}

    async def open(self, host: str, port: int, user: MeshUser) -> None:
        """Listen for peers, and reach them from now on; ``user`` gets what they say. Raises OSError."""
        self._local = host
        self._opened = user
        link = partial(
            ServerLink,
            certificate=self._certificate.public_bytes(Encoding.DER),
            key_of=self._key_of,
            on_up=self._peer_up,
            on_frame=self._from_client,
            note=self._note,
        )
        configuration = server_configuration(self._certificate, self._key)
        _, self._gate = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Gate(configuration, self._known, link, self._note), local_addr=(host, port)
        )

    def _known(self, host: str) -> bool:
        """Whether a peer's packets come from ``host``. Before the first fleet list nobody's do, but of ``networks``."""
        return host in self._hosts or any(ip_address(host) in network for network in self._networks)

    @property
    def _user(self) -> MeshUser:
        assert self._opened is not None, "peers are only reached once the mesh is open"
        return self._opened

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._gate is not None:
            self._gate.close()

    def update(self, peers: Iterable[Peer]) -> None:
        """The fleet list as it is now; this edge itself may be in it."""
        fleet = {peer.id: peer for peer in peers}
        own = fleet.pop(self._edge, None)
        self._region = own.region if own is not None else self._region
        for peer in fleet.values():
            for address, epoch in peer.held:
                self._note_holder(peer.id, address, epoch)
        for edge, peer in fleet.items():
            known = self._peers.get(edge)
            if known is None or (known.mesh, known.certificate) != (peer.mesh, peer.certificate):
                self._drop(edge)
                self._tasks[edge] = asyncio.get_running_loop().create_task(self._reach(peer))
        for edge in [edge for edge in self._tasks if edge not in fleet]:
            self._drop(edge)
        for edge in [edge for edge in self._reached if edge not in fleet]:
            self._reached.pop(edge).refuse("no longer in the fleet")
        self._peers = fleet
        self._hosts = {peer.mesh.rpartition(":")[0] for peer in fleet.values()}

    def _note_holder(self, edge: str, address: str, epoch: int) -> None:
        """The highest epoch wins: an announcement may be ahead of the fleet list."""
        known = self._holders.get(address)
        if known is None or known[1] <= epoch:
            self._holders[address] = (edge, epoch)

    def announce(self, address: str, epoch: int) -> None:
        """Tell every peer that ``address`` is here now."""
        self._holders.pop(address, None)
        self._tell_all(Announce(address, epoch))

    def tell(self, edge: str, frame: Frame) -> bool:
        """Send a frame to a peer; False if there is no link to it."""
        link = self._link(edge)
        if link is None:
            return False
        link.send(frame)
        return True

    def boot_of(self, edge: str) -> str:
        """The boot of a peer's process that is known to live; "" if none is."""
        peer = self._peers.get(edge)
        return peer.boot if peer is not None else ""

    def _drop(self, edge: str) -> None:
        task = self._tasks.pop(edge, None)
        if task is not None:
            task.cancel()

    def send(self, flow: Flow, data: bytes, ref: str, ca: str = "") -> bool:
        """Have the edge that holds ``flow``'s address send ``data``; False if there is no link to it, nor was one these
        last seconds. A failure there, or of a link that isn't made again, comes back as ``not_sent``. ``ca`` is what
        ``flow.server`` names, if that is known."""
        holder = self._holders.get(flow.address)
        if holder is None:
            return False
        link = self._link(holder[0])
        if link is None:
            return self._outbox.keep(holder[0], flow, data, partial(self.send, flow, data, ref, ca), ref)
        if ca:
            link.send(TrustCa(ca))
        link.send(SendOn(flow, holder[1], ref, data))
        return True

    def pass_on(self, edge: str, flow: Flow, data: bytes) -> bool:
        """Hand a message to the edge whose transaction it belongs to, or that holds its flow's address by now; False if
        there is no link to it, nor was one these last seconds."""
        link = self._link(edge)
        if link is None:
            return self._outbox.keep(edge, flow, data, partial(self.pass_on, edge, flow, data))
        link.send(ReceivedFor(flow, data))
        return True

    def _link(self, edge: str) -> ClientLink | None:
        """The working link to a peer, if there is one."""
        link = self._links.get(edge)
        if link is None or link.up:
            return link
        self._outbox.ended(edge)  # its task hears of it in a moment
        return None

    def find(self, ref: str, aor: str, tenant: str) -> int:
        """Ask every peer where ``aor`` is; how many were asked. Answers come as ``found_by_peer``."""
        links = [link for link in self._links.values() if link.up]
        for link in links:
            link.send(FindPhones(ref, aor, tenant))
        return len(links)

    def count(self, ref: str, scopes: list[str]) -> int:
        """Ask every peer what is used of ``scopes``; how many were asked. Answers come as ``counted_by_peer``."""
        links = [link for link in self._links.values() if link.up]
        for link in links:
            link.send(CountUse(ref, scopes))
        return len(links)

    def ask_media(self, ref: str, address: str, data: bytes) -> bool:
        """Give an order to the media engine of ``address``, at the edge that holds it; False if that can't be reached.
        The answer comes as ``media_answered``."""
        holder = self._holders.get(address)
        link = self._link(holder[0]) if holder is not None else None
        if link is None:
            return False
        link.send(MediaAsked(ref, address, data))
        return True

    def tell_over(self, call: str) -> None:
        """Tell every peer that an answered call has ended."""
        self._tell_all(CallOver(call))

    def tell_refreshed(self, call: SessionRefreshed) -> None:
        """Tell every peer that a session was refreshed here."""
        self._tell_all(call)

    def tell_summary(self, aor: str, tenant: str, summary: str) -> None:
        """Tell every peer what waits for an account."""
        self._tell_all(SummaryChanged(aor, tenant, summary))

    def tell_awake(self, data: bytes) -> None:
        """Tell every peer that a phone that may sleep has registered here."""
        self._tell_all(PhoneAwake(data))

    def tell_closed(self, flow: Flow, aors: tuple[str, ...]) -> None:
        """Tell every peer that a connection here has ended."""
        self._tell_all(StreamClosed(flow, aors))

    def tell_streams_end(self, address: str) -> None:
        """Tell every peer that all connections of an address are about to end."""
        self._tell_all(EndOfStreams(address))

    def _tell_all(self, frame: Frame) -> None:
        for link in self._links.values():
            if link.up:
                link.send(frame)

    def connected(self) -> list[str]:
        """The peers with a working link."""
        return sorted(edge for edge, link in self._links.items() if link.up)

    def near(self) -> set[str]:
        """The peers in this edge's Region, linked or not."""
        return {edge for edge, peer in self._peers.items() if peer.region == self._region}

    def reached_by(self) -> list[str]:
        """The peers whose link to this process works: what they send to our addresses gets here."""
        return sorted(edge for edge, link in self._reached.items() if link.up)

    async def _reach(self, peer: Peer) -> None:
        while True:
            was_up = False
            try:
                was_up = await self._connect(peer)
            except (OSError, ConnectionError, TimeoutError) as error:
                log.debug("mesh: %s is out of reach: %s", peer.id, error)
            await asyncio.sleep(0 if was_up else _RETRY)

    async def _connect(self, peer: Peer) -> bool:
        """Make a link and keep it until it ends; whether it came up at all."""
        host, _, port = peer.mesh.rpartition(":")
        certificate = base64.b64decode(peer.certificate)
        quic = QuicConnection(configuration=client_configuration(peer.id, peer.certificate))
        make = partial(
            ClientLink, quic, self._edge, self._boot, self._key, certificate, partial(self._from_server, peer.id)
        )
        transport, link = await asyncio.get_running_loop().create_datagram_endpoint(make, local_addr=(self._local, 0))
        try:
            link.connect((host, int(port)))
            done, _ = await asyncio.wait([link.welcome, link.ended], timeout=HANDSHAKE, return_when="FIRST_COMPLETED")
            if link.welcome not in done:
                log.debug("mesh: no link to %s: %s", peer.id, link.ended.result() if link.ended.done() else "time-out")
                return False
            self._links[peer.id] = link
            self._outbox.empty()
            log.info("mesh: link to %s", peer.id)
            self._user.links_changed()
            log.warning("mesh: link to %s ended: %s", peer.id, await link.keep())
            return True
        finally:
            if self._links.get(peer.id) is link:
                del self._links[peer.id]
                self._outbox.ended(peer.id)
                self._user.links_changed()
            with contextlib.suppress(Exception):
                link.close()
            transport.close()

    def _key_of(self, edge: str) -> Ed25519PublicKey | None:
        peer = self._peers.get(edge)
        if peer is None:
            return None
        key = x509.load_der_x509_certificate(base64.b64decode(peer.certificate)).public_key()
        return key if isinstance(key, Ed25519PublicKey) else None

    def _peer_up(self, link: ServerLink) -> None:
        """A peer has reached us. If it has started anew, our link to it leads nowhere, long before silence tells."""
        known, self._boots[link.peer] = self._boots.get(link.peer), link.boot
        self._reached[link.peer] = link
        ours = self._links.get(link.peer)
        if known not in (None, link.boot) and ours is not None:
            ours.refuse("the peer has started anew")

    def _from_server(self, edge: str, frame: Frame) -> None:
        if isinstance(frame, NotSent):
            self._user.not_sent(frame.ref)
        elif isinstance(frame, PhonesFound):
            self._user.found_by_peer(frame.ref, frame.data)
        elif isinstance(frame, UseCounted):
            self._user.counted_by_peer(frame.ref, frame.data)
        elif isinstance(frame, MediaAnswered):
            self._user.media_answered(frame.ref, frame.data)
        elif isinstance(frame, Decline):
            self._user.declined(frame.address, frame.why)
        elif isinstance(frame, SessionCopied):
            self._user.session_copied(frame)
        elif isinstance(frame, SessionsTold):
            self._user.sessions_told(edge, frame)

    def _from_client(self, link: ServerLink, frame: Frame) -> None:
        if link.peer not in self._peers:
            link.refuse("no longer in the fleet")
        elif isinstance(frame, SendOn):
            self._user.send_for_peer(frame.flow, frame.epoch, frame.data, partial(_lost, link, frame.ref))
        elif isinstance(frame, FindPhones):
            self._user.find_for_peer(frame.aor, frame.tenant, partial(_answer, link, PhonesFound, frame.ref))
        elif isinstance(frame, CountUse):
            self._user.count_for_peer(frame.scopes, partial(_answer, link, UseCounted, frame.ref))
        elif isinstance(frame, SessionsWanted):
            for told in self._user.sessions_wanted(frame.address):
                link.send(told)
        elif isinstance(frame, MediaAsked):
            self._user.media_for_peer(frame.address, frame.data, partial(_answer, link, MediaAnswered, frame.ref))
        elif isinstance(frame, Offer):
            why = self._user.offered(link.peer, frame.address, frame.epoch, frame.consent)
            if why:
                link.send(Decline(frame.address, why))
        else:
            self._hear(link.peer, frame)

    def _hear(self, peer: str, frame: Frame) -> None:
        """What isn't answered."""
        user = self._user
        if isinstance(frame, ReceivedFor):
            user.message_from_peer(frame.flow, frame.data)
        elif isinstance(frame, TrustCa):
            user.trust_for_peer(frame.ca)
        elif isinstance(frame, CallOver):
            user.over_at_peer(frame.call)
        elif isinstance(frame, SessionRefreshed):
            user.refreshed_at_peer(frame)
        elif isinstance(frame, SummaryChanged):
            user.summary_at_peer(frame.aor, frame.tenant, frame.summary)
        elif isinstance(frame, PhoneAwake):
            user.awake_at_peer(frame.data)
        elif isinstance(frame, StreamClosed):
            user.closed_at_peer(frame.flow, frame.aors)
        elif isinstance(frame, EndOfStreams):
            user.streams_end_at_peer(frame.address)
        elif isinstance(frame, Announce):
            self._note_holder(peer, frame.address, frame.epoch)
            user.announced(peer, frame.address, frame.epoch)
        elif isinstance(frame, TransactionKeys):
            user.keys_of_peer(peer, frame.keys)
        elif isinstance(frame, SessionCopied):
            user.session_copied(frame)
        elif isinstance(frame, SessionsLeft):
            user.sessions_left(frame.address)


def _answer(link: ServerLink, kind: Callable[[str, bytes], Frame], ref: str, data: bytes) -> None:
    if ref and link.up:
        link.send(kind(ref, data))


def _lost(link: ServerLink, ref: str) -> None:
    if ref and link.up:
        link.send(NotSent(ref))
