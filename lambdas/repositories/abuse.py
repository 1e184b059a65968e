"""What strangers and accounts have tried lately, in the table of calls, by stretches of ten minutes. Each Region counts
in items of its own; who reads adds them up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from pynamodb.expressions.update import Action

from lambdas.decisions.abuse import NEW, STRETCH
from lambdas.repositories.call_models import AbuseItem
from lambdas.repositories.transactions import conditional

_KEEP = 30 * 86_400
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
    """Adds up. Each gives the sums of the present stretch of time."""

    def failed(self, account: str, source: str, now: float) -> tuple[int, int, int]:
        """An authentication as ``account`` from ``source`` has failed: failures of the account and from how many
        sources, and failures from the source."""
        failures, sources = self._add(f"account#{account}", source, now)
        of_source, _ = self._add(f"source#{source}", account, now)
        return failures, len(sources), of_source

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
        times, prefixes = self._add(f"premium#{account}", prefix, now, f"{attempt[:64]} {prefix}")
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
            others = sorted(item.others or ())
            found.append(
                CountedAttempts(cast(AttemptKind, its_kind), its_name, int(item.sk[:10]), int(item.times or 0), others)
            )
            last = f"{item.sk}{_THEN}{item.pk}"
        return found, None

    def _add(self, what: str, other: str, now: float, once: str = "") -> tuple[int, set[str]]:
        """Once more, unless ``once`` has been added; how often by now, and with which others."""
        stretch = f"{int(now) // STRETCH * STRETCH:010d}"
        item = AbuseItem(f"abuse#{what}", f"{stretch}#{_REGION}")
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        actions: list[Action] = [
            AbuseItem.times.add(1),
            AbuseItem.others.add({other[:200]}),
            AbuseItem.account.set(f"abuse#{day}"),
            AbuseItem.ttl.set(int(now) + _KEEP),
        ]
        if once:
            actions.append(AbuseItem.once.add({once}))
        conditional(partial(item.update, actions, condition=~AbuseItem.once.contains(once) if once else None))
        times, others = 0, set[str]()
        for one in AbuseItem.query(f"abuse#{what}", AbuseItem.sk.startswith(stretch), consistent_read=True):
            times += int(one.times or 0)
            others |= set(one.others or ())
        return times, others
