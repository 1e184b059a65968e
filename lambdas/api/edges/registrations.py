"""Which edge address registers which provider account: handed to the holders that ask, spread over addresses by load,
and taken from addresses that nobody holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from lambdas.api.edges.route import edge_route
from lambdas.api.problems import Problem
from lambdas.contract import VERSION, Heartbeat, ProviderAccount, ProvidersReply, ProvidersRequest
from lambdas.decisions import assignment as rules
from lambdas.decisions import lease as lease_rules
from lambdas.decisions.assignment import NOBODY, Assignment
from lambdas.decisions.lease import SKEW, Lease, Refused
from lambdas.repositories.models import EdgeItem
from lambdas.repositories.vault import Unsealed
from lambdas.services.services import Services

log = logging.getLogger(__name__)

_PAGE = 50  # accounts in one reply, and moved in one heartbeat
_BUDGET = 1.0  # seconds that a heartbeat spends on accounts nobody registers
_AT_ONCE = 10  # claims under way in one request
_ANOTHER = 20.0  # seconds that an edge which may hold the address has to take it with its IP, before its accounts move


def providers(asked: ProvidersRequest, edge: EdgeItem, services: Services) -> ProvidersReply:
    """Claim accounts for the address's epoch, and give what registering them needs."""
    lease = services.tables.leases.get(asked.address)
    if lease is None or (lease.holder, lease.epoch) != (edge.id, asked.epoch):
        raise Problem(409, f"Edge {edge.id} doesn't hold {asked.address} in epoch {asked.epoch}.")
    ids, following = list(asked.ids), ""
    if not ids:
        ids, following = services.tables.assignments.of(asked.address, _PAGE, asked.after)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        claimed = dict(zip(ids, pool.map(lambda name: _claim(name, asked, services), ids), strict=True))
    return ProvidersReply(
        version=VERSION,
        accounts=[_for(asked, found) for found in claimed.values() if isinstance(found, ProviderAccount)],
        gone=[name for name, found in claimed.items() if found == "gone"],
        pending=[name for name, found in claimed.items() if found == "pending"],
        following=following,
    )


def _for(asked: ProvidersRequest, account: ProviderAccount) -> ProviderAccount:
    """Edges of before version 9 can't read networks of IPv6."""
    if asked.version >= 9:
        return account
    return account.model_copy(update={"sources": [one for one in account.sources if ":" not in one]})


def _claim(name: str, asked: ProvidersRequest, services: Services) -> ProviderAccount | Literal["gone", "pending"]:
    """The account is read before it is claimed: if another has come in its place meanwhile, assigned elsewhere, the
    claim fails."""
    try:
        provider = services.tables.providers.get(name)
    except Unsealed as error:
        log.error("%s", error)
        return "gone"
    claimed = services.tables.assignments.change(
        name, lambda old: rules.claim(old, asked.address, asked.epoch, asked.ports)
    )
    if isinstance(claimed, Refused):
        return "gone"
    return provider.account if provider is not None else "pending"


def choose_address(services: Services, addresses: Iterable[str]) -> str:
    """The address with the fewest accounts; NOBODY where no edge lives."""
    return min(sorted(addresses), key=lambda address: services.fleet.load(address), default=NOBODY)


def living(leases: Iterable[Lease], now: float) -> list[str]:
    """The addresses that can register."""
    return [lease.address for lease in leases if lease.expires_at > now and lease.placed]


def adopt(edge: EdgeItem, beat: Heartbeat, leases: list[Lease], services: Services, now: float) -> None:
    """On behalf of ``edge``, which lives: accounts of addresses that nobody holds any more, nor can be expected to
    take, go to those that are held. The lease of such an address is taken for that, without its IP."""
    homes = living(leases, now)
    if not homes:
        return
    for lease in leases:
        over = now - lease.expires_at - SKEW
        if over < 0 or not services.fleet.load(lease.address):
            continue
        holders = {held.holder for held in leases if held.address in homes}
        if over < _ANOTHER and not holders.isdisjoint(services.fleet.edges_for(lease.address)):
            continue
        asking = lease_rules.LeaseEdge(edge.id, beat.boot, beat.mesh, beat.certificate, moves=True, spoken=beat.version)
        _empty(lease.address, asking, homes, services, now)
    if services.fleet.load(NOBODY):
        end = time.monotonic() + _BUDGET
        for name in services.tables.assignments.of(NOBODY, _PAGE)[0]:
            if time.monotonic() > end:
                break
            _move(name, NOBODY, 0, homes, services, now)


def _empty(address: str, asking: lease_rules.LeaseEdge, homes: list[str], services: Services, now: float) -> None:
    def take(old: Lease | None) -> Lease | Refused:
        if old is None:
            return Refused("there is no such lease")
        return lease_rules.take(old, asking, old.epoch, link_dead=False, consents=False, now=now)

    lease = services.tables.leases.change(address, take)
    if isinstance(lease, Refused):
        return
    end = time.monotonic() + _BUDGET
    try:
        for name in services.tables.assignments.of(address, _PAGE)[0]:
            if time.monotonic() > end:
                break  # the next heartbeat goes on
            claimed = services.tables.assignments.change(
                name, lambda old: rules.claim(old, address, lease.epoch, old.ports or {} if old else {})
            )
            if isinstance(claimed, Assignment):
                _move(name, address, lease.epoch, homes, services, now)
    finally:
        services.tables.leases.change(
            address, lambda old: lease_rules.release(old, asking, now) if old is not None else Refused("gone")
        )


def _move(name: str, address: str, epoch: int, homes: list[str], services: Services, now: float) -> None:
    to = choose_address(services, homes)
    moved = services.tables.assignments.change(name, lambda old: rules.reassign(old, address, epoch, to))
    if isinstance(moved, Assignment):
        services.fleet.added(to)
        services.tables.providers.moved(name, to, now)
        log.info("provider account %s registers from %s now", name, to)


ROUTE = edge_route("/edge/providers", ProvidersRequest, providers)
