"""What a tenant should know of: the log of its dial plans, and who changed what; for 30 days."""

from __future__ import annotations

import itertools
import secrets
import time
from dataclasses import dataclass
from typing import Literal, cast

from lambdas.repositories.call_models import EventItem

KEEP = 30 * 86_400
_LONGEST = 12_000  # characters

EventKind = Literal["plan", "audit", "abuse", "hook", "emergency", "provider", "certificate", "push", "media"]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """``kind`` says what ``about`` is: of "plan" the dial plan's name, of "audit" the API key, of "abuse" who is
    suspended or banned, of "emergency" who has called for help, of "certificate" whose name it is for, of "push"
    whose phone is to be woken, of "media" the account whose call was ended. ``at`` is Unix time."""

    kind: EventKind
    at: float
    text: str
    about: str = ""
    call_id: str = ""


class Events:
    """Appends, and reads by day."""

    def add(self, tenant: str, event: StoredEvent, name: str = "") -> None:
        """With a ``name`` an event of that time is there once, however often it is added."""
        EventItem(
            _partition(tenant, time.strftime("%Y-%m-%d", time.gmtime(event.at))),
            f"{round(event.at * 1000):013d}#{name or secrets.token_hex(4)}",
            kind=event.kind,
            at=event.at,
            text=event.text[:_LONGEST],
            about=event.about,
            call_id=event.call_id[:200],
            ttl=int(event.at) + KEEP,
        ).save()

    def of(
        self,
        tenant: str,
        day: str,
        limit: int,
        after: str | None,
        kind: EventKind | None = None,
        about: str = "",
        since: float | None = None,
    ) -> tuple[list[StoredEvent], str | None]:
        """A tenant's events of ``day`` (YYYY-MM-DD, UTC), oldest first, and where to go on; of one ``kind`` and about
        one thing, or all."""
        begin = f"{round((since or 0) * 1000):013d}"
        size = limit + 2 if kind is None and not about else None  # as many at once as DynamoDB can, if not all count
        query = EventItem.query(_partition(tenant, day), EventItem.sk >= max(begin, after or ""), page_size=size)
        left = (item for item in query if item.sk != after and kind in (None, item.kind) and about in ("", item.about))
        found = list(itertools.islice(left, limit + 1))
        events = [
            StoredEvent(cast(EventKind, item.kind), float(item.at), item.text, item.about, item.call_id)
            for item in found[:limit]
        ]
        return events, found[limit - 1].sk if len(found) > limit else None


def _partition(tenant: str, day: str) -> str:
    return f"{tenant}#events#{day}"
