"""How often something was done in an hour, in the directory: all processes count together."""

from __future__ import annotations

import hashlib

from pynamodb.expressions.update import Action

from lambdas.repositories.directory import Directory
from lambdas.repositories.items import item_key
from lambdas.repositories.models import FamiliarItem, RationItem
from lambdas.repositories.transactions import conditional

_HOUR = 3600
_FAMILIAR = 90 * 86_400  # seconds


class Rations:
    """Names are hashed: they are people's addresses."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def take(self, name: str, most: int, now: float) -> bool:
        """Whether there is one left of ``most`` in this hour of Unix time."""
        hour = int(now) // _HOUR
        item = RationItem(*item_key(RationItem, f"{hour}#{_hashed(name)}"))
        more: list[Action] = [RationItem.number.add(1), RationItem.ttl.set((hour + 2) * _HOUR)]
        left = RationItem.number.does_not_exist() | (RationItem.number < most)
        return conditional(lambda: item.update(more, condition=left))

    def acquaint(self, email: str, source: str, now: float) -> None:
        """Whoever reads the mails of ``email`` has been at ``source``."""
        name = _hashed(f"{email} {source}")
        FamiliarItem(*item_key(FamiliarItem, name), ttl=int(now) + _FAMILIAR).save()

    def acquainted(self, email: str, source: str, now: float) -> bool:
        """Whether they have, in the last 90 days."""
        item = self._directory.get(FamiliarItem, _hashed(f"{email} {source}"))
        return item is not None and item.ttl > now


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]
