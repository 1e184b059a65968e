"""What strangers and accounts have tried lately, in the table of calls, by stretches of ten minutes. Each Region counts
in items of its own; who reads adds them up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from pynamodb.expressions.update import Action

from lambdas.decisions.abuse import MOST_OTHERS, NEW, STRETCH, weight
from lambdas.repositories.call_models import AbuseItem
from lambdas.repositories.transactions import Turns, conditional, pause

_KEEP = 30 * 86_400
_RACES = 4
_LONGEST = 200  # characters of a name
_KNOWN = "known#"
_THEN = " "  # between the two parts of a cursor, the first of which has none
_REGION = AbuseItem.Meta.region


AttemptKind = Literal["account", "source", "premium"]


@dataclass(frozen=True, slots=True)
class CountedAttempts:
    """How often, in the stretch of time that began ``at``, and with which others."""

    kind: AttemptKind
    name: str
    at: int
    times: int
    others: list[str]


class Abuse:
    """Adds up. Each gives the sums of the stretch of time."""

    def __init__(self) -> None:
        self._turns = Turns()

    def failed_from(
        self, source: str, account: str, at: float, times: int = 1, address: str = ""
    ) -> tuple[int, int] | None:
        """``times`` authentications as ``account`` from ``source`` have failed, the last one ``at``: the source's
        failures before and now, those as one account counted up to a bound. None if the edge ``address`` has reported
        it before."""
        pk, stretch = f"abuse#source#{source}", _stretch(at)
        account, report = account[:_LONGEST], f"{address} {account}"[:_LONGEST]
        with self._turns.of(pk):
            for tries in range(_RACES):
                items, own = _items(pk, stretch)
                before = sum(_weight(item) for item in items)
                tried, reported = dict(own.tried or {}), dict(own.reported or {})
                if address and reported.get(report, 0) >= at:
                    return None
                _add_bounded(tried, account, tried.get(account, 0) + times)
                if address:
                    _add_bounded(reported, report, at)
                others = before - _weight(own)
                actions = [*_counted(at, times), AbuseItem.tried.set(tried), AbuseItem.reported.set(reported)]
                unchanged = AbuseItem.times.does_not_exist() if own.times is None else AbuseItem.times == own.times
                if conditional(partial(own.update, actions, condition=unchanged)):
                    return before, others + _weight(own)  # as it is now
                pause(tries)
            # Whoever fails so often at once isn't one phone with one wrong password: it counts in full.
            own.update(_counted(at, times))
            return before, before + times

    def failed_as(self, account: str, source: str, at: float, times: int = 1) -> tuple[int, int]:
        """``times`` authentications as ``account`` from ``source`` have failed: the account's failures, and from how
        many sources, as far as these are kept."""
        failures, sources = self._add(f"account#{account}", source, at, times)
        return failures, len(sources)

    def called_premium(self, account: str, prefix: str, attempt: str, now: float) -> tuple[int, list[str]]:
        """``account`` has called a premium number: how many of those with new prefixes it has called, and which. An
        ``attempt`` counts once for each prefix."""
        pk = f"abuse#premium#{account}"
        mine: dict[str, float] = {}
        seen: dict[str, float] = {}
        for item in AbuseItem.query(pk, AbuseItem.sk.startswith(_KNOWN), consistent_read=True):
            if item.sk == _KNOWN + _REGION:
                mine = dict(item.known or {})
            for one, at in (item.known or {}).items():
                seen[one] = min(at, seen.get(one, at))
        if prefix not in seen:
            seen[prefix] = mine[prefix] = now
            known = AbuseItem(pk, _KNOWN + _REGION)
            known.update([AbuseItem.known.set(mine), AbuseItem.ttl.set(int(now) + 12 * _KEEP)])
        if seen[prefix] < now - NEW:
            return 0, []
        times, prefixes = self._add(f"premium#{account}", prefix, now, once=f"{attempt[:64]} {prefix}")
        return times, sorted(prefixes)

    def of(
        self, day: str, limit: int, after: str | None, kind: AttemptKind | None = None, name: str = ""
    ) -> tuple[list[CountedAttempts], str | None]:
        """Those of one day (YYYY-MM-DD, UTC), by time, and where to go on; of one ``kind`` and ``name``, or all."""
        which = f"abuse#{day}"
        sk, _, pk = (after or "").partition(_THEN)
        if after and not (sk and pk.startswith("abuse#")):
            return [], None  # a cursor of another list
        start = {"account": {"S": which}, "sk": {"S": sk}, "pk": {"S": pk}} if after else None
        found: list[CountedAttempts] = []
        last = after
        for item in AbuseItem.by_day.query(which, last_evaluated_key=start):
            _, its_kind, its_name = item.pk.split("#", 2)
            if kind not in (None, its_kind) or name not in ("", its_name):
                continue
            if len(found) == limit:
                return found, last
            others = sorted({*(item.others or ()), *(item.tried or ())})
            found.append(
                CountedAttempts(cast(AttemptKind, its_kind), its_name, int(item.sk[:10]), int(item.times or 0), others)
            )
            last = f"{item.sk}{_THEN}{item.pk}"
        return found, None

    def _add(self, what: str, other: str, now: float, times: int = 1, once: str = "") -> tuple[int, set[str]]:
        """Once more, unless ``once`` has been added; how often by now, and with which others, of which the first so
        many are kept."""
        pk, stretch = f"abuse#{what}", _stretch(now)
        items, own = _items(pk, stretch)
        actions = _counted(now, times)
        if len(own.others or ()) < MOST_OTHERS:
            actions.append(AbuseItem.others.add({other[:_LONGEST]}))
        if once:
            actions.append(AbuseItem.once.add({once}))
        condition = ~AbuseItem.once.contains(once) if once else None
        if not conditional(partial(own.update, actions, condition=condition)):
            own.refresh(consistent_read=True)
        return sum(int(one.times or 0) for one in items), set[str]().union(*(one.others or () for one in items))


def _stretch(at: float) -> str:
    return f"{int(at) // STRETCH * STRETCH:010d}"


def _items(pk: str, stretch: str) -> tuple[list[AbuseItem], AbuseItem]:
    """Of a stretch of time all Regions' items, and this Region's among them, though it may not be there yet."""
    items = list(AbuseItem.query(pk, AbuseItem.sk.startswith(stretch), consistent_read=True))
    own = next((item for item in items if item.sk == f"{stretch}#{_REGION}"), None)
    if own is None:
        own = AbuseItem(pk, f"{stretch}#{_REGION}")
        items.append(own)
    return items, own


def _weight(item: AbuseItem) -> int:
    return weight(int(item.times or 0), item.tried or {})


def _add_bounded(known: dict[str, Any], name: str, value: float) -> None:
    if name in known or len(known) < MOST_OTHERS:
        known[name] = value


def _counted(at: float, times: int) -> list[Action]:
    day = time.strftime("%Y-%m-%d", time.gmtime(at))
    return [
        AbuseItem.times.add(times),
        AbuseItem.account.set(f"abuse#{day}"),
        AbuseItem.ttl.set(int(at) + _KEEP),
    ]
