"""What a tenant should know of: the log of its dial plans, for 30 days."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from lambdas.repositories.models import EventItem

KEEP = 30 * 86_400
_LONGEST = 2000  # characters


@dataclass(frozen=True, slots=True)
class Event:
    """``kind`` says what ``about`` is: of "plan" the dial plan's name. ``at`` is Unix time."""

    kind: str
    at: float
    text: str
    about: str = ""
    call_id: str = ""


class Events:
    """Appends, and reads by day."""

    def add(self, tenant: str, event: Event) -> None:
        EventItem(
            _partition(tenant, time.strftime("%Y-%m-%d", time.gmtime(event.at))),
            f"{round(event.at * 1000):013d}#{secrets.token_hex(4)}",
            kind=event.kind,
            at=event.at,
            text=event.text[:_LONGEST],
            about=event.about,
            call_id=event.call_id[:200],
            ttl=int(event.at) + KEEP,
        ).save()

    def of(self, tenant: str, day: str, limit: int, after: str | None) -> tuple[list[Event], str | None]:
        """A tenant's events of ``day`` (YYYY-MM-DD, UTC), oldest first, and where to go on."""
        condition = EventItem.sk > after if after else None
        found = list(EventItem.query(_partition(tenant, day), condition, limit=limit + 1))
        events = [Event(item.kind, float(item.at), item.text, item.about, item.call_id) for item in found[:limit]]
        return events, found[limit - 1].sk if len(found) > limit else None


def _partition(tenant: str, day: str) -> str:
    return f"{tenant}#events#{day}"
