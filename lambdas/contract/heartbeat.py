"""The heartbeat: an edge says that it lives, and learns what it has to know before a phone asks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lambdas.contract.binding import ContactBinding
from lambdas.contract.certificate import CertificateVersion
from lambdas.contract.provider import ProviderPlace
from lambdas.contract.report import OpenCall
from lambdas.contract.wire import Envelope, Wire


class Take(Wire):
    """The edge asks for an address that another one held. Since version 2."""

    address: str
    """The edge address."""
    epoch: int
    """In which the other one held it."""
    link_dead: bool = False
    """The mesh link to that edge is dead."""
    consent: str = ""
    """That edge hands the address over itself: its signature (base64) of ``consent_text``; "": it doesn't."""


class Heartbeat(Envelope):
    """Every 2 s."""

    boot: str
    """Random for each start of the process."""
    addresses: list[str]
    """The edge addresses that it asks to hold."""
    mesh: str
    """Where its mesh listens, ``host:port``."""
    certificate: str
    """Its mesh certificate, base64 of DER."""
    domains: str = ""
    """The version of the list of domains that it has; "": none."""
    changes_since: dict[str, int] = {}
    """For each address the cursor of the last reply; without one all bindings come."""
    feed: dict[str, int] = {}
    """For each Region the number of the last change had from there; none: an edge that has no grants yet.
    Since version 2."""
    takes: list[Take] = []
    """Other edges' addresses that it asks for. Since version 2."""
    placed: list[str] = []
    """Addresses held whose packets arrive here now, as the ``driver`` has confirmed. Since version 2."""
    releases: list[str] = []
    """Addresses that it gives up. Since version 2."""
    driver: Literal["none", "hook", "ec2", "l2"] = "none"
    """What moves addresses to it. With "ec2" the control plane does. Since version 2."""
    hosts: dict[str, str] = {}
    """With "ec2", for each address the private one that it is moved to. Since version 2."""
    interface: str = ""
    """With "ec2", the network interface that has those; else "". Since version 2."""
    bans: str = ""
    """The version of the list of bans that it has; "": none. Since version 5."""
    provider_hosts: str = ""
    """The version of the list of providers' servers that it has; "": none. Since version 7."""
    listen: list[str] = []
    """Where it listens, like ``udp://203.0.113.11:5060``, for people. Since version 9."""
    certificates: str | None = None
    """The version of the list of certificates that it has, "": none; None: it wants none. Since version 9."""
    public_networks: str = ""
    """The version of the list of public networks that it has; "": none. Since version 10."""
    media: bool = False
    """It relays media. Since version 10."""


class EdgePlace(Wire):
    """The sides of an edge address. Since version 9."""

    address: str
    """The edge address: IPv4, and what leases, bindings and flows go by."""
    address6: str = ""
    """Its IPv6 side, in RFC 5952's form; "": it has none."""
    name: str = ""
    """The host name by which phones and certificates know it, in lower case; "": none."""


class HeldAddress(Wire):
    """A lease on an edge address."""

    address: str
    """The edge address."""
    epoch: int
    """Counts its holders: a later one has a higher epoch."""
    seconds: float
    """How long it is good, from when the edge sent the heartbeat that got this reply."""
    placed: bool = True
    """False: the address's packets don't arrive at the holder yet, and it sends none. Since version 2."""
    exclusive_in: float = 0.0
    """Seconds from now until every earlier lease is over, whatever became of its holder: no provider hears from the
    address before. Since version 2."""


class FleetEdge(Wire):
    """An edge that lives."""

    id: str
    """Its name."""
    mesh: str
    """Where the mesh reaches it, ``host:port``."""
    certificate: str
    """What it must show there, base64 of DER."""
    held: list[HeldAddress]
    """What it holds; none: nothing just now."""
    wants: list[str] = []
    """Addresses that others hold, and that one that holds nothing would like to have. Since version 2."""
    boot: str = ""
    """Of its heartbeat; "": not told. Since version 2."""
    region: str = ""
    """The Region that it was heard in; "": not told. Since version 5."""


class FleetKey(Wire):
    """Three keys of one day."""

    id: int
    """One octet, which tokens and nonces begin with."""
    nonce: str = Field(repr=False)
    """Base64 of 32 octets."""
    token: str = Field(repr=False)
    """Base64 of 64 octets."""
    ticket: str = Field(default="", repr=False)
    """Base64 of 80 octets: what TLS sessions are sealed with for their clients (the key's name, HMAC-SHA-256, AES-256).
    "": each edge has keys of its own. Since version 9."""
    use: bool
    """The day's keys; the others only verify (earlier days) or wait (tomorrow's, there before its first use)."""


class BindingChange(ContactBinding):
    """A binding of an address that the edge holds, as it is now. Since version 2: ``q``, ``instance``, ``reg_id``."""

    id: str
    """As in a Binding."""
    expires: int
    """Seconds from now; 0: it is gone."""
    tenant: str = ""
    """Whose account it is; "": not told. Since version 2."""
    call_id: str = ""
    """That of its last REGISTER; "": not told. Since version 2."""
    cseq: int = 0
    """That of its last REGISTER. Since version 2."""
    key: str = ""
    """What ``id`` was made from, as in a ContactField; "": not told. Since version 8."""
    doubted_at: float = 0.0
    """When what may be the same phone registered another Contact, Unix time: unless it is heard here since, it is to be
    tried whether it is still here. 0: never. Since version 8."""


class Change(Wire):
    """One entry of a Region's change feed. What is "" it isn't about. Since version 2."""

    aor: str = ""
    """Without ``binding``: this account has changed or gone, and its grants of a lower ``version`` are void."""
    version: int
    """Milliseconds; 0 where nothing has one."""
    binding: str = ""
    """The id of a binding of ``aor`` that was removed ("*": every one), at whatever edge it was: it mustn't be
    refreshed without asking."""
    provider: str = ""
    """A provider account that has changed (to ``version``) or gone, or has been assigned to ``address``.
    Since version 3."""
    address: str = ""
    """The edge address that ``provider`` has been assigned to; then ``version`` is 0. Since version 3."""
    plan: str = ""
    """A dial plan of which another version counts, or none. Since version 4."""
    tenant: str = ""
    """A tenant whose calls go another way, and unless ``version`` is 0 all of its grants are void. Since version 4."""


class Probe(Wire):
    """The account by which an edge tries the others out. Since version 5."""

    aor: str
    """Its AOR."""
    password: str = Field(repr=False)
    """In clear: the probe answers challenges as a phone does."""
    seconds: float
    """About how often it is done."""


class HeartbeatReply(Envelope):
    """What the edge holds now, and what has changed."""

    held: list[HeldAddress]
    """Its leases."""
    refused: dict[str, str] = {}
    """Addresses that it asked for in vain, and why, for people."""
    fleet: list[FleetEdge]
    """The edges that live, this one too."""
    addresses: list[str]
    """All edge addresses, held or not, since a dead edge's are still ours."""
    places: list[EdgePlace] = []
    """Those of them that have an IPv6 side or a name. Since version 9."""
    keys: list[FleetKey]
    """Those that seal and verify."""
    domains_version: str
    """Of the list of domains."""
    domains: dict[str, str] | None = None
    """Each domain and alias, and its canonical name; None: the edge has the current version."""
    default_domain: str = ""
    """Stands for edges' own addresses in URIs; "": none does."""
    changes: list[BindingChange] = []
    """Bindings of addresses held that have changed since ``changes_since``. The last ones may come again."""
    cursors: dict[str, int] = {}
    """For each address held the next ``changes_since``."""
    more: bool = False
    """Asks for another heartbeat at once, since the changes didn't fit in one."""
    feed: dict[str, int] = {}
    """Where the heartbeat's ``feed`` is once ``feed_changes`` are applied. Since version 2."""
    feed_changes: list[Change] = []
    """Those after the heartbeat's ``feed``. Since version 2."""
    revalidate: bool = False
    """Some of those can't be had any more, so every grant has to be asked for again. Since version 2."""
    allowed: list[str] = []
    """The addresses that this edge may hold. Since version 2."""
    unheld: dict[str, int] = {}
    """Addresses that nobody holds, and their last epochs. Since version 2."""
    hang_ups: list[OpenCall] = []
    """Calls to end, whose callers are at addresses held: they come again until their end is reported.
    Since version 4."""
    bans: list[str] | None = None
    """The networks (CIDR) that nothing is taken from; None: the edge has the current version. Since version 5."""
    bans_version: str = ""
    """Of the list of bans; "": not told. Since version 5."""
    probe: Probe | None = None
    """How to try the other edges out; None: they aren't. Since version 5."""
    spoken: int = 6
    """The lowest version that an edge of the fleet speaks, or has spoken ten minutes ago: nothing is made that it
    couldn't read. Since version 7."""
    provider_hosts: list[ProviderPlace] | None = None
    """Where all tenants' providers are; None: the edge has the current version. Since version 7."""
    provider_hosts_version: str = ""
    """Of that list; "": not told. Since version 7."""
    certificates: list[CertificateVersion] | None = None
    """The certificates that the edge should have; None: it has the current list, or wants none. Since version 9."""
    certificates_version: str = ""
    """Of that list; "": not told. Since version 9."""
    public_networks: list[str] | None = None
    """Networks (CIDR) whose addresses are reached from anywhere, without NAT; None: the edge has the current version.
    Since version 10."""
    public_networks_version: str = ""
    """Of that list; "": not told. Since version 10."""
