"""The heartbeat: an edge says that it lives, and learns what it has to know before a phone asks."""

from __future__ import annotations

from lambdas.contract.question import Wire, WireFlow


class Heartbeat(Wire):
    """Every 2 s. ``boot`` is random for each start of the process; ``addresses`` are the edge addresses it asks to
    hold; ``certificate`` is the base64 DER of its mesh certificate; ``mesh`` its ``host:port``; ``domains`` the version
    of the domain list it has ("" for none); ``changes_since`` maps each address to the cursor of the last reply."""

    version: int
    boot: str
    addresses: list[str]
    mesh: str
    certificate: str
    domains: str = ""
    changes_since: dict[str, int] = {}


class HeldAddress(Wire):
    """A lease. ``seconds`` counts from when the edge sent the heartbeat that got this reply."""

    address: str
    epoch: int
    seconds: float


class FleetEdge(Wire):
    """An edge that has a live lease: where the mesh reaches it and which certificate it must show there."""

    id: str
    mesh: str
    certificate: str
    held: list[HeldAddress]


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


class HeartbeatReply(Wire):
    """``fleet`` are the edges that live; ``addresses`` all edge addresses, held or not, since a dead edge's are still
    ours. ``domains`` maps each domain and alias to its canonical name, None where the edge's version is current.
    ``default_domain`` stands for edges' own addresses. ``more`` asks for another heartbeat at once, since the changes
    didn't fit in one."""

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
