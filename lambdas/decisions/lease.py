"""Who holds an edge address: the rules of acquiring, renewing, handing over and taking over a lease.

Each rule gives the lease to write if the one it was made from is still the stored one. See docs/design.md for why two
holders never both send from an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lambdas.contract import VERSION

LEASE_SECONDS = 10.0
SKEW = 2.0
"""Seconds that clocks of the control plane may differ."""
SILENCE = 3.0
"""Seconds without a renewal, after which an address may be taken over early."""
ROLL_BACK = 600.0
"""Seconds after an upgrade for which nothing is made that edges of before couldn't read, so that it can be undone."""
_BEFORE = 6  # the version of the contract that is spoken where none is told


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds an edge address. Times are seconds of the control plane's clock. ``placed``: the address's packets go
    to the holder. ``exclusive_at``: when every earlier holder's lease is surely over. ``region``: where the holder was
    heard last. ``spoken`` is the version of the contract that the holder speaks; until ``older_until`` one that speaks
    an older one may come back. ``listen``: where the holder says that it listens; ``media``: it relays media."""

    address: str
    holder: str
    boot: str
    epoch: int
    expires_at: float
    mesh: str
    certificate: str
    placed: bool = True
    exclusive_at: float = 0.0
    region: str = ""
    spoken: int = _BEFORE
    older_until: float = 0.0
    listen: tuple[str, ...] = ()
    media: bool = False

    @property
    def renewed_at(self) -> float:
        return self.expires_at - LEASE_SECONDS

    def surely_spoken(self, now: float) -> int:
        """What whoever holds the address can read."""
        return _BEFORE if now < self.older_until else self.spoken


def spoken(leases: Iterable[Lease], now: float) -> int:
    """What whoever holds an edge address can read."""
    return min((lease.surely_spoken(now) for lease in leases if lease.expires_at > now), default=VERSION)


@dataclass(frozen=True, slots=True)
class LeaseEdge:
    """Who asks. ``moves``: it has a driver that moves addresses. ``confirms``: the driver tells when an address has
    moved, and the old machine's packets are dropped from then on. ``region`` is the one that it asks in, ``spoken``,
    ``listen`` and ``media`` as a lease's."""

    id: str
    boot: str
    mesh: str
    certificate: str
    moves: bool = False
    confirms: bool = False
    region: str = ""
    spoken: int = _BEFORE
    listen: tuple[str, ...] = ()
    media: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """``why`` is for the edge's log."""

    why: str


def hold(address: str, old: Lease | None, edge: LeaseEdge, now: float) -> Lease | Refused:
    """An edge asks for an address of its own. Each start of its process gets a new epoch."""
    if old is not None and old.holder == edge.id and old.boot == edge.boot and old.expires_at > now:
        return renew(old, edge, now)
    if old is not None and old.holder != edge.id and not _over(old, now):
        return Refused(f"{old.address} is held by edge {old.holder}")
    # A machine that starts again on its address finds it where it was; any other has its driver see to it first.
    placed = not edge.moves or (old is not None and old.holder == edge.id and old.placed)
    return _next(address, old, edge, now, placed)


def renew(old: Lease, edge: LeaseEdge, now: float) -> Lease:
    return replace(
        old,
        expires_at=now + LEASE_SECONDS,
        mesh=edge.mesh,
        certificate=edge.certificate,
        region=edge.region,
        listen=edge.listen,
        media=edge.media,
    )


def take(old: Lease, edge: LeaseEdge, seen_epoch: int, link_dead: bool, consents: bool, now: float) -> Lease | Refused:
    """An edge asks for an address that another one held in ``seen_epoch``: after its lease has run out; at once if the
    holder ``consents``; early if nobody has heard of the holder and a driver will confirm that the address has moved.
    """
    if old.epoch != seen_epoch:
        return Refused(f"{old.address} has another holder by now")
    if old.holder == edge.id:
        return hold(old.address, old, edge, now)
    if consents:
        # The holder has stopped by itself what must not be done twice.
        return replace(_next(old.address, old, edge, now, False), exclusive_at=max(now, old.exclusive_at))
    if _over(old, now):
        return _next(old.address, old, edge, now, False)
    if not link_dead:
        return Refused(f"{old.address} is held by edge {old.holder}")
    if not edge.confirms:
        return Refused(f"{old.address} is held until {old.expires_at + SKEW - now:.1f} s from now")
    if now - old.renewed_at < SILENCE:
        return Refused(f"edge {old.holder} was heard {now - old.renewed_at:.1f} s ago")
    return _next(old.address, old, edge, now, False)


def place(old: Lease, edge: LeaseEdge) -> Lease | Refused:
    """The driver has confirmed that the address has moved to its holder."""
    if (old.holder, old.boot) != (edge.id, edge.boot):
        return Refused(f"{old.address} is held by edge {old.holder}")
    return replace(old, placed=True)


def release(old: Lease, edge: LeaseEdge, now: float) -> Lease | Refused:
    """The holder gives it up; anybody may have it at once."""
    if (old.holder, old.boot) != (edge.id, edge.boot):
        return Refused(f"{old.address} is held by edge {old.holder}")
    return replace(old, expires_at=now - SKEW, placed=False)


def _over(lease: Lease, now: float) -> bool:
    """Whether no clock of the control plane can show it valid any more, and its holder has stopped by its own."""
    return lease.expires_at + SKEW <= now


def _next(address: str, old: Lease | None, edge: LeaseEdge, now: float, placed: bool) -> Lease:
    """Epochs never go back, even if the table is made anew: they are at least Unix time."""
    epoch = max(old.epoch + 1 if old is not None else 0, int(now))
    exclusive_at = max(now, old.expires_at + SKEW, old.exclusive_at) if old is not None else now
    older_until = 0.0
    if old is not None and old.spoken <= edge.spoken:
        older_until = now + ROLL_BACK if old.spoken < edge.spoken else old.older_until
    return Lease(
        address,
        edge.id,
        edge.boot,
        epoch,
        now + LEASE_SECONDS,
        edge.mesh,
        edge.certificate,
        placed,
        exclusive_at,
        edge.region,
        edge.spoken,
        older_until,
        edge.listen,
        edge.media,
    )
