"""Members in the directory: what a tenant's people may do, and that somebody is left who can say so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from lambdas.repositories.directory import Directory, Missing, Stale, as_read
from lambdas.repositories.items import member_item
from lambdas.repositories.models import ApiKeyItem, MemberItem, new_revision
from lambdas.repositories.transactions import Write, transact


class LastOwner(Exception):
    """Nobody else is an owner."""


class Members:
    """Reads and writes by tenant and e-mail address."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def get(self, tenant: str, email: str) -> MemberItem | None:
        return self._directory.get(MemberItem, f"{tenant}/{email}")

    def owners(self, tenant: str) -> Iterator[str]:
        """Their addresses."""
        return (one.email for one in self._directory.all(f"members#{tenant}") if one.role == "owner")

    def create(self, tenant: str, email: str, role: str) -> MemberItem:
        """Raises Taken if there is such a member."""
        item = member_item(tenant, email, role)
        self._directory.create(item)
        return item

    def change(self, item: MemberItem, role: str, last: bool = False) -> None:
        """Give the member another role; of the ``last`` owner, too. Raises Missing, Stale, LastOwner."""
        actions: list[Action] = [MemberItem.role.set(role), MemberItem.revision.set(new_revision())]
        unchanged = as_read(item) & (MemberItem.role == item.role)
        self._write(
            item, last or role == "owner", lambda transaction: transaction.update(item, actions, condition=unchanged)
        )
        item.role = role
        for key in self._keys(item):  # for those who read the list of keys: what counts is the member's role
            with contextlib.suppress(Missing):
                self._directory.update(key, role=role)

    def remove(self, item: MemberItem, last: bool = False) -> None:
        """From now on their keys are good for nothing; the ``last`` owner's, too. Raises Missing, Stale, LastOwner."""
        unchanged = as_read(item) & (MemberItem.role == item.role)
        self._write(item, last, lambda transaction: transaction.delete(item, condition=unchanged))
        for key in self._keys(item):
            with contextlib.suppress(Missing):
                self._directory.delete(key)

    def drop_old_keys(self, item: MemberItem, most: int) -> None:
        """Of the member's own keys the newest ``most`` stay, as far as they are listed by now."""
        keys = sorted(self._keys(item), key=lambda key: int(key.created_at or 0), reverse=True)
        for key in keys[most:]:
            with contextlib.suppress(Missing):
                self._directory.delete(key)

    def _write(self, item: MemberItem, alone: bool, write: Write) -> None:
        """Unless it may be ``alone``, another owner has to be there, and still be when it is written."""
        other = None
        if item.role == "owner" and not alone:
            others = self._directory.all(f"members#{item.tenant}")
            other = next((one for one in others if one.role == "owner" and one.email != item.email), None)
            if other is None:
                raise LastOwner

        def both(transaction: TransactWrite) -> None:
            write(transaction)
            if other is not None:
                transaction.condition_check(MemberItem, other.pk, other.sk, condition=MemberItem.role == "owner")

        if not transact(both):
            raise Stale if self.get(item.tenant, item.email) else Missing

    def _keys(self, item: MemberItem) -> Iterator[ApiKeyItem]:
        return (key for key in self._directory.all(f"keys#{item.tenant}") if key.member == item.email)
