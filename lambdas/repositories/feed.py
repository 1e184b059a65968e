"""The change feed: what edges must learn of what people provision.

Each Region numbers the changes made in it, in the transaction of the change itself. Replication may bring a Region's
entries to another one out of order, so a reader takes what follows its cursor without a gap, and the rest later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pynamodb.exceptions import TransactWriteError

from lambdas.contract import Change
from lambdas.repositories.connection import transaction
from lambdas.repositories.models import ChangeItem, DirectoryItem, FeedItem
from lambdas.repositories.transactions import Busy, Turns, Write, pause, reasons_of

KEEP = 25 * 3600  # seconds that an entry is kept
_OVERDUE = 3600  # seconds after which a gap isn't replication's delay any more
_PATIENCE = 3.0  # seconds: changes made at once in one Region take turns
_HEADS = "FEEDS"


class FeedConflict(Exception):
    """A condition of the change itself failed: nothing was written."""


@dataclass(frozen=True, slots=True)
class FeedNews:
    """``changes`` after a cursor, the new ``cursor``, whether there are ``more``, and whether some are lost."""

    changes: list[Change]
    cursor: dict[str, int]
    more: bool
    lost: bool


class Feed:
    """Appends to this Region's feed, reads all Regions'."""

    def __init__(self) -> None:
        self._region = DirectoryItem.Meta.region
        self._turns = Turns()

    def append(self, change: Change, now: float, writes: list[Write]) -> None:
        """Do ``writes`` and record ``change``, all or nothing. Raises FeedConflict if a condition of ``writes`` fails,
        Busy if there are too many others."""
        with self._turns.of(self._region):
            self._append(change, now, writes)

    def _append(self, change: Change, now: float, writes: list[Write]) -> None:
        last = self._head()
        end = time.monotonic() + _PATIENCE
        tries = 0
        while True:
            number = last + 1
            head = FeedItem(_HEADS, self._region, number=number, at=int(now))
            entry = ChangeItem(
                f"FEED#{self._region}",
                f"{number:012d}",
                number=number,
                aor=change.aor,
                version=change.version,
                binding=change.binding,
                provider=change.provider,
                address=change.address,
                plan=change.plan,
                tenant=change.tenant,
                at=int(now),
                ttl=int(now) + KEEP,
            )
            first = number == 1
            unmoved = DirectoryItem.pk.does_not_exist() if first else FeedItem.number == number - 1
            try:
                with transaction() as together:
                    for write in writes:
                        write(together)
                    together.save(head, condition=unmoved)
                    together.save(entry, condition=DirectoryItem.pk.does_not_exist())
                return
            except TransactWriteError as error:
                if error.cause_response_code != "TransactionCanceledException":
                    raise
                # PynamoDB orders a transaction's parts by kind, so which condition failed is told by the head.
                if "ConditionalCheckFailed" in reasons_of(error) and last == self._head():
                    raise FeedConflict from error
                if time.monotonic() > end:
                    raise Busy from error
            pause(tries)
            tries += 1
            last = self._head()

    def _head(self) -> int:
        try:
            found = DirectoryItem.get(_HEADS, self._region, consistent_read=True)
        except DirectoryItem.DoesNotExist:
            return 0
        return int(found.number) if isinstance(found, FeedItem) else 0

    def heads(self) -> dict[str, tuple[int, int]]:
        """The number and time of each Region's last change, as far as it has come here."""
        found = DirectoryItem.query(_HEADS, consistent_read=True)
        return {item.sk: (int(item.number), int(item.at)) for item in found if isinstance(item, FeedItem)}

    def since(self, cursor: dict[str, int], heads: dict[str, tuple[int, int]], now: float, limit: int) -> FeedNews:
        """The changes after ``cursor``; with an empty one none, since whoever starts has nothing to revoke."""
        if not cursor:
            # A Region that has made no change yet is a cursor at 0, not an empty one.
            return FeedNews(
                [], {region: head for region, (head, _) in heads.items()} or {self._region: 0}, False, False
            )
        changes: list[Change] = []
        reached = dict(cursor)
        more = lost = False
        for region, (head, changed_at) in heads.items():
            at = cursor.get(region, 0)
            if at >= head:
                continue
            query = DirectoryItem.query(
                f"FEED#{region}", DirectoryItem.sk > f"{at:012d}", limit=limit, consistent_read=True
            )
            found = [item for item in query if isinstance(item, ChangeItem)]
            for item in found:
                if int(item.number) != at + 1:
                    if int(item.at) < now - _OVERDUE:
                        lost = True
                        at = head
                    break
                at += 1
                changes.append(
                    Change(
                        aor=item.aor,
                        version=int(item.version),
                        binding=item.binding,
                        provider=item.provider,
                        address=item.address,
                        plan=item.plan,
                        tenant=item.tenant,
                    )
                )
            if not found and changed_at < now - _OVERDUE:
                lost = True  # they were there, and have been cleaned up
                at = head
            # Behind a gap there may be many, but none that can be had.
            more = more or (len(found) == limit and at == int(found[-1].number))
            reached[region] = at
        return FeedNews(changes, reached, more, lost)
