"""The calls table: two items for a call, each written by one edge's report and never changed, so that nothing is lost
where two Regions write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from pynamodb.exceptions import PutError

from lambdas.contract import CallAnswered, CallEnded
from lambdas.repositories.models import CallItem

KEEP = 400 * 86_400  # seconds that a call's items are kept
_ANSWERED, _ENDED = "answered", "ended"


@dataclass(frozen=True, slots=True)
class Call:
    """Times are Unix time in seconds. ``ended`` is None while nobody has seen the end, which may be for ever: the edge
    that would have reported it may have died."""

    id: str
    call_id: str
    caller: str
    called: str
    started: int
    ringing: float | None
    answered: float
    ended: float | None
    ended_by: str
    edges: tuple[str, str]


class Calls:
    """Writes are idempotent: a report that comes twice changes nothing."""

    def answered(self, report: CallAnswered) -> None:
        CallItem(
            _partition(report.tenant, report.started),
            _sort(report.started, report.call, _ANSWERED),
            account=report.caller,
            call=report.call,
            call_id=report.call_id,
            caller=report.caller,
            called=report.called,
            started=report.started,
            ringing=report.ringing,
            answered=report.answered,
            edges=list(report.edges),
            ttl=report.started + KEEP,
        ).save()

    def ended(self, report: CallEnded) -> None:
        """The first end counts."""
        item = CallItem(
            _partition(report.tenant, report.started),
            _sort(report.started, report.call, _ENDED),
            call=report.call,
            ended=report.ended,
            ended_by=report.by,
            ttl=report.started + KEEP,
        )
        try:
            item.save(condition=CallItem.pk.does_not_exist())
        except PutError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise

    def of(self, tenant: str, day: str, limit: int, after: str | None = None) -> tuple[list[Call], str | None]:
        """A tenant's answered calls that were started on ``day`` (YYYY-MM-DD, UTC), oldest first, and where to go
        on."""
        condition = CallItem.sk > after if after else None
        found: list[Call] = []
        last = after
        for call, sk in _merged(iter(CallItem.query(f"{tenant}#{day}", condition, page_size=2 * limit))):
            if len(found) == limit:
                return found, last
            found.append(call)
            last = sk
        return found, None


def _merged(items: Iterator[CallItem]) -> Iterator[tuple[Call, str]]:
    """An answered call's item is followed by that of its end, if there is one: their keys differ in the last word."""
    answered: CallItem | None = None
    for item in items:
        if item.sk.endswith(_ANSWERED):
            if answered is not None:
                yield _call(answered, None), _after(answered)
            answered = item
        elif answered is not None and answered.call == item.call:
            yield _call(answered, item), _after(answered)
            answered = None
    if answered is not None:
        yield _call(answered, None), _after(answered)


def _after(item: CallItem) -> str:
    return _sort(int(item.started), item.call, _ENDED)


def _call(item: CallItem, end: CallItem | None) -> Call:
    caller_edge, callee_edge = item.edges
    return Call(
        id=item.call,
        call_id=item.call_id,
        caller=item.caller,
        called=item.called,
        started=int(item.started),
        ringing=float(item.ringing) if item.ringing is not None else None,
        answered=float(item.answered),
        ended=float(end.ended) if end is not None else None,
        ended_by=end.ended_by if end is not None else "",
        edges=(caller_edge, callee_edge),
    )


def _partition(tenant: str, started: int) -> str:
    return f"{tenant}#{time.strftime('%Y-%m-%d', time.gmtime(started))}"


def _sort(started: int, call: str, what: str) -> str:
    return f"{started:010d}#{call}#{what}"
