"""What strangers and accounts have tried lately, in the table of calls, by stretches of ten minutes."""

from __future__ import annotations

import time

from lambdas.decisions.abuse import NEW, STRETCH
from lambdas.repositories.call_models import AbuseItem

_KEEP = 30 * 86_400
_MOST_OTHERS = 500  # sources or accounts that one item names


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

    def day(self, day: str, what: str) -> dict[str, tuple[int, set[str]]]:
        """Of one day (YYYY-MM-DD, UTC): how often each ``what`` ("account", "source" or "premium") has tried, and with
        which others."""
        found: dict[str, tuple[int, set[str]]] = {}
        for item in AbuseItem.by_day.query(f"abuse#{day}"):
            kind, _, name = item.pk.removeprefix("abuse#").partition("#")
            if kind == what:
                times, others = found.get(name, (0, set()))
                found[name] = times + int(item.times or 0), others | set(item.others or ())
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
