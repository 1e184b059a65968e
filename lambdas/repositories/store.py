"""A tenant's store: small values by name, for scripts and for whoever sets them by the API. Of two Regions that write
one value at once, the later wins."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pynamodb.expressions.update import Action

from lambdas.decisions.quotas import QuotaUsedUp
from lambdas.repositories.counts import Counts
from lambdas.repositories.directory import Directory, Missing
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, StoreItem
from lambdas.repositories.transactions import conditional


@dataclass(frozen=True, slots=True)
class Stored:
    """``at`` in seconds."""

    key: str
    value: str
    at: int


class Store:
    """Reads and writes by tenant and key."""

    def __init__(self, directory: Directory, counts: Counts) -> None:
        self._directory = directory
        self._counts = counts

    def get(self, tenant: str, key: str) -> Stored | None:
        item = self._directory.get(StoreItem, f"{tenant}/{key}")
        return stored(item) if item is not None else None

    def put(self, tenant: str, key: str, value: str) -> None:
        """Raises QuotaUsedUp where it would be one value too many."""
        item = StoreItem(*item_key(StoreItem, f"{tenant}/{key}"))
        now = int(time.time())
        changes: list[Action] = [StoreItem.value.set(value), StoreItem.changed_at.set(now)]
        if conditional(lambda: item.update(changes, condition=DirectoryItem.pk.exists())):
            return
        listing = f"store#{tenant}"
        most = self._counts.quotas(tenant)["store"]
        if DirectoryItem.listings.count(listing, limit=most + 1) >= most:
            raise QuotaUsedUp("store", most)
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
