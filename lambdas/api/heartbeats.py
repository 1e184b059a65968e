"""The heartbeat: leases renewed, taken over and handed over, and what has changed since the last one."""

from __future__ import annotations

import base64
import hashlib
import logging

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import APIRouter

from lambdas.api import probes
from lambdas.api.registrations import adopt
from lambdas.api.security import EdgeDep, ServicesDep
from lambdas.api.services import Services
from lambdas.contract import (
    VERSION,
    BindingChange,
    FleetEdge,
    Heartbeat,
    HeartbeatReply,
    HeldAddress,
    Take,
    consent_text,
)
from lambdas.decisions import lease as rules
from lambdas.decisions.lease import LEASE_SECONDS, Lease, Refused
from lambdas.repositories.leases import Presence
from lambdas.repositories.models import EdgeItem

router = APIRouter(prefix="/edge", tags=["edges"])
log = logging.getLogger(__name__)

_CHANGES = 500  # bindings, or entries of the change feed, in one reply
_HANG_UPS = 50  # calls to end at an address; the rest comes with the next heartbeats


@router.post("/heartbeat")
def heartbeat(beat: Heartbeat, edge: EdgeDep, services: ServicesDep) -> HeartbeatReply:
    """Renew the edge's leases and tell it what has changed."""
    now = services.clock()
    held, refused = _leases(beat, edge, services, now)
    if not held:
        wants = tuple(address for address in beat.addresses if address in edge.addresses)
        services.leases.note(Presence(edge.id, beat.boot, beat.mesh, beat.certificate, wants, now + LEASE_SECONDS))
    domains = services.domains.get()
    bans = services.bans.get()
    bans_version = hashlib.sha256(" ".join(bans).encode()).hexdigest()[:16]
    leases, present = services.fleet_now(edge.id, beat.addresses)
    try:
        adopt(edge, beat, leases, services, now)
    except Exception:
        log.exception("accounts that nobody registers can't be moved")  # the leases are worth more
    changes: list[BindingChange] = []
    cursors: dict[str, int] = {}
    more = False
    for lease in held:
        found, cursors[lease.address], full = _changes(services, lease.address, beat, now)
        changes += found
        more = more or full
    hang_ups = [call for lease in held for call in services.calls.open.overdue(lease.address, now, _HANG_UPS)]
    news = services.directory.feed.since(beat.feed, services.heads.get(), now, _CHANGES)
    return HeartbeatReply(
        version=VERSION,
        held=[_held(lease, now) for lease in held],
        refused=refused,
        fleet=_fleet(leases, present, now),
        addresses=sorted(lease.address for lease in leases),
        keys=services.keys(now),
        domains_version=domains.version,
        domains=None if beat.domains == domains.version else domains.names,
        default_domain=domains.default,
        changes=changes,
        cursors=cursors,
        more=more or news.more,
        feed=news.cursor,
        feed_changes=news.changes,
        revalidate=news.lost,
        allowed=list(edge.addresses),
        hang_ups=hang_ups,
        bans=None if beat.bans == bans_version else bans,
        bans_version=bans_version,
        probe=probes.of(edge.id, services),
        unheld={lease.address: lease.epoch for lease in leases if lease.expires_at <= now},
    )


def _leases(beat: Heartbeat, edge: EdgeItem, services: Services, now: float) -> tuple[list[Lease], dict[str, str]]:
    asking = rules.Edge(
        edge.id,
        beat.boot,
        beat.mesh,
        beat.certificate,
        moves=beat.driver != "none",
        confirms=beat.driver in ("hook", "ec2"),
        region=services.region,
    )
    held: list[Lease] = []
    refused: dict[str, str] = {}
    for address in beat.releases:
        services.leases.change(
            address, lambda old: rules.release(old, asking, now) if old is not None else Refused("never held")
        )
    takes = {take.address: take for take in beat.takes}
    for address in dict.fromkeys([*beat.addresses, *takes]):
        if address not in edge.addresses:
            refused[address] = f"edge {edge.id} is not registered for {address}; see /v1/edges"
            continue
        lease: Lease | Refused | None
        take = takes.get(address)
        if take is not None:
            lease = services.leases.change(address, lambda old, take=take: _take(old, take, asking, services, now))  # type: ignore[misc]
        else:
            lease = services.leases.renew(address, asking, address in beat.placed, now) or services.leases.change(
                address,
                lambda old, address=address: rules.hold(address, old, asking, now),  # type: ignore[misc]
            )
        if isinstance(lease, Refused):
            refused[address] = lease.why
            continue
        if beat.driver == "ec2" and not lease.placed and address in beat.hosts:
            lease = _move(lease, beat, asking, services)
        held.append(lease)
    return held, refused


def _take(old: Lease | None, take: Take, edge: rules.Edge, services: Services, now: float) -> Lease | Refused:
    if old is None:
        return rules.hold(take.address, None, edge, now)
    consents = _consents(old, take, edge, services)
    made = rules.take(old, edge, take.epoch, take.link_dead, consents, now)
    if consents and isinstance(made, Lease):
        # The old holder lives, has transactions to end, and must stay in the fleet list until it says so itself.
        services.leases.note(Presence(old.holder, old.boot, old.mesh, old.certificate, (), old.expires_at))
    return made


def _consents(old: Lease, take: Take, edge: rules.Edge, services: Services) -> bool:
    """Whether the holder has signed that this edge may have the address."""
    holder = services.edge(old.holder) if take.consent else None
    if holder is None:
        return False
    text = consent_text(take.address, take.epoch, edge.id, edge.boot)
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(holder.public_key))
        key.verify(base64.b64decode(take.consent, validate=True), text)
    except (ValueError, InvalidSignature):
        return False
    return True


def _move(lease: Lease, beat: Heartbeat, edge: rules.Edge, services: Services) -> Lease:
    """Have EC2 move the address to its new holder. It stays unplaced, and is tried again, until EC2 confirms."""
    if not services.addresses.move(lease.address, beat.interface, beat.hosts[lease.address]):
        return lease
    placed = services.leases.change(
        lease.address, lambda old: rules.place(old, edge) if old is not None else Refused("gone")
    )
    return placed if isinstance(placed, Lease) else lease


def _changes(services: Services, address: str, beat: Heartbeat, now: float) -> tuple[list[BindingChange], int, bool]:
    since = beat.changes_since.get(address, 0)
    items, cursor, more = services.bindings.changes(address, since, _CHANGES)
    found = [item.as_change(now) for item in items if since or item.live(now)]
    return found, cursor, more


def _held(lease: Lease, now: float) -> HeldAddress:
    return HeldAddress(
        address=lease.address,
        epoch=lease.epoch,
        seconds=min(LEASE_SECONDS, lease.expires_at - now),
        placed=lease.placed,
        exclusive_in=max(0.0, lease.exclusive_at - now),
    )


def _fleet(leases: list[Lease], present: list[Presence], now: float) -> list[FleetEdge]:
    edges: dict[str, FleetEdge] = {}
    for item in present:
        if item.expires_at > now:
            edges[item.edge] = FleetEdge(
                id=item.edge,
                mesh=item.mesh,
                certificate=item.certificate,
                held=[],
                wants=list(item.wants),
                boot=item.boot,
            )
    for lease in sorted(leases, key=lambda lease: lease.expires_at):
        if lease.expires_at > now:
            others = edges[lease.holder].held if lease.holder in edges else []
            edges[lease.holder] = FleetEdge(
                id=lease.holder,
                mesh=lease.mesh,
                certificate=lease.certificate,
                held=[*others, _held(lease, now)],
                boot=lease.boot,
                region=lease.region,
            )
    return list(edges.values())
