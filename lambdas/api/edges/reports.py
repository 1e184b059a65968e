"""What edges report afterwards."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from pynamodb.exceptions import PutError, TransactWriteError

from lambdas.api.edges.route import edge_route
from lambdas.api.problems import Problem
from lambdas.contract import (
    VERSION,
    BindingReport,
    CallAnswered,
    CallEnded,
    CallFailed,
    CallLost,
    CallTransferred,
    LoginsFailed,
    ProbeReport,
    ProviderReport,
    Report,
    ReportEnvelope,
    ReportReceipt,
)
from lambdas.decisions import report as decisions
from lambdas.decisions.abuse import BAN_AFTER
from lambdas.decisions.limits import NONE, is_emergency_scope, rate_of
from lambdas.hooks.call_shown import shown
from lambdas.repositories.call_keys import OPEN, key_of
from lambdas.repositories.directory import key_of as directory_key
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.hooks import NotTold
from lambdas.repositories.models import AccountItem, EdgeItem, TenantItem
from lambdas.repositories.open_calls import SUSPENDED, parties
from lambdas.repositories.reading import ItemKey
from lambdas.services.services import Services
from lambdas.services.suspension import Failure, failed

log = logging.getLogger(__name__)

MOST = 200  # reports in one request
_RACES = 8
_PATIENCE = 600  # seconds that reports wait for the queue of webhooks
_HOPELESS = ("ValidationException", "TransactionCanceledException")


def take(envelope: ReportEnvelope, edge: EdgeItem, services: Services) -> ReportReceipt:
    """Apply reports, in order. The edge sends all of them again if this fails; applying one twice does it once."""
    if len(envelope.reports) > MOST:
        raise Problem(413, f"At most {MOST} reports fit in one request.")
    refused, untold, deaf = 0, False, False
    for report in envelope.reports:
        if not _is_its_own(report, edge):
            log.error("edge %s has no say in this: %s", edge.id, report.kind)
            refused += 1
            continue
        try:
            _apply(report, services)
            if not (deaf or _tell(report, services)):
                deaf = True  # a queue that is silent takes its time for each
            untold = untold or (deaf and not _is_given_up(report, services))
        except (ValueError, KeyError, TypeError, PutError, TransactWriteError) as error:
            if isinstance(error, PutError | TransactWriteError) and error.cause_response_code not in _HOPELESS:
                raise
            # It will never be any better, and what comes after it mustn't wait.
            log.exception("a report of edge %s can't be applied: %s", edge.id, report.kind)
            refused += 1
    if untold:
        detail = "The queue of webhooks doesn't take what is to be told; send the reports again."
        raise Problem(503, detail, {"Retry-After": "5"})
    return ReportReceipt(version=VERSION, refused=refused)


def _is_its_own(report: Report, edge: EdgeItem) -> bool:
    """Whether it is about an address that ``edge`` may hold. (A call's end may be seen by any edge; who names a call
    has had a token of it.)"""
    match report:
        case ProbeReport():
            return report.edge == edge.id
        case BindingReport():
            return report.flow[0] in edge.addresses
        case CallAnswered():
            return report.edges[0] in edge.addresses
        case CallFailed() | ProviderReport() | LoginsFailed():
            return report.address in edge.addresses
    return True


def _apply(report: Report, services: Services) -> None:
    match report:
        case CallAnswered():
            if any(map(is_emergency_scope, report.counted)):
                report = report.model_copy(update={"sides": []})  # nobody ends it but those who talk
            number = report.legs[0].number if report.legs else ""
            rates = services.tables.directory.settings(report.tenant).rates if report.counted and number else ()
            scopes, beside = services.tables.calls.answered(report, rate_of(number, rates), _who_takes_part(report))
            if any(item["suspended"]["S"] for item in beside if "suspended" in item):
                services.tables.calls.open.end(key_of(report, OPEN), services.clock(), SUSPENDED)
            _spend(scopes, report.tenant, services)
        case CallFailed():
            services.tables.calls.failed(report)
        case CallEnded():
            _spend(services.tables.calls.ended(report), report.tenant, services)
            _note_media(report, services)
        case CallLost():
            services.tables.calls.open.end(key_of(report, OPEN), services.clock(), report.why)
        case CallTransferred():
            _spend(services.tables.calls.transferred(report), report.tenant, services)
        case ProbeReport():
            services.tables.probes.add(report)
        case ProviderReport():
            assigned = services.tables.assignments.get(report.provider)
            if assigned is not None and assigned.address == report.address:  # else another edge has its say by now
                services.tables.providers.note(report)
        case LoginsFailed():
            times = max(1, min(report.times, BAN_AFTER))
            at = min(report.at, services.clock())
            failed(Failure(report.account, report.source, at, times, report.address), services)
        case BindingReport():
            _write_binding(report, services)


def _write_binding(report: BindingReport, services: Services) -> None:
    for _ in range(_RACES):
        account = services.tables.directory.account(report.aor)
        bindings = services.tables.bindings.of(report.aor)
        puts = decisions.decide(report, account, bindings, services.clock())
        if services.tables.bindings.write(puts):
            if account is not None and puts:
                services.notices.moved(account.aor, account.tenant, bindings, puts, services.clock())
            return
    raise Problem(503, "A binding changes too often just now; send the reports again.", {"Retry-After": "1"})


def _note_media(report: CallEnded, services: Services) -> None:
    """What the tenant is to hear of a call's end beside its record: once, however often the report comes."""
    if report.event and services.quotas.logs.take(report.tenant):
        call = services.tables.calls.one(report.tenant, report.started, report.call)
        about, call_id = (call.account, call.call_id) if call is not None else ("", "")
        event = StoredEvent("media", report.ended, report.event, about, call_id)
        services.tables.events.add(report.tenant, event, report.call)


def _tell(report: Report, services: Services) -> bool:
    """Whether the webhooks' queue has taken what it has to be told of."""
    try:
        if isinstance(report, CallAnswered | CallFailed | CallEnded):
            services.notices.call(report, lambda: _record(report, services))
        if isinstance(report, CallEnded | CallTransferred) and services.notices.wanted(report.tenant, "call.ended"):
            _tell_of_joined(report, services)
    except NotTold as error:
        log.warning("webhooks can't be told just now: %s", error)
        return False
    return True


def _tell_of_joined(report: CallEnded | CallTransferred, services: Services) -> None:
    """Calls that were put through end as the one that they have become: no edge reports that. Raises NotTold."""
    calls = services.tables.calls
    for name in calls.ended_with(report) if isinstance(report, CallEnded) else [report]:
        found = calls.one(name.tenant, name.started, name.call)
        if found is not None and found.ended is not None:
            end = CallEnded(tenant=name.tenant, call=name.call, started=name.started, ended=found.ended)
            services.notices.call(end, partial(_record, end, services))


def _record(report: CallAnswered | CallFailed | CallEnded, services: Services) -> dict[str, Any]:
    """The call's record as it is by now; of an end that comes first what it says."""
    found = services.tables.calls.one(report.tenant, report.started, report.call)
    if found is not None:
        return shown(found).model_dump(mode="json")
    end = report.model_dump(mode="json", include={"started", "ended", "reason"})
    return {"id": report.call, **end, "ended_by": getattr(report, "by", "")}


def _is_given_up(report: Report, services: Services) -> bool:
    """Whether the queue isn't waited for any longer: records wait behind it."""
    match report:
        case CallAnswered(answered=at) | CallFailed(ended=at) | CallEnded(ended=at):
            given_up = services.clock() - at > _PATIENCE
            if given_up:
                log.error("webhooks aren't told of a call that was %s: the queue has taken nothing", report.kind)
            return given_up
    return True


def _who_takes_part(report: CallAnswered) -> list[ItemKey]:
    """The call's tenant and its accounts. Suspending one of them ended the calls known then, and this one may have been
    ringing: so they have to be asked once the call is known. Without sides nobody can end it anyway."""
    if not report.sides:
        return []
    accounts = [directory_key(AccountItem, aor) for aor in parties(report) if "@" in aor]
    return [key for key in (directory_key(TenantItem, report.tenant), *accounts) if key is not None]


def _spend(scopes: list[str], tenant: str, services: Services) -> None:
    """One call more or less: have those that are left end when the day's money has run out."""
    now = services.clock()
    for scope in scopes:
        if scope == tenant:
            limits = services.tables.directory.settings(tenant).limits
        else:
            owner = services.cache.owner(scope.rpartition("@")[2])
            account, _, _ = services.tables.directory.member(scope, owner)
            limits = account.limits if account is not None else NONE
        if limits.daily_spend is not None:
            for call in services.tables.usage.deadlines(scope, limits, now):
                services.tables.calls.open.end(call.key, call.deadline, "daily_spend")


ROUTE = edge_route("/edge/reports", ReportEnvelope, take)
