"""What strangers and accounts have tried lately, in the table of calls, by stretches of ten minutes. Each Region counts
in items of its own; who reads adds them up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, cast

from lambdas.decisions.abuse import NEW, STRETCH
from lambdas.repositories.call_models import AbuseItem

_KEEP = 30 * 86_400
_KNOWN = "known#"
_REGION = AbuseItem.Meta.region


Kind = Literal["account", "source", "premium"]


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often, in the stretch of time that began ``at``, and with which others."""

    kind: Kind
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

    def called_premium(self, account: str, prefix: str, now: float) -> tuple[int, list[str]]:
        """``account`` has called a premium number: how many of those with new prefixes it has called, and which."""
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
        times, prefixes = self._add(f"premium#{account}", prefix, now)
        return times, sorted(prefixes)

    def of(self, day: str, limit: int) -> list[Attempts]:
        """Those of one day (YYYY-MM-DD, UTC), by time."""
        found = []
        for item in AbuseItem.by_day.query(f"abuse#{day}", limit=limit):
            _, kind, name = item.pk.split("#", 2)
            others = sorted(item.others or ())
            found.append(Attempts(cast(Kind, kind), name, int(item.sk[:10]), int(item.times or 0), others))
        return found

    def _add(self, what: str, other: str, now: float) -> tuple[int, set[str]]:
        """Once more; how often by now, and with which others."""
        stretch = f"{int(now) // STRETCH * STRETCH:010d}"
        item = AbuseItem(f"abuse#{what}", f"{stretch}#{_REGION}")
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        item.update(
            [
                AbuseItem.times.add(1),
                AbuseItem.others.add({other[:200]}),
                AbuseItem.account.set(f"abuse#{day}"),
                AbuseItem.ttl.set(int(now) + _KEEP),
            ]
        )
        times, others = 0, set[str]()
        for one in AbuseItem.query(f"abuse#{what}", AbuseItem.sk.startswith(stretch), consistent_read=True):
            times += int(one.times or 0)
            others |= set(one.others or ())
        return times, others
