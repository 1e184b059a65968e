"""The calls table: two items for a call, each written by one edge's report and never changed, so that nothing is lost
where two Regions write; and while it lasts a third one, with what ending it takes. A call that nobody took is one item.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter
from pynamodb.exceptions import DeleteError, PutError, UpdateError
from pynamodb.expressions.update import Action

from lambdas.contract import CallAnswered, CallEnded, CallFailed, Leg, OpenCall, Side
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.usage import Key, Usage

KEEP = 400 * 86_400  # seconds that a call's items are kept
_ANSWERED, _ENDED, _FAILED, _OPEN = "answered", "ended", "failed", "open"  # in the order in which a query gives them
_LONGEST = 7 * 86_400  # seconds: for so long a dialog's tokens are good
SUSPENDED = "suspended"
"""Why a call ends whose account or tenant is."""
_ENDS_AT_ONCE = 50
_MOST_LOOKED_AT = 20_000  # calls in one request, which has its time
_SIDES = TypeAdapter(list[Side])
_LEGS = TypeAdapter(list[Leg])


def parties(report: CallAnswered) -> list[str]:
    """Those who take part in a call: it ends when one that is an account here is suspended."""
    called = report.legs[0].to if report.legs else ""
    return sorted({report.caller, report.account, called} - {""})


@dataclass(frozen=True, slots=True)
class Call:
    """Times are Unix time in seconds. ``answered`` is None if nobody took it; ``ended`` while nobody has seen the end,
    which may be for ever: the edge that would have reported it may have died. ``status`` is the final response's. Of
    ``edges``, ``providers`` and ``user_agents`` the caller's side is first."""

    id: str
    call_id: str
    caller: str
    called: str
    started: float
    ringing: float | None
    answered: float | None
    ended: float | None
    ended_by: str
    edges: tuple[str, str]
    account: str
    status: int
    reason: str
    providers: tuple[str, str]
    user_agents: tuple[str, str]
    codecs: tuple[str, ...]
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls; what is None or "" is as it may be. ``since`` is Unix time."""

    since: float | None = None
    account: str = ""
    caller: str = ""
    called: str = ""
    call_id: str = ""
    answered: bool | None = None

    @property
    def all(self) -> bool:
        """Whether no call that began then or later isn't wanted."""
        return replace(self, since=None) == Wanted()

    def fits(self, item: CallItem) -> bool:
        return (
            self.account in ("", item.account)
            and self.caller in ("", item.caller)
            and self.called in ("", item.called)
            and self.call_id in ("", item.call_id)
            and self.answered in (None, item.answered is not None)
        )


class Calls:
    """Writes are idempotent: a report that comes twice changes nothing. Each gives the scopes whose use has changed."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def answered(self, report: CallAnswered, rate: float = 0.0) -> list[str]:
        """``rate`` is what a minute costs."""
        again = not self._record(report)
        # Reports come again, and ends may be reported by another edge, and sooner.
        ended = self._end_of(report) if again else None
        if report.sides or report.counted:
            self._open(report)
        key, over = _key(report, _OPEN), ended is not None
        for scope in report.counted:
            self._usage.answered(scope, _attempt(report), rate, report.answered, report.max_duration, key, over)
        if ended is None and (report.sides or report.counted):
            ended = self._end_of(report)
        if ended is not None:
            self._usage.release(report.counted, _attempt(report), ended, key)
            self._close(report)
        return report.counted

    def _record(self, report: CallAnswered) -> bool:
        """Whether it wasn't there before."""
        item = CallItem(
            *_key(report, _ANSWERED),
            account=report.account or report.caller,
            call=report.call,
            call_id=report.call_id,
            caller=report.caller,
            called=report.called,
            started=report.started,
            invited=report.invited or report.started,
            ringing=report.ringing,
            answered=report.answered,
            edges=list(report.edges),
            status=200,
            providers=list(report.providers),
            user_agents=list(report.user_agents),
            codecs=report.codecs,
            legs=_LEGS.dump_json(report.legs, exclude_defaults=True).decode(),
            ttl=report.started + KEEP,
        )
        return _saved(item)

    def failed(self, report: CallFailed) -> list[str]:
        """Nobody has taken it."""
        self._usage.release(report.counted, _attempt(report), report.ended)
        CallItem(
            *_key(report, _FAILED),
            account=report.account or report.caller,
            call=report.call,
            call_id=report.call_id,
            caller=report.caller,
            called=report.called,
            started=report.started,
            invited=report.invited or report.started,
            ringing=report.ringing,
            ended=report.ended,
            ended_by=report.by or None,
            edges=[report.address, report.called_address],
            status=report.status,
            reason=report.reason,
            providers=[report.provider, report.called_provider],
            user_agents=[report.user_agent, report.called_agent],
            legs=_LEGS.dump_json(report.legs, exclude_defaults=True).decode(),
            ttl=report.started + KEEP,
        ).save()
        return report.counted

    def _open(self, report: CallAnswered) -> None:
        deadline = math.ceil(report.answered) + (report.max_duration or _LONGEST)
        CallItem(
            *_key(report, _OPEN),
            call=report.call,
            started=report.started,
            tenant=report.tenant,
            address=report.edges[0] if report.sides else None,  # without it nobody can end the call
            call_id=report.call_id,
            attempt=_attempt(report),
            counted=report.counted,
            parties=parties(report),
            deadline=deadline,
            why="max_call_seconds" if report.max_duration else None,
            sides=_SIDES.dump_json(report.sides).decode(),
            ttl=int(report.answered) + _LONGEST,
        ).save()

    def _end_of(self, report: CallAnswered) -> float | None:
        found = self._item(report, _ENDED)
        return float(found.ended) if found is not None and found.ended is not None else None

    def _item(self, report: CallAnswered | CallEnded, what: str) -> CallItem | None:
        try:
            return CallItem.get(
                *_key(report, what),
                consistent_read=True,
            )
        except CallItem.DoesNotExist:
            return None

    def _close(self, report: CallAnswered | CallEnded) -> None:
        item = CallItem(*_key(report, _OPEN))
        with contextlib.suppress(DeleteError):  # it is cleaned up some day, and ending it twice hurts nobody
            item.delete()

    def overdue(self, address: str, now: float, limit: int) -> list[OpenCall]:
        """Calls whose callers are at ``address``, and that should be over."""
        found = CallItem.open_calls.query(address, CallItem.deadline <= int(now), limit=limit)
        return [
            OpenCall(
                address=address,
                tenant=item.tenant,
                call=item.call,
                started=int(item.started),
                sides=_SIDES.validate_json(item.sides),
                why=item.why or "",
            )
            for item in found
        ]

    def end(self, report: CallAnswered, now: float, why: str) -> None:
        """Have it end at once, if it is still open."""
        self.end_by(_key(report, _OPEN), now, why)

    def end_by(self, key: Key, deadline: float, why: str) -> None:
        """Have an open call end then, if it is still open. ``why`` is for people."""
        item = CallItem(*key)
        actions: list[Action] = [CallItem.deadline.set(math.ceil(deadline)), CallItem.why.set(why)]
        try:
            item.update(actions, condition=CallItem.pk.exists())
        except UpdateError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise

    def hang_up(self, addresses: Iterable[str], tenant: str, party: str, now: float) -> int:
        """Have the open calls of a tenant, or (``party``) of one of its accounts, end at once; how many there are."""
        found = [
            item
            for address in addresses
            for item in CallItem.open_calls.query(address)
            if item.tenant == tenant and (not party or party in (item.parties or ()))
        ]
        for item in found:
            self.end_by((item.pk, item.sk), now, SUSPENDED)
        return len(found)

    def ended(self, report: CallEnded) -> list[str]:
        """The first end counts."""
        item = CallItem(
            *_key(report, _ENDED),
            call=report.call,
            ended=report.ended,
            ended_by=report.by,
            reason=report.reason,
            ttl=report.started + KEEP,
        )
        _saved(item)
        opened = self._item(report, _OPEN)
        if opened is None:
            return []
        counted = list(opened.counted or ())
        self._usage.release(counted, opened.attempt or opened.call_id or "", report.ended, (opened.pk, opened.sk))
        self._close(report)
        return counted

    def of(
        self, tenant: str, day: datetime.date, limit: int, after: str | None = None, wanted: Wanted | None = None
    ) -> tuple[list[Call], str | None]:
        """A tenant's calls that were started on ``day`` (UTC), oldest first, and where to go on. Where few of many are
        wanted there may be fewer than ``limit``, and more to come."""
        wanted = wanted or Wanted()
        partition = f"{tenant}#{day}"
        begin, end = _sorts_of(day)
        begin = max(begin, f"{int(wanted.since or 0):010d}", after or "")
        if begin > end:
            return [], None
        place = CallItem.sk.between(begin, end)
        if wanted.account:
            items = iter(CallItem.by_account.query(wanted.account, place, CallItem.pk == partition))
            pairs = self._with_ends(item for item in items if wanted.fits(item))
        else:
            pairs = _merged(iter(CallItem.query(partition, place, page_size=2 * limit + 1 if wanted.all else None)))
        found: list[Call] = []
        last = after
        for looked_at, (item, ended) in enumerate(pairs):
            if len(found) == limit or looked_at == _MOST_LOOKED_AT:
                return found, last
            last = _after(item)
            if wanted.fits(item):
                found.append(_call(item, ended))
        return found, None

    def one(self, tenant: str, started: int, call: str) -> Call | None:
        """A call by its name, as it is just now."""
        place = CallItem.sk.startswith(f"{started:010d}#{call}#")
        items = CallItem.query(_partition(tenant, started), place, consistent_read=True)
        return next((_call(item, end) for item, end in _merged(iter(items))), None)

    def _with_ends(self, items: Iterator[CallItem]) -> Iterator[tuple[CallItem, CallItem | None]]:
        while some := list(itertools.islice(items, _ENDS_AT_ONCE)):
            keys = {(item.pk, _sort(int(item.started), item.call, _ENDED)): item for item in some}
            ends = {(end.pk, end.sk): end for end in CallItem.batch_get(list(keys))}
            yield from ((item, ends.get(key)) for key, item in keys.items())


def _merged(items: Iterator[CallItem]) -> Iterator[tuple[CallItem, CallItem | None]]:
    """An answered call's item is followed by that of its end, if there is one: their keys differ in the last word."""
    answered: CallItem | None = None
    for item in items:
        if item.sk.endswith((_ANSWERED, _FAILED)):
            if answered is not None:
                yield answered, None
            answered = item
        elif item.sk.endswith(_ENDED) and answered is not None and answered.call == item.call:
            yield answered, item
            answered = None
    if answered is not None:
        yield answered, None


def _after(item: CallItem) -> str:
    return _sort(int(item.started), item.call, _OPEN)


def _sorts_of(day: datetime.date) -> tuple[str, str]:
    """What the sort keys of a day's calls lie between."""
    midnight = int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp())
    return f"{midnight:010d}", f"{midnight + 86_400:010d}"


def _call(item: CallItem, end: CallItem | None) -> Call:
    last = end or item
    return Call(
        id=item.call,
        call_id=item.call_id,
        caller=item.caller,
        called=item.called,
        started=float(item.invited or item.started),
        ringing=float(item.ringing) if item.ringing is not None else None,
        answered=float(item.answered) if item.answered is not None else None,
        ended=float(last.ended) if last.ended is not None else None,
        ended_by=last.ended_by or "",
        edges=_pair(item.edges),
        account=item.account,
        status=int(item.status or 200),
        reason=last.reason or "",
        providers=_pair(item.providers),
        user_agents=_pair(item.user_agents),
        codecs=tuple(item.codecs or ()),
        legs=tuple(_LEGS.validate_json(item.legs or "[]")),
    )


def _saved(item: CallItem) -> bool:
    """Save it, unless it is there already; whether it wasn't."""
    try:
        item.save(condition=CallItem.pk.does_not_exist())
    except PutError as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    return True


def _key(report: CallAnswered | CallFailed | CallEnded, what: str) -> Key:
    """Of one of the call's items."""
    return _partition(report.tenant, report.started), _sort(report.started, report.call, what)


def _attempt(report: CallAnswered | CallFailed) -> str:
    """Edges of before had no name of their own for an INVITE."""
    return report.attempt or report.call_id


def _pair(values: Sequence[str] | None) -> tuple[str, str]:
    """Of the caller's side and the other one; records of earlier versions lack some."""
    one, other = values or ("", "")
    return one, other


def _partition(tenant: str, started: int) -> str:
    return f"{tenant}#{time.strftime('%Y-%m-%d', time.gmtime(started))}"


def _sort(started: int, call: str, what: str) -> str:
    return f"{started:010d}#{call}#{what}"
