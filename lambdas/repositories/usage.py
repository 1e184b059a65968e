"""What accounts and tenants are using just now, in the table of calls: a count for each Region, a slot for each call
that is under way, and what the day's calls have cost.

An admission reads a scope's items, puts a slot, and changes its Region's count if nobody has changed that meanwhile: so
in one Region no limit is ever passed. The count comes before the slots in the order in which a query reads: whoever
reads the count that an admission has written reads its slot, too. Another Region's items come with replication.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from lambdas.decisions.limits import (
    LONGEST,
    SETUP,
    Admitted,
    CallLimits,
    Count,
    Slot,
    Used,
    admit,
    money_lasts_until,
    sums,
)
from lambdas.repositories.call_keys import CallKey
from lambdas.repositories.call_models import UsageItem
from lambdas.repositories.transactions import Busy, Turns, conditional, pause, transact

_PATIENCE = 1.5  # seconds for which an admission gives way to others of its scope; the edge waits for 4.5
_KEEP = 3 * 86_400  # seconds that counts and costs stay
_COUNT, _SPENT, _SLOT = "0count#", "1spent#", "2slot#"  # in the order in which a query gives them


@dataclass(frozen=True, slots=True)
class Open:
    """An answered call in ``scope`` and the key of its open-call item; it has to end at ``deadline``."""

    key: CallKey
    deadline: float


class UsageTable:
    """``scope`` is a tenant's id or an account's AOR, ``attempt`` the edge's name for an INVITE."""

    def __init__(self) -> None:
        self._turns = Turns()

    def admit(self, scope: str, limits: CallLimits, attempt: str, now: float) -> Admitted | str:
        """Take a slot for the call, or which limit that would break. Raises Busy."""
        end = time.monotonic() + _PATIENCE
        with self._turns.of(scope):
            return self._admit(scope, limits, _name(attempt), now, end)

    def _admit(self, scope: str, limits: CallLimits, call: str, now: float, end: float) -> Admitted | str:
        region = UsageItem.Meta.region
        tries = 0
        while True:
            used, revision = self._used(scope, now)
            admitted = admit(limits, used, call, now, _day(now))
            if isinstance(admitted, str) or any(slot.call == call and slot.expires > now for slot in used.slots):
                return admitted
            slot = UsageItem(_pk(scope), _SLOT + call, expires=now + SETUP, ttl=int(now) + SETUP)
            free = UsageItem.pk.does_not_exist() | (UsageItem.expires <= now)
            if not conditional(partial(slot.save, condition=free)):
                return admitted  # the same question, asked twice, is being decided beside this one, and counts there
            if self._count(scope, region, admitted.own, revision, now):
                return admitted
            slot.delete()
            if time.monotonic() > end:
                raise Busy
            pause(tries)
            tries += 1

    def _count(self, scope: str, region: str, count: Count, revision: str | None, now: float) -> bool:
        """Write the Region's count, unless somebody else has since it was read."""
        item = UsageItem(_pk(scope), _COUNT + region)
        unchanged = UsageItem.revision == revision if revision is not None else UsageItem.revision.does_not_exist()
        actions: list[Action] = [
            UsageItem.revision.set(secrets.token_hex(6)),
            UsageItem.minute.set(count.minute),
            UsageItem.in_minute.set(count.in_minute),
            UsageItem.day.set(count.day),
            UsageItem.in_day.set(count.in_day),
            UsageItem.ttl.set(int(now) + _KEEP),
        ]
        return conditional(lambda: item.update(actions, condition=unchanged))

    def withdraw(self, scopes: Iterable[str], attempt: str, now: float) -> None:
        """The call isn't made after all: another limit stands in its way."""
        for scope in scopes:
            UsageItem(_pk(scope), _SLOT + _name(attempt)).delete()
            count = UsageItem(_pk(scope), _COUNT + UsageItem.Meta.region)
            same = (UsageItem.minute == int(now) // 60) & (UsageItem.day == _day(now))
            less: list[Action] = [UsageItem.in_minute.add(-1), UsageItem.in_day.add(-1)]
            conditional(partial(count.update, less, condition=same))  # a minute later it matters no more

    def answered(
        self, scope: str, attempt: str, rate: float, answered: float, duration: int, key: CallKey, over: bool
    ) -> None:
        """The call lasts now, for ``duration`` seconds at most (0: no limit). ``key`` is its open-call item's.
        ``over``: that was known before, and its end; a slot that has been charged for isn't made again. Of an attempt
        that several have answered each has a slot of its own."""
        latest = answered + (duration or LONGEST)
        actions: list[Action] = [
            UsageItem.answered.set(answered),
            UsageItem.rate.set(rate),
            UsageItem.expires.set(latest),
            UsageItem.ttl.set(int(latest)),
            UsageItem.latest.set(answered + duration if duration else 0),
            UsageItem.open_pk.set(key[0]),
            UsageItem.open_sk.set(key[1]),
        ]
        free = UsageItem.open_sk.does_not_exist() | (UsageItem.open_sk == key[1])
        for name, condition in ((_name(attempt), free), (_name(attempt, key[1]), None)):
            if over:
                condition = UsageItem.pk.exists() if condition is None else UsageItem.pk.exists() & condition
            slot = UsageItem(_pk(scope), _SLOT + name)
            if conditional(partial(slot.update, actions, condition=condition)):
                return

    def release(self, scopes: Iterable[str], attempt: str, now: float, key: CallKey | None = None) -> None:
        """The call has ended at ``now``, or (without ``key``) wasn't answered. Doing it twice does it once."""
        for scope in scopes:
            slot = self._slot_of(scope, attempt, key)
            if slot is None:
                continue
            cost = _slot(slot).cost(now)
            if cost:
                self._charge(scope, slot, cost, now)
            else:
                slot.delete()

    def _charge(self, scope: str, slot: UsageItem, cost: float, now: float) -> None:
        """Unless somebody has done it before."""
        spent = UsageItem(_pk(scope), f"{_SPENT}{_day(now)}#{UsageItem.Meta.region}")

        def write(transaction: TransactWrite) -> None:
            transaction.delete(slot, condition=UsageItem.pk.exists())
            transaction.update(spent, [UsageItem.spent.add(cost), UsageItem.ttl.set(int(now) + _KEEP)])

        transact(write)

    def _slot_of(self, scope: str, attempt: str, key: CallKey | None) -> UsageItem | None:
        names = [_name(attempt)] if key is None else [_name(attempt), _name(attempt, key[1])]
        for name in names:
            slot = UsageItem(_pk(scope), _SLOT + name)
            try:
                slot.refresh(consistent_read=True)
            except UsageItem.DoesNotExist:
                continue
            if slot.open_sk == (key[1] if key is not None else None):
                return slot
        return None

    def deadlines(self, scope: str, limits: CallLimits, now: float) -> list[Open]:
        """When each of the scope's answered calls has to end, so that no more than the day's money is spent."""
        items = list(UsageItem.query(_pk(scope), consistent_read=True))
        used = _used(items, now)
        until = money_lasts_until(limits, used, now)
        found = []
        for item in items:
            if item.sk.startswith(_SLOT) and item.open_pk and item.rate and item.expires > now:
                latest = float(item.latest or item.expires)
                found.append(Open((item.open_pk, item.open_sk), min(latest, until)))
        return found

    def sums(self, scope: str, now: float) -> dict[str, float]:
        """Calls under way, in this minute and today, and what has been spent today."""
        return sums(self._used(scope, now)[0], now, _day(now))

    def _used(self, scope: str, now: float) -> tuple[Used, str | None]:
        """And the revision of this Region's count."""
        items = list(UsageItem.query(_pk(scope), consistent_read=True))
        own = next((item for item in items if item.sk == _COUNT + UsageItem.Meta.region), None)
        return _used(items, now), own.revision if own is not None else None


def _used(items: list[UsageItem], now: float) -> Used:
    own = Count()
    others: list[Count] = []
    slots: list[Slot] = []
    spent = 0.0
    for item in items:
        kind, rest = item.sk[: len(_COUNT)], item.sk[len(_COUNT) :]
        if kind == _COUNT:
            count = Count(int(item.minute or 0), int(item.in_minute or 0), item.day or "", int(item.in_day or 0))
            if rest == UsageItem.Meta.region:
                own = count
            else:
                others.append(count)
        elif item.sk.startswith(f"{_SPENT}{_day(now)}#"):
            spent += float(item.spent or 0)
        elif item.sk.startswith(_SLOT):
            slots.append(_slot(item))
    return Used(own, tuple(others), tuple(slots), spent)


def _slot(item: UsageItem) -> Slot:
    return Slot(
        item.sk[len(_SLOT) :],
        float(item.expires or 0),
        float(item.rate or 0),
        float(item.answered or 0),
        float(item.latest or 0),
    )


def _pk(scope: str) -> str:
    return f"usage#{scope}"


def _day(now: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(now))


def _name(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
