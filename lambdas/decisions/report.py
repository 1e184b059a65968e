"""What follows from an edge's report of a binding. Applying one twice, or late, changes nothing more."""

from __future__ import annotations

from lambdas.contract import BindingReport, stalest
from lambdas.decisions.values import Put, StoredAccount, StoredBinding, present, remove


def decide(
    report: BindingReport, account: StoredAccount | None, bindings: tuple[StoredBinding, ...], now: float
) -> list[Put]:
    """``bindings`` are all items of the AOR. Whatever was registered after the report counts for more than it, and what
    an account that had the name before has left behind counts nothing."""
    if account is not None and (report.at < account.created or report.tenant not in ("", account.tenant)):
        return []
    same = [item for item in bindings if item.stands_for(report, report)]
    mine = next((item for item in same if (item.key, item.address) == (report.key, report.flow[0])), None)
    others = [item for item in same if item is not mine]
    if not report.expires:
        gone = mine is not None and mine.live(now) and mine.call_id == report.call_id and mine.cseq <= report.cseq
        return [remove(mine, _revision(report), now)] if mine is not None and gone else []
    stamp = round(min(report.at, now) * 1000)
    if account is None or not account.enabled or report.at + report.expires <= now:
        return []
    if any(item.registered_at > stamp for item in others) or (mine is not None and _newer(mine, report, stamp)):
        return []
    moved = [remove(item, _revision(report), now) for item in others if item.live(now)]
    binding = StoredBinding.of(
        report,
        registered_at=stamp,
        changed_at=round(now * 1000),
        expires_at=stamp / 1000 + report.expires,
        revision=_revision(report),
        tenant=account.tenant,
        user_agent=mine.user_agent if mine is not None else "",
    )
    left = [item for item in present(bindings, now) if item not in others]
    there = {item.key: 0.0 if item.push else now - item.registered_at / 1000 for item in left}  # who sleeps is there
    going = stalest({report.key: report.expires}, there)
    room = [remove(item, _revision(report), now) for item in bindings if item.key in going and item.live(now)]
    return [Put(binding, mine.revision if mine is not None else None), *moved, *room]


def _newer(item: StoredBinding, report: BindingReport, stamp: int) -> bool:
    if item.revision == _revision(report):
        return True
    if item.call_id == report.call_id:
        return item.cseq > report.cseq
    return item.registered_at > stamp


def _revision(report: BindingReport) -> str:
    return f"{report.call_id[:40]} {report.cseq} {report.at:.3f}"
