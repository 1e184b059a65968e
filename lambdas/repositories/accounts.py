"""Accounts in the directory: made one by one or many together, changed and removed so that every edge learns of it."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pynamodb.exceptions import DeleteError
from pynamodb.expressions.condition import Condition
from pynamodb.transactions import TransactWrite

from lambdas.contract import Change
from lambdas.repositories.directory import Directory, Taken, as_read
from lambdas.repositories.items import guest_item, item_key
from lambdas.repositories.models import PROBES, AccountItem, DirectoryItem, DomainItem, ImportItem, SummaryItem
from lambdas.repositories.transactions import transact

UNFINISHED = 60
"""Seconds after which whoever has begun an import isn't expected to finish it."""
_TRANSACTION = 100  # operations; DynamoDB takes no more
_AT_ONCE = 10


class UnderWay(Exception):
    """Another import of the tenant is."""


class Accounts:
    """Writes are conditional: nothing is overwritten or brought back by accident."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def create(self, item: AccountItem, domain: DomainItem) -> None:
        """Raises Taken if there is such an account, or the domain is about to go; Busy."""
        self._together([item], [domain])

    def create_all(self, tenant: str, items: Sequence[AccountItem], domains: Sequence[DomainItem]) -> None:
        """All of them or none, though they are more than one transaction: what was made is removed again if another one
        can't be, and if we die before that, by the tenant's next import. Raises Taken, UnderWay, Busy."""
        self._take_back_unfinished(tenant)
        mark = secrets.token_hex(8)
        names = [item.aor for item in items]
        note = ImportItem(*item_key(ImportItem, tenant), mark=mark, aors=names, at=int(time.time()))
        try:
            self._directory.create(note)
        except Taken as error:
            raise UnderWay from error
        size = _TRANSACTION - len(domains) - 1
        try:
            for begin in range(0, len(items), size):
                part = items[begin : begin + size]
                for item in part:
                    item.made_by = mark
                self._together(part, domains, note, begin + size >= len(items))
        except BaseException:
            self._take_back(note)
            raise

    def _together(
        self,
        items: Iterable[AccountItem],
        domains: Sequence[DomainItem],
        note: ImportItem | None = None,
        last: bool = False,
    ) -> None:
        """One transaction. With the ``last`` ones the import is done, and its ``note`` goes."""

        def write(transaction: TransactWrite) -> None:
            for domain in domains:
                open_ = (DomainItem.tenant == domain.tenant) & (DomainItem.closing == False)  # noqa: E712
                transaction.condition_check(DomainItem, domain.pk, domain.sk, condition=open_)
            if note is not None:
                ours = ImportItem.mark == note.mark
                if last:
                    transaction.delete(note, condition=ours)
                else:
                    transaction.condition_check(ImportItem, note.pk, note.sk, condition=ours)
            for item in items:
                item.created_at = int(time.time())
                transaction.save(item, condition=DirectoryItem.pk.does_not_exist())
                if item.tenant not in (PROBES, *(domain.tenant for domain in domains)):
                    transaction.save(guest_item(item.aor))

        if not transact(write):
            raise Taken

    def _take_back_unfinished(self, tenant: str) -> None:
        note = self._directory.get(ImportItem, tenant)
        if note is not None and note.at + UNFINISHED < time.time():
            self._take_back(note)

    def _take_back(self, note: ImportItem) -> None:
        """Remove what the import has made. Only then is there room for another one."""

        def remove(aor: str) -> None:
            with contextlib.suppress(DeleteError):  # it wasn't made, or by somebody else
                AccountItem(*item_key(AccountItem, aor)).delete(condition=AccountItem.made_by == note.mark)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(remove, note.aors))
        with contextlib.suppress(DeleteError):
            note.delete(condition=ImportItem.mark == note.mark)

    def change(self, item: AccountItem, now: float, **changes: Any) -> None:
        """Set attributes; every edge learns of it. Raises Missing if the account is gone, Stale if it is guarded and
        has changed."""
        version = round(now * 1000)
        self._directory.change(item, Change(aor=item.aor, version=version), now, **changes, version=version)

    def delete(self, item: AccountItem, now: float) -> None:
        """Every edge learns of it. Raises Missing if the account is gone already, Stale if it is guarded and has
        changed."""
        unchanged = as_read(item)

        def write(transaction: TransactWrite) -> None:
            transaction.delete(item, condition=unchanged)
            transaction.delete(guest_item(item.aor))
            transaction.delete(SummaryItem(*item_key(SummaryItem, item.aor)))

        self._directory.tell_of(item, Change(aor=item.aor, version=round(now * 1000)), now, write)

    def any_in(self, domain: DomainItem) -> bool:
        """Whether there are any in the domain, guests' among them."""
        own = DirectoryItem.listings.query(f"accounts#{domain.tenant}", filter_condition=self.in_domain(domain.name))
        guests = self._directory.page(f"guests#{domain.name}", 1, None).items
        return bool(guests) or any(isinstance(item, AccountItem) and item.domain == domain.name for item in own)

    @staticmethod
    def in_domain(name: str) -> Condition:
        """Holds for accounts of a domain, and of those whose names begin like its."""
        return AccountItem.aor.contains(f"@{name}")
