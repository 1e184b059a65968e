"""What the edge has learnt from its heartbeats: one immutable snapshot, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.media.judging import NO_NETWORKS, Networks
from edge.proxy.stack.flow_token import TokenKeys
from edge.sip.flow import Flow, ServerAddress
from edge.sip.places import Places


@dataclass(frozen=True, slots=True)
class Fleet:
    """``epochs`` maps the edge addresses this edge holds to their lease epochs; ``places`` are the addresses of the
    whole fleet, of edges that are down too; ``domains`` maps our domains and aliases to canonical names; ``clock`` is
    wall-clock time minus the core's ``now``; ``informed_at`` is when the control plane said all this, in the core's
    time; ``arriving`` are addresses that are on their way here; ``exclusive`` tells from when until when (in the core's
    time) nobody else may register with providers from an address held here; ``spoken`` is the oldest version of the
    contract that an edge of the fleet speaks; ``elsewhere`` maps the addresses that others hold to their epochs;
    ``media``: there are media engines; addresses in ``public_networks`` are reached from anywhere. Nothing is ``known``
    before the first heartbeat."""

    epochs: dict[str, int]
    places: Places
    domains: dict[str, str]
    default_domain: str
    nonce_keys: dict[int, bytes]
    nonce_key: int
    tokens: TokenKeys
    clock: float
    informed_at: float = 0.0
    arriving: frozenset[str] = frozenset()
    exclusive: dict[str, tuple[float, float]] = field(default_factory=dict)
    spoken: int = 6
    elsewhere: dict[str, int] = field(default_factory=dict)
    media: bool = False
    public_networks: Networks = NO_NETWORKS
    known: bool = True

    def epoch(self, address: str) -> int:
        """The epoch in which this edge holds ``address``; 0, which the control plane refuses, if it doesn't."""
        return self.epochs.get(address, 0)

    def asking(self, address: str) -> tuple[str, int]:
        """The edge address by which to ask about what is at ``address``, and its epoch: another one that is held here,
        if that isn't."""
        mine = address if address in self.epochs else next(iter(self.epochs), address)
        return mine, self.epoch(mine)

    @property
    def reads_tags(self) -> bool:
        """Whether every edge can read tokens that are bound to a dialog's tags and ends."""
        return self.spoken >= 7

    @property
    def reads_withheld(self) -> bool:
        """Whether every edge can read in tokens that the caller isn't to be shown."""
        return self.spoken >= 8

    @property
    def knows_whole_contacts(self) -> bool:
        """Whether every edge tells bindings apart by all of a Contact."""
        return self.spoken >= 8

    @property
    def knows_push(self) -> bool:
        """Whether every edge lets phones sleep that can be woken, and tells bindings apart without what they are woken
        by."""
        return self.spoken >= 9

    @property
    def knows_gruus(self) -> bool:
        """Whether every edge knows where GRUUs lead."""
        return self.spoken >= 9

    @property
    def knows_servers(self) -> bool:
        """Whether every edge makes connections by TLS, and reads whom they are to lead to."""
        return self.spoken >= 9

    @property
    def reads_joined(self) -> bool:
        """Whether every edge can read ways of calls that were transferred."""
        return self.spoken >= 8

    @property
    def relays(self) -> bool:
        """Whether media may be relayed: every edge reads in tokens that they are."""
        return self.media and self.spoken >= 10

    @property
    def tells_refreshes(self) -> bool:
        """Whether every edge tells the caller's of refreshed sessions that it has seen."""
        return self.spoken >= 10

    def has_ipv6(self, address: str) -> bool:
        """Whether edge address ``address`` has an IPv6 side."""
        return self.places.has_ipv6(address)

    def outside(self, addresses: list[ServerAddress]) -> list[ServerAddress]:
        """Those of ``addresses`` that aren't the fleet's own."""
        return [address for address in addresses if self.places.outside(address[1])]

    @property
    def addresses(self) -> frozenset[str]:
        """All edge addresses."""
        return self.places.addresses

    def address_at(self, host: str) -> str:
        """The edge address that a URI's ``host`` is a side or the name of; "" if it is none of ours."""
        return self.places.address_at(host)

    def sent_by(self, flow: Flow) -> str:
        """The edge's side of ``flow``, as ``host:port``."""
        return self.places.sent_by(flow)

    def via(self, flow: Flow, branch: str) -> str:
        """A Via line of the edge's side of ``flow``."""
        return self.places.via(flow, branch)

    def uri(self, flow: Flow, user: str, secure: bool = False) -> str:
        """A URI of ours with this user part, at the edge's side of ``flow``; ``secure``: by TLS all the way."""
        return self.places.uri(flow, user, secure)

    def canonical(self, host: str) -> str | None:
        """The canonical name of the domain that ``host`` stands for; None if it isn't ours. The default domain
        answers to the edges' own addresses and names, which phones use that know no other."""
        found = self.domains.get(host)
        if found is None and self.address_at(host):
            return self.default_domain or None
        return found


NOTHING_KNOWN = Fleet({}, Places(()), {}, "", {}, 0, TokenKeys({}, 0), 0.0, known=False)
"""Before the first heartbeat."""
