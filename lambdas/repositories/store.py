"""A tenant's store: small values by name, for scripts and for whoever sets them by the API. Of two Regions that write
one value at once, the later wins."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pynamodb.expressions.update import Action

from lambdas.repositories.directory import Directory, Missing
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, StoreItem
from lambdas.repositories.transactions import conditional

MOST_KEYS = 1000
"""Of one tenant."""
KEY = r"^[^\x00-\x1f\x7f/]{1,100}$"
"""What a key looks like: it is part of a path in the API."""
LONGEST_VALUE = 1000
"""Characters."""


class Full(Exception):
    """The tenant has no room for another value."""


@dataclass(frozen=True, slots=True)
class Stored:
    """``at`` in seconds."""

    key: str
    value: str
    at: int


class Store:
    """Reads and writes by tenant and key."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def get(self, tenant: str, key: str) -> Stored | None:
        item = self._directory.get(StoreItem, f"{tenant}/{key}")
        return stored(item) if item is not None else None

    def put(self, tenant: str, key: str, value: str) -> None:
        """Raises Full where it would be one value too many."""
        item = StoreItem(*item_key(StoreItem, f"{tenant}/{key}"))
        now = int(time.time())
        changes: list[Action] = [StoreItem.value.set(value), StoreItem.changed_at.set(now)]
        if conditional(lambda: item.update(changes, condition=DirectoryItem.pk.exists())):
            return
        listing = f"store#{tenant}"
        if DirectoryItem.listings.count(listing, limit=MOST_KEYS) >= MOST_KEYS:
            raise Full
        pk, sk = item_key(StoreItem, f"{tenant}/{key}")
        StoreItem(pk, sk, tenant=tenant, key=key, value=value, changed_at=now, listing=listing).save()

    def delete(self, tenant: str, key: str) -> None:
        """Raises Missing."""
        item = self._directory.get(StoreItem, f"{tenant}/{key}")
        if item is None:
            raise Missing
        self._directory.delete(item)


def stored(item: StoreItem) -> Stored:
    """What an item says."""
    return Stored(item.key, item.value, int(item.changed_at))
