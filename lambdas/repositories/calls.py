"""The calls table: two items for a call, each written by one edge's report and never changed (but that an end says
whose it was, too), so that nothing is lost where two Regions write; and while it lasts a third one, with what ending it
takes. A call that nobody took is one item.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pydantic import TypeAdapter

from lambdas.contract import (
    CallAnswered,
    CallEnded,
    CallFailed,
    CallName,
    CallTransferred,
    MediaQuality,
    MediaWay,
    TriedLeg,
)
from lambdas.repositories.call_keys import ANSWERED, ENDED, FAILED, OPEN, attempt_of, key_of, name_of, partition, sort
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.open_calls import OpenCalls
from lambdas.repositories.reading import ItemKey, Raw, read
from lambdas.repositories.transactions import conditional
from lambdas.repositories.usage import UsageTable

KEEP = 400 * 86_400  # seconds that a call's items are kept
_ENDS_AT_ONCE = 50
_MOST_LOOKED_AT = 20_000  # calls in one request, which has its time
_LEGS = TypeAdapter(list[TriedLeg])
_QUALITY = TypeAdapter(list[MediaQuality])


@dataclass(frozen=True, slots=True)
class StoredCall:
    """Times are Unix time in seconds. ``answered`` is None if nobody took it; ``ended`` while nobody has seen the end,
    which may be for ever: the edge that would have reported it may have died. ``status`` is the final response's. Of
    ``edges``, ``providers`` and ``user_agents`` the caller's side is first. ``asserted`` is who called as the provider
    says, where ``caller`` doesn't since he asked for that: for operators only. ``media`` is which way they took in the
    end, "" if nobody has said."""

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
    legs: tuple[TriedLeg, ...]
    asserted: str = field(default="", repr=False)
    transferred_by: str = ""
    media: MediaWay = ""
    media_why: str = ""
    quality: tuple[MediaQuality, ...] = ()


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
    """Writes are idempotent: a report that comes twice changes nothing. Each gives the scopes whose use has changed.
    ``open`` are the calls that nobody has seen end."""

    def __init__(self, usage: UsageTable) -> None:
        self._usage = usage
        self.open = OpenCalls()

    def answered(
        self, report: CallAnswered, rate: float = 0.0, beside: Sequence[ItemKey] = ()
    ) -> tuple[list[str], list[Raw]]:
        """``rate`` is what a minute costs. What is ``beside`` is read once the call is known, unless it is over, and
        given back.

        These are several writes, and any of them may be the last: then the report comes again, and does them all once
        more. By then the call's end may have been reported, by another edge too, and what that has released mustn't
        come back:

        - Stopped after the record: whoever reported the end found nothing open, and released nothing. The record being
          there tells the repetition to look for the end first, and slots that are gone aren't made again.
        - Stopped after the open call: its end closed that, but found no slot with the call's key. The repetition knows
          the end, opens the call, gives its slot the key, and releases both.
        - Stopped amid the slots: the end released those that had the key; the repetition does so with the rest.
        - The end came after it was looked for and before the call was open: so it is looked for once more in the end.
        - Never repeated, since the edge has lost its disk: an open call ends at its deadline, a slot expires.
        """
        again = not self._record(report)
        ended = self._end_of(report) if again else None
        found: dict[ItemKey, Raw] = {}
        if report.sides or report.counted:
            self.open.put(report)
        key, over = key_of(report, OPEN), ended is not None
        for scope in report.counted:
            self._usage.answered(scope, attempt_of(report), rate, report.answered, report.max_duration, key, over)
        if ended is None and (report.sides or report.counted):
            end = ItemKey(CallItem, *key_of(report, ENDED))
            found = read([end, *beside])
            ended = _ended_at(found.pop(end, None))
        if ended is not None:
            self._usage.release(report.counted, attempt_of(report), ended, key)
            self.open.remove(report)
            return report.counted, []
        return report.counted, list(found.values())

    def _record(self, report: CallAnswered) -> bool:
        """Whether it wasn't there before."""
        item = _outlined(
            report,
            ANSWERED,
            answered=report.answered,
            edges=list(report.edges),
            status=200,
            providers=list(report.providers),
            user_agents=list(report.user_agents),
            codecs=report.codecs,
            media=report.media or None,
            media_why=report.media_why or None,
        )
        return _saved(item)

    def failed(self, report: CallFailed) -> list[str]:
        """Nobody has taken it."""
        self._usage.release(report.counted, attempt_of(report), report.ended)
        _outlined(
            report,
            FAILED,
            ended=report.ended,
            ended_by=report.by or None,
            edges=[report.address, report.called_address],
            status=report.status,
            reason=report.reason,
            providers=[report.provider, report.called_provider],
            user_agents=[report.user_agent, report.called_agent],
        ).save()
        return report.counted

    def transferred(self, report: CallTransferred) -> list[str]:
        """It counts, and costs, until the call ends that it goes on as: the one outside is still the same. Where that
        one has ended before this was known, so does it."""
        on = CallName(tenant=report.tenant, call=report.to, started=report.to_started)
        if self.open.join(report, on, report.at, report.sides):
            return []
        ended = self._end_of(on)
        if ended is None:
            return []
        name = {"tenant": report.tenant, "call": report.call, "started": report.started}
        return self.ended(CallEnded(**name, ended=ended))

    def _end_of(self, report: CallName) -> float | None:
        end = ItemKey(CallItem, *key_of(report, ENDED))
        return _ended_at(read([end]).get(end))

    def ended(self, report: CallEnded) -> list[str]:
        """The first end counts; how good it was another edge may know, which tells of it later."""
        quality = _QUALITY.dump_json(report.quality, exclude_defaults=True).decode() if report.quality else None
        item = CallItem(
            *key_of(report, ENDED),
            call=report.call,
            ended=report.ended,
            ended_by=report.by,
            reason=report.reason,
            media=report.media or None,
            media_why=report.media_why or None,
            quality=quality,
            ttl=report.started + KEEP,
        )
        if not _saved(item) and quality is not None:
            unknown = CallItem.quality.does_not_exist()
            conditional(lambda: item.update([CallItem.quality.set(quality)], condition=unknown))
        opened = self.open.remove_unless_more_is_due(report)
        if opened is None:
            return []
        counted = list(opened.counted or ())
        self._usage.release(counted, opened.attempt or opened.call_id or "", report.ended, (opened.pk, opened.sk))
        joined = self.open.joined(opened)
        if opened.joined:
            CallItem(*key_of(report, ENDED)).update([CallItem.joined.set(opened.joined)])
        self.open.remove(report)
        for call in joined:
            # What is said of media is this call's alone.
            others = {"call": call.call, "started": call.started, "media": "", "media_why": "", "quality": []}
            counted += self.ended(report.model_copy(update=others))
        return list(dict.fromkeys(counted))

    def ended_with(self, call: CallName) -> list[CallName]:
        """Those that had gone on as ``call``, or it as one of them, and so ended with it."""
        found = [CallName(tenant=call.tenant, call=call.call, started=call.started)]
        for name in found:  # and what those have brought with them
            with contextlib.suppress(CallItem.DoesNotExist):
                item = CallItem.get(*key_of(name, ENDED), consistent_read=True)
                names = dict.fromkeys((pk, sk) for pk, sk in item.joined or ())
                found += [one for one in map(name_of, names) if one not in found]
        return found[1:]

    def of(
        self, tenant: str, day: datetime.date, limit: int, after: str | None = None, wanted: Wanted | None = None
    ) -> tuple[list[StoredCall], str | None]:
        """A tenant's calls that were started on ``day`` (UTC), oldest first, and where to go on. Where few of many are
        wanted there may be fewer than ``limit``, and more to come."""
        wanted = wanted or Wanted()
        pk = f"{tenant}#{day}"
        begin, end = _sorts_of(day)
        begin = max(begin, f"{int(wanted.since or 0):010d}", after or "")
        if begin > end:
            return [], None
        place = CallItem.sk.between(begin, end)
        if wanted.account:
            items = iter(CallItem.by_account.query(wanted.account, place, CallItem.pk == pk))
            pairs = self._with_ends(item for item in items if wanted.fits(item))
        else:
            pairs = _merged(iter(CallItem.query(pk, place, page_size=2 * limit + 1 if wanted.all else None)))
        found: list[StoredCall] = []
        last = after
        for looked_at, (item, ended) in enumerate(pairs):
            if len(found) == limit or looked_at == _MOST_LOOKED_AT:
                return found, last
            last = _after(item)
            if wanted.fits(item):
                found.append(_call(item, ended))
        return found, None

    def one(self, tenant: str, started: int, call: str) -> StoredCall | None:
        """A call by its name, as it is just now."""
        place = CallItem.sk.startswith(f"{started:010d}#{call}#")
        items = CallItem.query(partition(tenant, started), place, consistent_read=True)
        return next((_call(item, end) for item, end in _merged(iter(items))), None)

    def refused(self, tenant: str, started: int, call_id: str) -> bool:
        """Whether a call with that Call-ID, begun in that second, was taken by nobody."""
        place = CallItem.sk.startswith(f"{started:010d}#")
        items = CallItem.query(partition(tenant, started), place, consistent_read=True)
        return any(item.sk.endswith(FAILED) and item.call_id == call_id for item in items)

    def _with_ends(self, items: Iterator[CallItem]) -> Iterator[tuple[CallItem, CallItem | None]]:
        while some := list(itertools.islice(items, _ENDS_AT_ONCE)):
            keys = {(item.pk, sort(int(item.started), item.call, ENDED)): item for item in some}
            ends = {(end.pk, end.sk): end for end in CallItem.batch_get(list(keys))}
            yield from ((item, ends.get(key)) for key, item in keys.items())


def _merged(items: Iterator[CallItem]) -> Iterator[tuple[CallItem, CallItem | None]]:
    """An answered call's item is followed by that of its end, if there is one: their keys differ in the last word."""
    answered: CallItem | None = None
    for item in items:
        if item.sk.endswith((ANSWERED, FAILED)):
            if answered is not None:
                yield answered, None
            answered = item
        elif item.sk.endswith(ENDED) and answered is not None and answered.call == item.call:
            yield answered, item
            answered = None
    if answered is not None:
        yield answered, None


def _after(item: CallItem) -> str:
    return sort(int(item.started), item.call, OPEN)


def _sorts_of(day: datetime.date) -> tuple[str, str]:
    """What the sort keys of a day's calls lie between."""
    midnight = int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp())
    return f"{midnight:010d}", f"{midnight + 86_400:010d}"


def _call(item: CallItem, end: CallItem | None) -> StoredCall:
    last = end or item
    media = end if end is not None and end.media else item
    return StoredCall(
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
        asserted=item.asserted or "",
        transferred_by=item.transferred_by or "",
        media=cast(MediaWay, media.media or ""),
        media_why=media.media_why or "",
        quality=tuple(_QUALITY.validate_json(last.quality or "[]")),
    )


def _outlined(report: CallAnswered | CallFailed, what: str, **more: Any) -> CallItem:
    """The item with what is told of every call, and ``more``."""
    return CallItem(
        *key_of(report, what),
        account=report.account or report.transferred_by or report.caller,
        call=report.call,
        call_id=report.call_id,
        caller=report.caller,
        asserted=report.asserted or None,
        called=report.called,
        started=report.started,
        invited=report.invited or report.started,
        ringing=report.ringing,
        legs=_LEGS.dump_json(report.legs, exclude_defaults=True).decode(),
        transferred_by=report.transferred_by or None,
        ttl=report.started + KEEP,
        **more,
    )


def _ended_at(end: Raw | None) -> float | None:
    return float(end["ended"]["N"]) if end is not None and "ended" in end else None


def _saved(item: CallItem) -> bool:
    """Save it, unless it is there already; whether it wasn't."""
    return conditional(lambda: item.save(condition=CallItem.pk.does_not_exist()))


def _pair(values: Sequence[str] | None) -> tuple[str, str]:
    """Of the caller's side and the other one; records of earlier versions lack some."""
    one, other = values or ("", "")
    return one, other
