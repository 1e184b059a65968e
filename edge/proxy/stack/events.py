"""What goes into the core (events) and what comes out (actions)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from edge.media.orders import MediaOrder, MediaReply
from edge.providers.host import AccountKept
from edge.proxy.stack.call_counts import ScopeUse
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.provider_places import ProviderAddresses
from edge.proxy.stack.records import AccountRecord, KeptRoute, RouteKey
from edge.sip.flow import Flow
from lambdas.contract import (
    BindingChange,
    Change,
    Decision,
    Grant,
    OpenCall,
    ProviderAccount,
    Question,
    Report,
    Server,
    Target,
)


class Received(NamedTuple):
    """One whole message came in on ``flow``, or crossed the mesh to us as the owner of its branch. ``banned``: nothing
    new is begun from there; ``crowded``: no call is begun by it."""

    flow: Flow
    data: bytes
    banned: bool = False
    crowded: bool = False


class Decided(NamedTuple):
    """The answer to the question ``ask``; None if it failed or took too long."""

    ask: str
    decision: Decision | None


class SendFailed(NamedTuple):
    """What ``Send`` with this ``ref`` was to send, or the connection it went by, is lost."""

    ref: str


class FlowClosed(NamedTuple):
    """The connection has ended, or nobody sends on it any more; ``why`` of one that couldn't be made."""

    flow: Flow
    why: str = ""


class HeldThere(NamedTuple):
    """A peer says that it holds ``address`` now."""

    address: str
    epoch: int


class StreamsEnd(NamedTuple):
    """All connections of an address are about to end, here or at a peer, since another edge is to take it."""


class ClosedThere(NamedTuple):
    """A connection at a peer has ended, on which ``aors`` were registered."""

    flow: Flow
    aors: tuple[str, ...]


class MediaSilent(NamedTuple):
    """In an answered call nothing was heard for ``seconds``, as its media engine says, though something should have
    been."""

    tenant: str
    call: str
    started: int
    seconds: int


class FleetChanged(NamedTuple):
    """A heartbeat brought news."""

    fleet: Fleet


@dataclass(frozen=True, slots=True)
class BindingsChanged:
    """Bindings on our edge addresses as the control plane has them, at the start and after changes made elsewhere.
    Of their streams those of ``streams`` are open."""

    changes: list[BindingChange]
    streams: frozenset[Flow] = frozenset()


@dataclass(frozen=True, slots=True)
class Fed:
    """What the change feed brought. ``revalidate``: some of it is lost, so no grant may be relied on."""

    changes: list[Change]
    revalidate: bool


@dataclass(frozen=True, slots=True)
class HangUp:
    """All calls that are to be ended from edge addresses held here. One that isn't among them any more is over."""

    calls: list[OpenCall]


@dataclass(frozen=True, slots=True)
class Found:
    """Where other edges have the AOR that ``Find`` with the same ``ask`` was about."""

    ask: str
    targets: list[Target]


class MediaDone(NamedTuple):
    """What has become of the ``OrderMedia`` with this ``ref``."""

    ref: str
    reply: MediaReply


@dataclass(frozen=True, slots=True)
class Counted:
    """What other edges know to be used of the scopes that ``CountCalls`` with the same ``ask`` named: one list for each
    edge, in that order."""

    ask: str
    uses: list[list[ScopeUse]]


class RefreshedThere(NamedTuple):
    """A call whose caller is at ``address`` was refreshed at a peer (RFC 4028): it is good for ``seconds`` more, or, if
    these are 0, for as long as it takes."""

    address: str
    tenant: str
    call: str
    started: int
    seconds: int


class SummaryThere(NamedTuple):
    """What waits for ``aor`` of ``tenant`` has changed, as a peer has been told (RFC 3842)."""

    aor: str
    tenant: str
    summary: str


@dataclass(frozen=True, slots=True)
class AwakeThere:
    """A phone that may sleep has registered at a peer."""

    phone: Target


@dataclass(frozen=True, slots=True)
class RegisteredThere:
    """Phones of ``aor`` have registered at another process of this edge: ``bindings`` are its own now, and ``grant`` is
    every process's, None if there is no new one."""

    aor: str
    grant: Grant | None
    bindings: tuple[str, ...]


class OverThere(NamedTuple):
    """An answered call has ended, as a peer has seen."""

    call: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """What this edge kept on its disk when it last ran: (AOR, record) as ``DiskRecords`` made them, and (key, route) as
    ``KeptRoutes`` did, (id, account) as the registration agent did. ``bindings``: these and the providers' accounts
    too, not the grants only."""

    records: list[tuple[str, AccountRecord]]
    routes: list[tuple[RouteKey, KeptRoute]]
    bindings: bool
    accounts: list[tuple[str, AccountKept]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entrusted:
    """Edge ``owner`` hands an address over to us; requests for its open server transactions ``keys`` go back to it."""

    owner: str
    keys: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Leaving:
    """``address`` is being handed over to edge ``to`` ("" : it stays after all)."""

    address: str
    to: str


class Written(NamedTuple):
    """The report of the ``WriteReport`` with this ``ref`` won't be lost any more."""

    ref: str


@dataclass(frozen=True, slots=True)
class ProvidersAssigned:
    """``accounts`` are claimed for ``address`` in its present epoch, and may be registered from there; those of
    ``gone`` are this edge's no more. ``complete``: with these all of ``address`` are here."""

    address: str
    accounts: list[ProviderAccount]
    gone: list[str]
    complete: bool = False


class ProvidersLocated(NamedTuple):
    """Where the providers of all tenants are by now."""

    addresses: ProviderAddresses


class Resolved(NamedTuple):
    """The addresses of the server that ``Resolve`` with this ``ref`` named, in the order in which to try them, as
    (transport, IP address, port); none, and why."""

    ref: str
    addresses: list[tuple[str, str, int]]
    fault: str


class JournalChanged(NamedTuple):
    """Whether reports can be written from now on. While they can't, no calls are begun."""

    possible: bool


class Tick(NamedTuple):
    """``Core.deadline`` has been reached."""


Answered = Decided | Resolved | Found | Counted | Written | MediaDone
"""To something that was asked."""
ToldByPeer = (
    OverThere | RefreshedThere | SummaryThere | AwakeThere | RegisteredThere | HeldThere | StreamsEnd | ClosedThere
)
"""Over the mesh, or by another process of this edge."""
Told = (
    FleetChanged
    | BindingsChanged
    | Fed
    | HangUp
    | ProvidersAssigned
    | ProvidersLocated
    | JournalChanged
    | MediaSilent
    | Remembered
    | ToldByPeer
)
"""From whoever runs the core."""
CoreEvent = Received | Tick | SendFailed | FlowClosed | Entrusted | Leaving | Answered | Told


class Send(NamedTuple):
    """Send ``data`` on ``flow``, here or through the edge that holds its address. If that can't be done and ``ref``
    isn't empty, a SendFailed with it comes back. Nothing is sent from ``until`` on (monotonic; 0: whenever): the lease
    that allows it is over then."""

    flow: Flow
    data: bytes
    ref: str
    until: float = 0.0


class EndStream(NamedTuple):
    """End the connection of ``flow`` ``after`` so many seconds; FlowClosed follows."""

    flow: Flow
    after: int


class Resolve(NamedTuple):
    """Find a provider's server (RFC 3263 §4); ``Resolved`` with this ``ref`` must follow within 5 s. Without ``ipv6``
    there is no way to IPv6 addresses."""

    ref: str
    server: Server
    ipv6: bool = False


class Trust(NamedTuple):
    """Certificates of servers may be signed by ``ca`` (PEM), where a flow's ``server`` says so."""

    ca: str


class Relay(NamedTuple):
    """Hand a message to edge ``owner``, whose transaction it belongs to; ``boot`` names its process, where that is
    known."""

    owner: str
    flow: Flow
    data: bytes
    boot: str = ""


class Ask(NamedTuple):
    """Put ``question`` to the control plane; ``Decided`` with the same ``ask`` must follow: within 5 s, or, where the
    control plane may just be starting, 10 s. ``known``: whoever it is about has shown who he is, and doesn't wait for
    those who haven't."""

    ask: str
    question: Question
    known: bool = True


class Find(NamedTuple):
    """Ask the other edges where ``aor`` of ``tenant`` is, since the control plane can't be, or whose phone has ``aor``,
    a URI, for its Contact, which it doesn't know; ``Found`` must follow within 1 s."""

    ask: str
    aor: str
    tenant: str


class CountCalls(NamedTuple):
    """Ask the other edges what they know to be used of ``scopes``; ``Counted`` must follow within 1 s."""

    ask: str
    scopes: list[str]


class OrderMedia(NamedTuple):
    """Give ``order`` to the media engine of the edge address ``address``, here or through the edge that holds it. If
    ``ref`` isn't empty, ``MediaDone`` with it must follow within 2 s. Orders of one session (``order.key``) reach the
    engine in the order in which they were given."""

    ref: str
    address: str
    order: MediaOrder


class TellOver(NamedTuple):
    """Tell the other edges that an answered call has ended, which one of them has begun."""

    call: str


class TellRefreshed(NamedTuple):
    """Tell whoever has the caller's address, and so watches the call, that it was refreshed here."""

    address: str
    tenant: str
    call: str
    started: int
    seconds: int


class TellSummary(NamedTuple):
    """Tell the other edges what waits for ``aor`` of ``tenant``: some of its phones may have subscribed there."""

    aor: str
    tenant: str
    summary: str


@dataclass(frozen=True, slots=True)
class TellAwake:
    """Tell the other edges that a phone that may sleep has registered here: they may wait for it."""

    phone: Target


@dataclass(frozen=True, slots=True)
class TellRegistered:
    """Tell the other processes of this edge, where there are any, that phones of ``aor`` have registered here."""

    aor: str
    grant: Grant | None
    bindings: tuple[str, ...]


class TellClosed(NamedTuple):
    """Tell the other edges that a connection here has ended, on which ``aors`` were registered."""

    flow: Flow
    aors: tuple[str, ...]


class Entrust(NamedTuple):
    """Tell edge ``to``, which takes ``address`` over, which server transactions stay here."""

    to: str
    address: str
    keys: list[tuple[str, ...]]


class WriteReport(NamedTuple):
    """Report to the control plane, at some time. If ``ref`` isn't empty, ``Written`` must follow once the report is
    safe."""

    report: Report
    ref: str


Action = (
    Send
    | EndStream
    | Resolve
    | Trust
    | Relay
    | Ask
    | Find
    | CountCalls
    | OrderMedia
    | TellOver
    | TellRefreshed
    | TellSummary
    | TellAwake
    | TellRegistered
    | TellClosed
    | Entrust
    | WriteReport
)
