"""The heartbeat: leases renewed, taken over and handed over, and what has changed since the last one."""

from __future__ import annotations

import base64
import hashlib
import logging

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lambdas.api.edges import probes
from lambdas.api.edges.registrations import adopt
from lambdas.api.edges.route import edge_route
from lambdas.contract import (
    VERSION,
    BindingChange,
    FleetEdge,
    Heartbeat,
    HeartbeatReply,
    HeldAddress,
    ProviderPlace,
    Take,
    consent_text,
)
from lambdas.decisions import lease as rules
from lambdas.decisions.lease import LEASE_SECONDS, Lease, Refused
from lambdas.repositories.connection import Common
from lambdas.repositories.leases import Presence
from lambdas.repositories.models import EdgeItem
from lambdas.services.certificates import CertificateVersions
from lambdas.services.services import Services

log = logging.getLogger(__name__)

_CHANGES = 500  # bindings, or entries of the change feed, in one reply
_READS_IPV6 = 9  # the version of the contract from which edges read networks of IPv6
_LISTENERS, _LONGEST_LISTEN = 16, 80  # that are remembered of an edge, and characters of one
_HANG_UPS = 50  # calls to end at an address; the rest comes with the next heartbeats


def heartbeat(beat: Heartbeat, edge: EdgeItem, services: Services) -> HeartbeatReply:
    """Renew the edge's leases and tell it what has changed."""
    now = services.clock()
    held, refused = _leases(beat, edge, services, now)
    if not held:
        wants = tuple(address for address in beat.addresses if address in edge.addresses)
        services.tables.leases.note(
            Presence(edge.id, beat.boot, beat.mesh, beat.certificate, wants, now + LEASE_SECONDS, _listens(beat))
        )
    domains = services.cache.domains()
    bans = [ban for ban in services.cache.bans() if beat.version >= _READS_IPV6 or ":" not in ban]
    bans_version = hashlib.sha256(" ".join(bans).encode()).hexdigest()[:16]
    networks = services.cache.public_networks()
    places = services.cache.provider_places()
    hosts = places.hosts if beat.version >= _READS_IPV6 else [_without_ipv6(place) for place in places.hosts]
    certificates = services.certificates.versions(edge) if beat.certificates is not None else CertificateVersions()
    leases, present = services.fleet.now(edge.id, beat.addresses)
    try:
        adopt(edge, beat, leases, services, now)
    except Exception:
        log.exception("accounts that nobody registers can't be moved")  # the leases are worth more
    changes, cursors, more = _changes([lease.address for lease in held], beat, services, now)
    hang_ups = [call for lease in held for call in services.tables.calls.open.overdue(lease.address, now, _HANG_UPS)]
    news = services.tables.directory.feed.since(beat.feed, services.cache.heads(), now, _CHANGES)
    return HeartbeatReply(
        version=VERSION,
        held=[_held(lease, now) for lease in held],
        refused=refused,
        fleet=_fleet(leases, present, now),
        addresses=sorted(lease.address for lease in leases),
        places=services.fleet.places(),
        keys=services.keys.of(now),
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
        public_networks=None if beat.public_networks == networks.version else networks.all,
        public_networks_version=networks.version,
        probe=probes.of(edge.id, services),
        provider_hosts=None if beat.provider_hosts == places.version else list(hosts),
        provider_hosts_version=places.version,
        spoken=rules.spoken(leases, now),
        unheld={lease.address: lease.epoch for lease in leases if lease.expires_at <= now},
        certificates=None if beat.certificates in (None, certificates.version) else certificates.all,
        certificates_version=certificates.version,
    )


def _without_ipv6(place: ProviderPlace) -> ProviderPlace:
    return place.model_copy(update={"networks": [network for network in place.networks if ":" not in network]})


def _listens(beat: Heartbeat) -> tuple[str, ...]:
    return tuple(text[:_LONGEST_LISTEN] for text in beat.listen[:_LISTENERS])


def _leases(beat: Heartbeat, edge: EdgeItem, services: Services, now: float) -> tuple[list[Lease], dict[str, str]]:
    asking = rules.LeaseEdge(
        edge.id,
        beat.boot,
        beat.mesh,
        beat.certificate,
        moves=beat.driver != "none",
        confirms=beat.driver in ("hook", "ec2"),
        region=Common.region,
        spoken=beat.version,
        listen=_listens(beat),
        media=beat.media,
    )
    held: list[Lease] = []
    refused: dict[str, str] = {}
    for address in beat.releases:
        services.tables.leases.change(
            address, lambda old: rules.release(old, asking, now) if old is not None else Refused("never held")
        )
    takes = {take.address: take for take in beat.takes}
    for address in dict.fromkeys([*beat.addresses, *takes]):
        if address not in edge.addresses:
            refused[address] = f"edge {edge.id} is not registered for {address}; see /v1/edges"
            continue
        lease = _lease(address, takes.get(address), beat, asking, services, now)
        if isinstance(lease, Refused):
            refused[address] = lease.why
            continue
        if beat.driver == "ec2" and not lease.placed and address in beat.hosts:
            lease = _move(lease, beat, asking, services)
        held.append(lease)
    return held, refused


def _lease(
    address: str, take: Take | None, beat: Heartbeat, edge: rules.LeaseEdge, services: Services, now: float
) -> Lease | Refused:
    """Renewed, taken over, or held for the first time."""
    leases = services.tables.leases
    if take is not None:
        return leases.change(address, lambda old: _take(old, take, edge, services, now))
    renewed = leases.renew(address, edge, address in beat.placed, now)
    return renewed or leases.change(address, lambda old: rules.hold(address, old, edge, now))


def _take(old: Lease | None, take: Take, edge: rules.LeaseEdge, services: Services, now: float) -> Lease | Refused:
    if old is None:
        return rules.hold(take.address, None, edge, now)
    consents = _consents(old, take, edge, services)
    made = rules.take(old, edge, take.epoch, take.link_dead, consents, now)
    if consents and isinstance(made, Lease):
        # The old holder lives, has transactions to end, and must stay in the fleet list until it says so itself.
        services.tables.leases.note(Presence(old.holder, old.boot, old.mesh, old.certificate, (), old.expires_at))
    return made


def _consents(old: Lease, take: Take, edge: rules.LeaseEdge, services: Services) -> bool:
    """Whether the holder has signed that this edge may have the address."""
    holder = services.fleet.edge(old.holder) if take.consent else None
    if holder is None:
        return False
    text = consent_text(take.address, take.epoch, edge.id, edge.boot)
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(holder.public_key))
        key.verify(base64.b64decode(take.consent, validate=True), text)
    except (ValueError, InvalidSignature):
        return False
    return True


def _move(lease: Lease, beat: Heartbeat, edge: rules.LeaseEdge, services: Services) -> Lease:
    """Have EC2 move the address to its new holder. It stays unplaced, and is tried again, until EC2 confirms."""
    if not services.addresses.move(lease.address, beat.interface, beat.hosts[lease.address]):
        return lease
    side = next((place.address6 for place in services.fleet.places() if place.address == lease.address), "")
    if side:
        services.addresses.move_ipv6(side, beat.interface)  # phones at IPv4 don't wait for that
    placed = services.tables.leases.change(
        lease.address, lambda old: rules.place(old, edge) if old is not None else Refused("gone")
    )
    return placed if isinstance(placed, Lease) else lease


def _changes(
    addresses: list[str], beat: Heartbeat, services: Services, now: float
) -> tuple[list[BindingChange], dict[str, int], bool]:
    """What has changed of the bindings of ``addresses`` since the edge last heard of them, where that ends for each,
    and whether there is more."""
    changes: list[BindingChange] = []
    cursors: dict[str, int] = {}
    more = False
    for address in addresses:
        since = beat.changes_since.get(address, 0)
        items, cursors[address], full = services.tables.bindings.changes(address, since, _CHANGES)
        # One that has run out says nothing: its phone may have stayed while nobody could be told.
        changes += [item.as_change(now) for item in items if item.live(now) or (since and item.removed)]
        more = more or full
    return changes, cursors, more


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


ROUTE = edge_route("/edge/heartbeat", Heartbeat, heartbeat)
