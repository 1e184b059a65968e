"""Dial plans and their versions in the directory table."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from lambdas.contract import Change
from lambdas.decisions.rules import Plan
from lambdas.repositories.counts import Counts
from lambdas.repositories.directory import Directory, Page, Stale, Taken
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, PlanItem, PlanVersionItem, new_revision
from lambdas.repositories.transactions import transact

_KEPT = 4_000_000  # octets of JSON whose parsed plans are kept; they take ten times as much


@dataclass(frozen=True, slots=True)
class Version:
    """``at`` in seconds, ``size`` in octets."""

    number: int
    plan: Plan
    author: str
    note: str
    at: int
    size: int


class Plans:
    """Reads and writes by id, ``tenant/name``. Versions are numbered from 1 and never change; publishing an older one
    rolls back."""

    def __init__(self, directory: Directory, counts: Counts) -> None:
        self._directory = directory
        self._counts = counts
        self._parsed: OrderedDict[tuple[str, int], tuple[Plan, int]] = OrderedDict()  # and their octets

    def item(self, plan: str) -> PlanItem | None:
        return self._directory.get(PlanItem, plan)

    def published(self, plan: str) -> tuple[Plan, int] | None:
        """The version that counts, and its number; None if there is none."""
        item = self.item(plan)
        number = int(item.published) if item is not None else 0
        if item is None or not number:
            return None
        found = self._known(item, number)
        return (found, number) if found is not None else None

    def earlier(self, plan: str, number: int) -> Plan | None:
        """Version ``number``, by which a call has begun."""
        item = self.item(plan)
        return self._known(item, number) if item is not None else None

    def _known(self, item: PlanItem, number: int) -> Plan | None:
        place = (item.uid, number)
        known = self._parsed.pop(place, None)
        if known is not None:
            self._parsed[place] = known  # the last to go now
            return known[0]
        version = self.version(item, number)
        if version is None:
            return None
        self._parsed[place] = version.plan, version.size
        while len(self._parsed) > 1 and sum(size for _, size in list(self._parsed.values())) > _KEPT:
            self._parsed.popitem(last=False)
        return version.plan

    def version(self, item: PlanItem, number: int) -> Version | None:
        if number > item.latest:
            return None  # what is there was left by another plan of that name, which has been deleted
        try:
            found = DirectoryItem.get(_versions(item.id), f"{number:08d}", consistent_read=True)
        except DirectoryItem.DoesNotExist:
            return None
        return _version(found) if isinstance(found, PlanVersionItem) else None

    def versions(self, item: PlanItem, limit: int, after: str | None) -> Page:
        """In the order in which they were stored."""
        condition = DirectoryItem.sk > after if after else None
        stored = DirectoryItem.query(_versions(item.id), condition, limit=limit + 1)
        found = [one for one in stored if isinstance(one, PlanVersionItem) and one.number <= item.latest]
        shown = [_version(one) for one in found[:limit]]
        return Page(shown, found[limit - 1].sk if len(found) > limit else None)

    def add(self, tenant: str, name: str, plan: Plan, author: str, note: str) -> int:
        """Store a version; its number. Of more than the tenant's quota the oldest go. Raises Taken if another one is
        stored at the same time."""
        full = f"{tenant}/{name}"
        item = self.item(full)
        number = 1 + (int(item.latest) if item is not None else 0)
        version = PlanVersionItem(
            _versions(full),
            f"{number:08d}",
            number=number,
            text=plan.model_dump_json(exclude_defaults=True),
            author=author,
            note=note,
            created_at=int(time.time()),
        )
        head = PlanItem(
            *item_key(PlanItem, full),
            id=full,
            uid=secrets.token_hex(8),
            tenant=tenant,
            name=name,
            latest=1,
            listing=f"plans#{tenant}",
        )

        def write(transaction: TransactWrite) -> None:
            transaction.save(version)  # over what a deleted plan of that name may have left
            if item is None:
                transaction.save(head, condition=DirectoryItem.pk.does_not_exist())
            else:
                actions: list[Action] = [PlanItem.latest.set(number), PlanItem.revision.set(new_revision())]
                transaction.update(item, actions, condition=PlanItem.latest == number - 1)

        if not transact(write):
            raise Taken
        if item is not None:
            self._drop_old(item, number - self._counts.quotas(tenant)["plan_versions"])
        return number

    def _drop_old(self, item: PlanItem, last: int) -> None:
        """Versions up to ``last``, but for the one that counts."""
        if last < 1:
            return
        old = DirectoryItem.query(
            _versions(item.id), DirectoryItem.sk <= f"{last:08d}", attributes_to_get=["pk", "sk", "kind", "revision"]
        )
        for version in old:
            if version.sk != f"{int(item.published):08d}":
                version.guarded = True
                with contextlib.suppress(Stale):
                    self._directory.delete(version)

    def publish(self, item: PlanItem, number: int, author: str, now: float) -> None:
        """Let version ``number`` count; edges forget what was decided by another one. Raises Missing if the plan is
        gone."""
        changes: dict[str, Any] = {"published": number, "published_by": author, "published_at": int(now)}
        self._directory.change(item, Change(version=0, plan=item.id), now, **changes)

    def delete(self, item: PlanItem, now: float) -> None:
        """Its versions too; edges forget what was decided by it. Raises Missing if it is gone already."""
        self._directory.remove(item, Change(version=0, plan=item.id), now)
        for version in DirectoryItem.query(_versions(item.id), attributes_to_get=["pk", "sk", "kind", "revision"]):
            version.guarded = True  # not that of a plan of this name that somebody makes just now
            with contextlib.suppress(Stale):
                self._directory.delete(version)


def _versions(plan: str) -> str:
    """Their partition."""
    return f"PLANVERSION#{plan}"


def _version(item: PlanVersionItem) -> Version:
    plan = Plan.model_validate_json(item.text)
    return Version(int(item.number), plan, item.author, item.note, int(item.created_at), len(item.text))
