"""Suspending and banning: who may do nothing any more, until somebody says otherwise."""

from __future__ import annotations

import logging

from lambdas.api.services import Services
from lambdas.contract import Decision, RegisterQuestion, RouteQuestion
from lambdas.decisions.abuse import BAN_AFTER, BAN_SECONDS
from lambdas.decisions.digest import WRONG
from lambdas.repositories.events import Event
from lambdas.repositories.items import ban_item
from lambdas.repositories.models import PROBES, AccountItem, BanItem, TenantItem

log = logging.getLogger(__name__)


def suspend_account(item: AccountItem, reason: str, services: Services) -> None:
    """``reason`` "" lifts it. Calls in progress end within seconds. Raises Missing, Stale."""
    now = services.clock()
    services.accounts.change(item, now, suspended=reason)
    _tell(item.tenant, item.aor, reason, services)
    if reason:
        services.calls.open.hang_up(services.addresses_known(), item.tenant, item.aor, now)


def suspend_tenant(item: TenantItem, reason: str, services: Services) -> None:
    """``reason`` "" lifts it. Raises Missing, Stale."""
    now = services.clock()
    services.directory.suspend_tenant(item, reason, now)
    _tell(item.id, "", reason, services)
    if reason:
        services.calls.open.hang_up(services.addresses_known(), item.id, "", now)


def _tell(tenant: str, account: str, reason: str, services: Services) -> None:
    """The owners, of an account or ("") all of them."""
    now, who = services.clock(), account or "the tenant"
    text = f"{who} is suspended: {reason}" if reason else f"{who} is suspended no longer"
    services.events.add(tenant, Event("abuse", now, text, who))
    services.notices.suspended(tenant, account, reason, services.members.owners(tenant), now)


def watch(question: RegisterQuestion | RouteQuestion, decision: Decision, services: Services) -> None:
    """Note a failed authentication, and act if there are too many. The decision stands, whatever comes of this."""
    credentials = question.credentials
    account, source = f"{credentials.username}@{credentials.realm}"[:300], question.flow[3]
    if decision is not WRONG or not services.failure_rate.take(source):
        return
    try:
        failures, sources, of_source = services.abuse.failed(account, source, services.clock())
        _maybe_suspend(account, failures, sources, services)
        if of_source >= BAN_AFTER and source not in services.addresses_known():
            ban(source, f"{of_source} failed authentications", services.clock() + BAN_SECONDS, services)
    except Exception:
        log.exception("a failed authentication couldn't be noted")


def _maybe_suspend(aor: str, failures: int, sources: int, services: Services) -> None:
    if failures < 2 or sources < 2:
        return  # whatever the tenant's rules are
    item = services.directory.get(AccountItem, aor)
    if item is None or item.suspended or item.tenant == PROBES:
        return
    reason = services.directory.settings(item.tenant).rules.guessed(failures, sources)
    if reason:
        suspend_account(item, reason, services)


def too_premium(aor: str, prefix: str, services: Services) -> str:
    """A call by ``aor`` to a premium number is about to be made, of that ``prefix``: why it isn't, or ""."""
    item = services.directory.get(AccountItem, aor)
    rules = services.directory.settings(item.tenant).rules if item is not None else None
    if item is None or rules is None or not rules.premium_calls:
        return ""
    reason = rules.burst(*services.abuse.called_premium(aor, prefix, services.clock()))
    if reason and not item.suspended:
        suspend_account(item, reason, services)
    return reason


def ban(network: str, reason: str, until: float, services: Services) -> BanItem:
    """Raises Taken if it is banned already."""
    item = ban_item(network, reason, until)
    services.directory.ban(item, services.clock())
    services.events.add("", Event("abuse", services.clock(), f"{network} is banned: {reason}", network))
    return item
