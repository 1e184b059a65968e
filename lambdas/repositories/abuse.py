"""What strangers and accounts have tried lately, in the table of calls, by stretches of ten minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, cast

from lambdas.decisions.abuse import NEW, STRETCH
from lambdas.repositories.call_models import AbuseItem

_KEEP = 30 * 86_400
_MOST_OTHERS = 500  # sources or accounts that one item names


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
        of_account = self._add(f"account#{account}", source, now)
        of_source = self._add(f"source#{source}", account, now)
        return int(of_account.times), len(of_account.others or ()), int(of_source.times)

    def called_premium(self, account: str, prefix: str, now: float) -> tuple[int, list[str]]:
        """``account`` has called a premium number: how many of those with new prefixes it has called, and which."""
        known = AbuseItem(f"abuse#premium#{account}", "known")
        try:
            known.refresh(consistent_read=True)
        except AbuseItem.DoesNotExist:
            known.known = {}
        seen: dict[str, float] = dict(known.known or {})
        if prefix not in seen:
            seen[prefix] = now
            known.update([AbuseItem.known.set(seen), AbuseItem.ttl.set(int(now) + 12 * _KEEP)])
        if seen[prefix] < now - NEW:
            return 0, []
        counted = self._add(f"premium#{account}", prefix, now)
        return int(counted.times), sorted(counted.others or ())

    def of(self, day: str, limit: int) -> list[Attempts]:
        """Those of one day (YYYY-MM-DD, UTC), by time."""
        found = []
        for item in AbuseItem.by_day.query(f"abuse#{day}", limit=limit):
            _, kind, name = item.pk.split("#", 2)
            others = sorted(item.others or ())
            found.append(Attempts(cast(Kind, kind), name, int(item.sk), int(item.times or 0), others))
        return found

    def _add(self, what: str, other: str, now: float) -> AbuseItem:
        item = AbuseItem(f"abuse#{what}", f"{int(now) // STRETCH * STRETCH:010d}")
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        item.update(
            [
                AbuseItem.times.add(1),
                AbuseItem.others.add({other[:200]}),
                AbuseItem.account.set(f"abuse#{day}"),
                AbuseItem.ttl.set(int(now) + _KEEP),
            ]
        )
        return item
