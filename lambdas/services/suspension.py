"""Suspending and banning: who may do nothing any more, until somebody says otherwise."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from dataclasses import dataclass, replace

from lambdas.contract import Decision, RegisterQuestion, RouteQuestion
from lambdas.contract.addresses import source_of
from lambdas.decisions.abuse import BAN_AFTER, BAN_SECONDS
from lambdas.decisions.digest import WRONG
from lambdas.repositories.directory import Taken
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.items import ban_item
from lambdas.repositories.models import PROBES, AccountItem, BanItem, TenantItem
from lambdas.services.services import Services

log = logging.getLogger(__name__)

_LONGEST = 300  # characters of an account's name


def suspend_account(item: AccountItem, reason: str, services: Services) -> None:
    """``reason`` "" lifts it. Calls in progress end within seconds. Raises Missing, Stale."""
    now = services.clock()
    services.tables.accounts.change(item, now, suspended=reason)
    _tell(item.tenant, item.aor, reason, services)
    if reason:
        services.tables.calls.open.hang_up(services.fleet.addresses(), item.tenant, item.aor, now)


def suspend_tenant(item: TenantItem, reason: str, services: Services) -> None:
    """``reason`` "" lifts it. Raises Missing, Stale."""
    now = services.clock()
    services.tables.directory.suspend_tenant(item, reason, now)
    _tell(item.id, "", reason, services)
    if reason:
        services.tables.calls.open.hang_up(services.fleet.addresses(), item.id, "", now)


def _tell(tenant: str, account: str, reason: str, services: Services) -> None:
    """The owners, of an account or ("") all of them."""
    now, who = services.clock(), account or "the tenant"
    text = f"{who} is suspended: {reason}" if reason else f"{who} is suspended no longer"
    services.tables.events.add(tenant, StoredEvent("abuse", now, text, who))
    services.notices.suspended(tenant, account, reason, services.tables.members.owners(tenant), now)


def watch(question: RegisterQuestion | RouteQuestion, decision: Decision, services: Services) -> None:
    """Note a failed authentication, and act if there are too many. The decision stands, whatever comes of this."""
    credentials = question.credentials
    if decision is WRONG:
        failed(Failure(f"{credentials.username}@{credentials.realm}", question.flow[3], services.clock()), services)


@dataclass(frozen=True, slots=True)
class Failure:
    """``times`` failed authentications as ``account`` from ``source``, the last one ``at`` (Unix time); ``address`` is
    the edge address that has told of them afterwards, "" where it has just been asked for a decision."""

    account: str
    source: str
    at: float
    times: int = 1
    address: str = ""


def failed(failure: Failure, services: Services) -> None:
    """Note it, the source (of IPv6 a customer's whole network) first: whatever becomes of the account's item, who fails
    too often is banned. Of those who are banned already nothing is noted."""
    failure = replace(failure, source=source_of(failure.source))
    if services.cache.is_banned(failure.source) or not services.quotas.failures.take(failure.source):
        return
    account = failure.account[:_LONGEST]
    try:
        counted = services.tables.abuse.failed_from(failure.source, account, failure.at, failure.times, failure.address)
        if counted is None:
            return
        _maybe_ban(failure.source, *counted, services)
    except Exception:
        log.exception("a failed authentication of a source couldn't be noted")
    if failure.address and _is_older_than(account, failure.at, services):
        return
    times = services.quotas.notes.take(account, failure.times)
    if not times:
        return
    try:
        failures, sources = services.tables.abuse.failed_as(account, failure.source, failure.at, times)
        _maybe_suspend(account, failures, sources, services)
    except Exception:
        log.exception("a failed authentication of an account couldn't be noted")


def _is_older_than(account: str, at: float, services: Services) -> bool:
    """Whether what is told of an account now happened to another one that had its name before."""
    item = services.tables.directory.get(AccountItem, account)
    return item is not None and at < (item.created_at or 0)


def _maybe_ban(source: str, before: int, failures: int, services: Services) -> None:
    if failures < BAN_AFTER:
        return
    why, now = spared(source, services), services.clock()
    if why:
        if before < BAN_AFTER:
            text = f"{source} isn't banned after {failures} failed authentications: {why}"
            services.tables.events.add("", StoredEvent("abuse", now, text, source))
        return
    with contextlib.suppress(Taken):  # by another process, just now
        ban(source, f"{failures} failed authentications", now + BAN_SECONDS, services)


def spared(network: str, services: Services) -> str:
    """Why ``network`` (CIDR, or one address) mustn't be banned, or "": it has an edge's address, or a provider's."""
    banned = ipaddress.ip_network(network)
    sides = [place.address6 for place in services.fleet.places() if place.address6]
    ours = next((one for one in [*services.fleet.addresses(), *sides] if ipaddress.ip_address(one) in banned), None)
    if ours is not None:
        return f"{ours} is an edge's own address"
    place = next((one for one in services.spared.all() if one.network.overlaps(banned)), None)
    return f"{place.network} is where tenant {place.tenant}'s provider {place.provider} is" if place else ""


def _maybe_suspend(aor: str, failures: int, sources: int, services: Services) -> None:
    """What is read, and so how long it takes, tells nobody whether there is such an account."""
    if failures < 2 or sources < 2:
        return  # whatever the tenant's rules are
    account, settings, _ = services.tables.directory.member(aor, services.cache.owner(aor.rpartition("@")[2]))
    if account is None or account.suspended or account.tenant == PROBES:
        return
    reason = settings.rules.guessed(failures, sources)
    item = services.tables.directory.get(AccountItem, aor) if reason else None
    if item is not None:
        suspend_account(item, reason, services)


def ban(network: str, reason: str, until: float, services: Services) -> BanItem:
    """Raises Taken if it is banned already."""
    item = ban_item(network, reason, until)
    services.tables.directory.ban(item, services.clock())
    services.tables.events.add("", StoredEvent("abuse", services.clock(), f"{network} is banned: {reason}", network))
    return item
