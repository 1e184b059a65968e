"""Certificates in the directory. One process at a time writes them, in one Region (see RenewalTurns), and every Region
reads them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pynamodb.transactions import TransactWrite

from lambdas.decisions.certificates import Authority, Certified
from lambdas.repositories.directory import Directory
from lambdas.repositories.items import item_key
from lambdas.repositories.models import AcmeItem, CertificateItem, CertificateKeyItem, RenewalItem
from lambdas.repositories.transactions import transact
from lambdas.repositories.vault import Vault

_LISTING, _WISHES = "certificates", "renewals"
_WISH = 86_400  # seconds for which one is remembered


@dataclass(frozen=True, slots=True)
class Bundle:
    """A name's certificate of one ``version``: the chain and the private key, both in PEM."""

    name: str
    version: str
    chain: str
    key: str = field(repr=False)


class CertificateTable:
    """Reads and writes by name."""

    def __init__(self, directory: Directory, vault: Vault) -> None:
        self._directory = directory
        self._vault = vault

    def all(self) -> dict[str, Certified]:
        """By name."""
        return {item.name: _certified(item) for item in self._directory.all(_LISTING)}

    def get(self, name: str) -> Certified | None:
        item = self._directory.get(CertificateItem, name)
        return _certified(item) if item is not None else None

    def save(self, state: Certified) -> None:
        """Whatever was there before."""
        _item(state).save()

    def begin(self, state: Certified, key: str) -> None:
        """An order, with the key that its certificate is for. Raises Unsealed."""
        item = self._key_item(state.name)
        item.next_key = self._vault.seal("certificate", state.name, key)
        self._save_both(state, item)

    def key_of_order(self, name: str) -> str:
        """Raises Unsealed."""
        return self._vault.open("certificate", name, self._key_item(name).next_key)

    def obtain(self, state: Certified, chain: str) -> None:
        """What the order has come to: from now on this certificate is the one in use."""
        item = self._key_item(state.name)
        item.version, item.chain, item.key, item.next_key = state.version, chain, item.next_key, ""
        self._save_both(state, item)

    def bundle(self, name: str) -> Bundle | None:
        """None if there is none in use. Raises Unsealed."""
        item = self._directory.get(CertificateKeyItem, name)
        if item is None or not item.key:
            return None
        return Bundle(name, item.version, item.chain, self._vault.open("certificate", name, item.key))

    def remove(self, name: str) -> None:
        def both(transaction: TransactWrite) -> None:
            transaction.delete(CertificateItem(*item_key(CertificateItem, name)))
            transaction.delete(CertificateKeyItem(*item_key(CertificateKeyItem, name)))

        transact(both)

    # What people ask for

    def wish(self, name: str, now: float) -> None:
        """Have it renewed soon."""
        RenewalItem(*item_key(RenewalItem, name), name=name, ttl=int(now) + _WISH, listing=_WISHES).save()

    def wishes(self, now: float) -> frozenset[str]:
        """The names that somebody wants to be renewed."""
        return frozenset(item.name for item in self._directory.all(_WISHES) if item.ttl > now)

    def grant(self, name: str) -> None:
        """It has been tried."""
        RenewalItem(*item_key(RenewalItem, name)).delete()

    # The authority

    def account(self, directory: str) -> tuple[str, str] | None:
        """The private key of our account at an authority, and the account's URL ("": not known). Raises Unsealed."""
        item = self._directory.get(AcmeItem, directory)
        return (self._vault.open("acme", directory, item.key), item.account) if item is not None else None

    def keep_account(self, directory: str, key: str, account: str) -> None:
        """Raises Unsealed."""
        sealed = self._vault.seal("acme", directory, key)
        AcmeItem(*item_key(AcmeItem, directory), key=sealed, account=account).save()

    def keep_account_url(self, directory: str, account: str) -> None:
        AcmeItem(*item_key(AcmeItem, directory)).update(actions=[AcmeItem.account.set(account)])

    def authority(self, directory: str) -> Authority:
        item = self._directory.get(AcmeItem, directory)
        if item is None:
            return Authority()
        return Authority(int(item.failures), float(item.paused_until), item.error)

    def keep_authority(self, directory: str, authority: Authority) -> None:
        """Its account is there already."""
        AcmeItem(*item_key(AcmeItem, directory)).update(
            actions=[
                AcmeItem.failures.set(authority.failures),
                AcmeItem.paused_until.set(authority.paused_until),
                AcmeItem.error.set(authority.error),
            ]
        )

    def _key_item(self, name: str) -> CertificateKeyItem:
        item = self._directory.get(CertificateKeyItem, name)
        return item if item is not None else CertificateKeyItem(*item_key(CertificateKeyItem, name))

    @staticmethod
    def _save_both(state: Certified, item: CertificateKeyItem) -> None:
        def both(transaction: TransactWrite) -> None:
            transaction.save(_item(state))
            transaction.save(item)

        transact(both)


def _item(state: Certified) -> CertificateItem:
    return CertificateItem(
        *item_key(CertificateItem, state.name),
        name=state.name,
        tenant=state.tenant,
        version=state.version,
        not_before=state.not_before,
        not_after=state.not_after,
        error=state.error,
        attempts=state.attempts,
        next_at=state.next_at,
        order=state.order,
        ordered_at=state.ordered_at,
        record=list(state.record or ()),
        ours=state.ours,
        warned=state.warned,
        listing=_LISTING,
        created_at=int(time.time()),
    )


def _certified(item: CertificateItem) -> Certified:
    record = tuple(item.record)
    return Certified(
        name=item.name,
        tenant=item.tenant,
        version=item.version,
        not_before=float(item.not_before),
        not_after=float(item.not_after),
        error=item.error,
        attempts=int(item.attempts),
        next_at=float(item.next_at),
        order=item.order,
        ordered_at=float(item.ordered_at),
        record=(record[0], record[1], record[2]) if record else None,
        ours=bool(item.ours),
        warned=item.warned,
    )
