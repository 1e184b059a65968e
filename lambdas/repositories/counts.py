"""How many of what a tenant has, in the directory: a number for each kind, put up before something is made. Where there
is none yet, or no room, things are counted by their listing, which may be a moment late: so not while the last one is
younger than that, and a deletion that was never noted costs nothing but that count."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from pynamodb.expressions.update import Action

from lambdas.decisions.quotas import USUAL, QuotaKind, QuotaUsedUp, quotas
from lambdas.repositories.directory import Directory
from lambdas.repositories.items import item_key
from lambdas.repositories.models import ApiKeyItem, CountItem, DirectoryItem, DomainItem, TenantItem
from lambdas.repositories.transactions import conditional, pause

_SETTLED = 5  # seconds after which a listing has what was made
_RACES = 8


class Counts:
    """By tenant and kind."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def quotas(self, tenant: str) -> dict[QuotaKind, int]:
        """What the tenant may have."""
        item = self._directory.get(TenantItem, tenant)
        return quotas(item.quotas, item.signed_up) if item is not None else quotas({}, False)

    def take(self, tenant: str, kind: QuotaKind, number: int = 1) -> None:
        """There is room for ``number`` more, and they are counted. Raises QuotaUsedUp."""
        most = self.quotas(tenant)[kind]
        item = CountItem(*item_key(CountItem, f"{tenant}/{kind}"))
        for tries in range(_RACES):
            now = int(time.time())
            up: list[Action] = [CountItem.number.add(number), CountItem.at.set(now)]
            if conditional(partial(item.update, up, condition=CountItem.number <= most - number)):
                return
            known = self._directory.get(CountItem, f"{tenant}/{kind}")
            if known is not None and known.number <= most - number:
                continue  # one was given back meanwhile
            if known is not None and known.at > now - _SETTLED:
                break
            there = sum(1 for _ in self._listed(tenant, kind))
            if known is not None and there >= known.number:
                break
            same = (CountItem.number == known.number) if known is not None else DirectoryItem.pk.does_not_exist()
            conditional(partial(item.update, [CountItem.number.set(there), CountItem.at.set(now)], condition=same))
            pause(tries)
        raise QuotaUsedUp(kind, most)

    def note(self, tenant: str, kind: QuotaKind, number: int = 1) -> None:
        """So many more (or, below 0, fewer) are there, quota or not."""
        item = CountItem(*item_key(CountItem, f"{tenant}/{kind}"))
        there = CountItem.number >= max(0, -number)
        conditional(partial(item.update, [CountItem.number.add(number)], condition=there))

    def forget(self, tenant: str) -> None:
        """The tenant is gone."""
        for kind in USUAL:
            CountItem(*item_key(CountItem, f"{tenant}/{kind}")).delete()

    def _listed(self, tenant: str, kind: QuotaKind) -> Iterable[DirectoryItem]:
        match kind:
            case "domains":
                return DirectoryItem.listings.query("domains", filter_condition=DomainItem.tenant == tenant)
            case "keys":  # members' own have a bound of their own
                return DirectoryItem.listings.query(f"keys#{tenant}", filter_condition=ApiKeyItem.member == "")
        return DirectoryItem.listings.query(f"{kind}#{tenant}")
