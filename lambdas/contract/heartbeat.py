"""The heartbeat: an edge says that it lives, and learns what it has to know before a phone asks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lambdas.contract.question import Wire, WireFlow
from lambdas.contract.report import OpenCall


class Take(Wire):
    """The edge asks for an address that another one held in ``epoch``. ``link_dead``: the mesh link to that edge is
    dead. ``consent``: that edge hands the address over itself; its signature (base64) of ``consent_text``."""

    address: str
    epoch: int
    link_dead: bool = False
    consent: str = ""


class Heartbeat(Wire):
    """Every 2 s. ``boot`` is random for each start of the process; ``addresses`` are the edge addresses it asks to
    hold; ``certificate`` is the base64 DER of its mesh certificate; ``mesh`` its ``host:port``; ``domains`` the version
    of the domain list it has ("" for none); ``changes_since`` maps each address to the cursor of the last reply;
    ``feed`` maps Regions to the number of the last change had from there, empty for an edge that has no grants yet.
    ``takes`` are other edges' addresses that it asks for; ``placed`` those held whose packets arrive here now, as the
    ``driver`` that moves addresses has confirmed; ``releases`` those it gives up. With the driver "ec2" the control
    plane moves an address, to the private address that ``hosts`` has for it, of network ``interface``. ``bans`` is the
    version of the list that it has."""

    version: int
    boot: str
    addresses: list[str]
    mesh: str
    certificate: str
    domains: str = ""
    changes_since: dict[str, int] = {}
    feed: dict[str, int] = {}
    takes: list[Take] = []
    placed: list[str] = []
    releases: list[str] = []
    driver: Literal["none", "hook", "ec2", "l2"] = "none"
    hosts: dict[str, str] = {}
    interface: str = ""
    bans: str = ""


class HeldAddress(Wire):
    """A lease. ``seconds`` counts from when the edge sent the heartbeat that got this reply. Until ``placed`` the
    address's packets don't arrive at the holder, and it sends none. ``exclusive_in`` seconds from now every earlier
    lease is over, whatever became of its holder: no provider hears from the address before."""

    address: str
    epoch: int
    seconds: float
    placed: bool = True
    exclusive_in: float = 0.0


class FleetEdge(Wire):
    """An edge that lives: where the mesh reaches it and which certificate it must show there. One that ``held``
    nothing ``wants`` addresses that others hold. ``region`` is the one that it was heard in ("": not told)."""

    id: str
    mesh: str
    certificate: str
    held: list[HeldAddress]
    wants: list[str] = []
    boot: str = ""
    region: str = ""


class FleetKey(Wire):
    """Two keys of one day: ``nonce`` (32 octets) and ``token`` (64 octets), base64. ``id`` is one octet. ``use`` marks
    the day's keys; the others only verify (earlier days) or wait (tomorrow's, there before its first use)."""

    id: int
    nonce: str
    token: str
    use: bool


class BindingChange(Wire):
    """A binding of an address that the edge holds, as it is now; ``expires`` 0 means it is gone."""

    id: str
    aor: str
    contact: str
    expires: int
    flow: WireFlow
    tenant: str = ""
    call_id: str = ""
    cseq: int = 0
    q: int = 1000
    instance: str = ""
    reg_id: int = 0


class Change(Wire):
    """One entry of a Region's change feed. ``binding`` "": the account ``aor`` has changed or gone, and grants of a
    lower ``version`` (milliseconds) are void. Otherwise that binding of it ("*": every one) was removed, at whatever
    edge it was, and mustn't be refreshed without asking. With ``provider`` that provider account has changed (to
    ``version``) or gone, or has been assigned to ``address`` (``version`` 0). With ``plan`` another version of that
    dial plan counts, or none; with ``tenant`` that tenant's calls go another way, and unless ``version`` is
    0 all of its grants are void."""

    aor: str = ""
    version: int
    binding: str = ""
    provider: str = ""
    address: str = ""
    plan: str = ""
    tenant: str = ""


class Probe(Wire):
    """The account by which an edge tries the others out, about every ``seconds``."""

    aor: str
    password: str = Field(repr=False)
    seconds: float


class HeartbeatReply(Wire):
    """``fleet`` are the edges that live; ``addresses`` all edge addresses, held or not, since a dead edge's are still
    ours. ``domains`` maps each domain and alias to its canonical name, None where the edge's version is current.
    ``default_domain`` stands for edges' own addresses. ``more`` asks for another heartbeat at once, since the changes
    didn't fit in one. ``feed_changes`` are those after the heartbeat's ``feed``, which advances to the reply's.
    ``revalidate``: some can't be had any more, so every grant has to be asked for again. ``allowed``: the addresses
    that this edge may hold; ``unheld``: those that nobody holds, with their last epochs. ``hang_ups`` are calls to end,
    whose callers are at addresses held: they come again until their end is reported. ``bans`` are the networks (CIDR)
    that nothing is taken from, None where the edge's version is current."""

    version: int
    held: list[HeldAddress]
    refused: dict[str, str] = {}
    fleet: list[FleetEdge]
    addresses: list[str]
    keys: list[FleetKey]
    domains_version: str
    domains: dict[str, str] | None = None
    default_domain: str = ""
    changes: list[BindingChange] = []
    cursors: dict[str, int] = {}
    more: bool = False
    feed: dict[str, int] = {}
    feed_changes: list[Change] = []
    revalidate: bool = False
    allowed: list[str] = []
    unheld: dict[str, int] = {}
    hang_ups: list[OpenCall] = []
    bans: list[str] | None = None
    bans_version: str = ""
    probe: Probe | None = None
