"""The directory table: tenants, domains, accounts, API keys, edges and the fleet's secret."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar, cast

from pynamodb.exceptions import DeleteError, PutError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from lambdas.contract import Change, MediaPolicy
from lambdas.decisions.abuse import Rules
from lambdas.decisions.digest import hashes
from lambdas.decisions.limits import CallLimits, NumberRate
from lambdas.decisions.provider import StoredRoute, TenantSettings
from lambdas.decisions.values import DigestSetting, MediaSetting, StoredAccount
from lambdas.repositories.feed import Feed, FeedConflict
from lambdas.repositories.items import account_item, item_key
from lambdas.repositories.models import (
    AccountItem,
    AliasItem,
    BanItem,
    DirectoryItem,
    DomainItem,
    SecretItem,
    TenantItem,
    UsedItem,
    new_revision,
)
from lambdas.repositories.reading import ItemKey, Raw, read
from lambdas.repositories.transactions import Write, transact

_Item = TypeVar("_Item", bound=DirectoryItem)


LONGEST_NAME = 1000
"""Octets; DynamoDB takes sort keys of 1,024."""
_NOBODY = json.dumps(
    account_item("nobody@example.invalid", "t000000000000", hashes("nobody@example.invalid", ""), "").to_dynamodb_dict()
)
"""An account's item as DynamoDB sends it."""
_MOST_GUESTS = 10_000  # that are remembered
_LAST = "\U0010ffff"  # sorts after whatever else a name may have there


class Taken(Exception):
    """Something of that name exists already."""


class Missing(Exception):
    """Nothing of that name exists (any more)."""


class Stale(Exception):
    """It has changed since it was read, or is gone."""


class Page:
    """``items`` and the cursor that continues after them, None at the end."""

    def __init__(self, items: list[Any], following: str | None) -> None:
        self.items = items
        self.following = following


class Directory:
    """Reads and writes by name. Writes are conditional: nothing is overwritten or brought back by accident."""

    def __init__(self) -> None:
        self.feed = Feed()
        self._guests: dict[str, str] = {}  # whose each of them is

    # Generic

    def get(self, kind: type[_Item], name: str) -> _Item | None:
        """The item of ``kind`` called ``name``."""
        key = key_of(kind, name)
        if key is None:
            return None
        try:
            found = DirectoryItem.get(key.pk, key.sk, consistent_read=True)
        except DirectoryItem.DoesNotExist:
            return None
        return found if isinstance(found, kind) else None

    def existing(self, kind: type[_Item], names: list[str]) -> set[str]:
        """Which of ``names`` are in use."""
        keys = {item_key(kind, name): name for name in names}
        found: set[str] = set()
        for item in DirectoryItem.batch_get(list(keys), consistent_read=True, attributes_to_get=["pk", "sk", "kind"]):
            found.add(keys[item.pk, item.sk])
        return found

    def create(self, item: DirectoryItem, unless: Condition | None = None) -> None:
        """Raises Taken if the name is in use, and what is there doesn't fulfil ``unless``."""
        item.created_at = int(time.time())
        absent = DirectoryItem.pk.does_not_exist()
        try:
            item.save(condition=absent if unless is None else absent | unless)
        except PutError as error:
            raise _translate(error, Taken) from error

    def update(self, item: DirectoryItem, **changes: Any) -> None:
        """Set attributes of an existing item. Raises Missing if it is gone, Stale if it is guarded and has changed."""
        try:
            item.update(actions=_actions(item, {**changes, "revision": new_revision()}), condition=as_read(item))
        except UpdateError as error:
            raise _translate(error, _gone(item)) from error

    def delete(self, item: DirectoryItem) -> None:
        """Raises Missing if it is gone already, Stale if it is guarded and has changed."""
        try:
            item.delete(condition=as_read(item))
        except DeleteError as error:
            raise _translate(error, _gone(item)) from error

    def page(
        self,
        listing: str,
        limit: int,
        after: str | None,
        begins: str = "",
        where: Condition | None = None,
        wanted: Callable[[Any], bool] | None = None,
    ) -> Page:
        """Up to ``limit`` items of a listing, in the order of their names, after the one whose sort key is ``after``;
        only those whose sort keys begin so, for whom ``where`` holds, and that are ``wanted``."""
        begin, end = max(after or "", begins), begins + _LAST
        if begin > end:
            return Page([], None)
        condition = DirectoryItem.sk.between(begin, end) if begin else None
        all_ = where is None and wanted is None
        size = limit + 2 if all_ else None  # as many at once as DynamoDB can, if not all are wanted
        items = DirectoryItem.listings.query(listing, condition, where, page_size=size)
        left = (item for item in items if item.sk != after and (wanted is None or wanted(item)))
        found = list(itertools.islice(left, limit + 1))
        return Page(found[:limit], found[limit - 1].sk if len(found) > limit else None)

    def all(self, listing: str) -> Iterator[Any]:
        """Every item of a listing."""
        return iter(DirectoryItem.listings.query(listing))

    def public_networks(self) -> list[str]:
        """Those whose addresses are reached from anywhere."""
        return sorted(item.network for item in self.all("public-networks"))

    # Domains: a name is a domain's own or an alias, and never two domains'

    def create_domain(self, item: DomainItem) -> None:
        item.created_at = int(time.time())
        self._write(item, item.aliases, (), DirectoryItem.pk.does_not_exist())

    def change_domain(self, item: DomainItem, aliases: list[str]) -> None:
        """Replace the aliases. Raises Taken if one is in use."""
        before = list(item.aliases)
        added = [alias for alias in aliases if alias not in before]
        dropped = [alias for alias in before if alias not in aliases]
        item.aliases = aliases
        unchanged = (DomainItem.aliases == before) & as_read(item)
        item.revision = new_revision()
        self._write(item, added, dropped, unchanged)

    def delete_domain(self, item: DomainItem) -> None:
        """Raises Taken if its aliases have changed since ``item`` was read."""
        unchanged = (DomainItem.aliases == list(item.aliases)) & as_read(item)

        def write(transaction: TransactWrite) -> None:
            for alias in item.aliases:
                transaction.delete(AliasItem(*item_key(AliasItem, alias)), condition=AliasItem.canonical == item.name)
            transaction.delete(item, condition=unchanged)

        if not transact(write):
            raise Taken

    def close_domain(self, item: DomainItem, closing: bool) -> None:
        """While a domain is closing no account can be made in it, so that none is overlooked when it is deleted."""
        self.update(item, closing=closing)

    def change_tenant(self, item: TenantItem, now: float, **changes: Any) -> None:
        """Set attributes; edges forget where its calls went. Raises Missing if the tenant is gone."""
        self.change(item, Change(version=0, tenant=item.id), now, **changes)

    def suspend_tenant(self, item: TenantItem, reason: str, now: float) -> None:
        """Nothing that was granted to its accounts holds any longer. Raises Missing if the tenant is gone."""
        self.change(item, Change(version=round(now * 1000), tenant=item.id), now, suspended=reason)

    def change(
        self, item: DirectoryItem, change: Change, now: float, also: Write = lambda _: None, **changes: Any
    ) -> None:
        """Set attributes, write what has to go ``also``, and let every edge know. Raises Missing if it is gone, Stale
        if it is guarded and has changed."""
        changes["revision"] = new_revision()
        actions, unchanged = _actions(item, changes), as_read(item)

        def write(transaction: TransactWrite) -> None:
            transaction.update(item, actions, condition=unchanged)
            also(transaction)

        self.tell_of(item, change, now, write)
        for name, value in changes.items():
            setattr(item, name, value)

    def remove(self, item: DirectoryItem, change: Change, now: float) -> None:
        """Delete, and let every edge know. Raises Missing if it is gone already, Stale if it is guarded and has
        changed."""
        unchanged = as_read(item)
        self.tell_of(item, change, now, lambda transaction: transaction.delete(item, condition=unchanged))

    def tell_of(self, item: DirectoryItem, change: Change, now: float, write: Write) -> None:
        """Write, and let every edge know. Raises Missing if a condition of ``write`` fails, Stale if ``item`` is
        guarded."""
        try:
            self.tell(change, now, write)
        except Missing as error:
            raise _gone(item) from error

    def tell(self, change: Change, now: float, write: Write) -> None:
        """Write, and let every edge know. Raises Missing if a condition of ``write`` fails."""
        try:
            self.feed.append(change, now, [write])
        except FeedConflict as error:
            raise Missing from error

    def _write(self, item: DomainItem, added: list[str], dropped: list[str] | tuple[()], condition: Condition) -> None:
        absent = DirectoryItem.pk.does_not_exist()

        def write(transaction: TransactWrite) -> None:
            transaction.save(item, condition=condition)
            for alias in added:
                transaction.save(AliasItem(*item_key(AliasItem, alias), canonical=item.name), condition=absent)
            for alias in dropped:
                transaction.delete(AliasItem(*item_key(AliasItem, alias)), condition=AliasItem.canonical == item.name)

        if not transact(write):
            raise Taken

    def use_once(self, name: str, until: float) -> None:
        """Raises Taken if it has been used before."""
        self.create(UsedItem(*item_key(UsedItem, name), ttl=int(until) + 86_400))

    def ban(self, item: BanItem, now: float) -> None:
        """Raises Taken if it is banned already. A ban that has run out stays in the table until it is cleaned up."""
        self.create(item, unless=BanItem.until <= int(now))

    def bans(self, now: float) -> list[str]:
        """The networks that are banned."""
        return sorted(item.network for item in self.all("bans") if item.until > now)

    def domains(self) -> tuple[dict[str, str], str, dict[str, str]]:
        """Every name and alias with its canonical name, the default domain ("" if none is marked), and whose each
        domain is."""
        names: dict[str, str] = {}
        owners: dict[str, str] = {}
        default = ""
        for item in self.all("domains"):
            names[item.name] = item.name
            owners[item.name] = item.tenant
            names |= dict.fromkeys(item.aliases, item.name)
            if item.default:
                default = item.name
        return names, default, owners

    # What decisions need

    def account(self, aor: str) -> StoredAccount | None:
        item = self.get(AccountItem, aor)
        return _account(item) if item is not None else None

    def member(
        self, aor: str, otherwise: str, called: str = ""
    ) -> tuple[StoredAccount | None, TenantSettings, StoredAccount | None]:
        """An account with all that holds for it, its tenant's settings, and the account ``called`` as it is stored, in
        one request. Where there is no account ``aor``, nobody's is read in its place, and the settings of the tenant
        ``otherwise``, whose domain it is: how long it takes tells nobody which names there are."""
        whose = self._guests.get(aor, otherwise)
        names = [key_of(AccountItem, aor), key_of(TenantItem, whose), key_of(AccountItem, called)]
        found = read(filter(None, names))
        one, tenant, other = (found.get(name) if name is not None else None for name in names)
        account = _account(_item(AccountItem, one if one is not None else json.loads(_NOBODY)))
        if one is not None and account.tenant != whose:
            self._guest(aor, account.tenant)
            settings = self.settings(account.tenant)
        else:
            settings = _settings(_item(TenantItem, tenant), whose) if tenant else TenantSettings(tenant=whose)
        beside = _account(_item(AccountItem, other)) if other else None
        return (
            (_as_member(account, settings), settings, beside) if one is not None else (None, TenantSettings(), beside)
        )

    def _guest(self, aor: str, tenant: str) -> None:
        """``aor`` is in another tenant's domain. From the second time on it takes no longer than others."""
        if len(self._guests) >= _MOST_GUESTS:
            del self._guests[next(iter(self._guests))]
        self._guests[aor] = tenant

    def settings(self, tenant: str) -> TenantSettings:
        """How a tenant's calls go out."""
        item = self.get(TenantItem, tenant)
        return _settings(item, tenant) if item is not None else TenantSettings(tenant=tenant)

    def fleet_secret(self, once: Callable[[str, str], str]) -> bytes:
        """32 octets; made when first asked for. Two Regions may ask at once, and this table would let each have its
        own: ``once`` tells which one it is."""
        item = self.get(SecretItem, "secret")
        if item is not None:
            return base64.b64decode(item.secret)
        return base64.b64decode(once("fleet secret", base64.b64encode(secrets.token_bytes(32)).decode()))

    def keep_fleet_secret(self, secret: bytes) -> None:
        """Here, where it outlasts the table that said which one it is."""
        if self.get(SecretItem, "secret") is None:
            with contextlib.suppress(Taken):  # with the same
                self.create(SecretItem(*item_key(SecretItem, "secret"), secret=base64.b64encode(secret).decode()))


def key_of(kind: type[DirectoryItem], name: str) -> ItemKey | None:
    """Of the item called ``name``; None if none can be called that."""
    if not name or len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        return None
    return ItemKey(kind, *item_key(kind, name))


def _item(kind: type[_Item], raw: Raw) -> _Item:
    found = DirectoryItem.from_raw_data(raw)
    assert isinstance(found, kind)
    return found


def _as_member(account: StoredAccount, settings: TenantSettings) -> StoredAccount:
    """With what its tenant's settings say for all."""
    suspended = account.suspended or settings.suspended
    return replace(
        account,
        limits=account.limits.otherwise(settings.account_limits),
        suspended=suspended,
        enabled=account.enabled and not suspended,
        media=account.media or settings.media,
        site=account.site or settings.site,
    )


def _settings(item: TenantItem, tenant: str) -> TenantSettings:
    routes = [StoredRoute(route["prefix"], tuple(route["providers"])) for route in item.outbound_routes]
    return TenantSettings(
        item.country,
        tuple(item.emergency_providers),
        tuple(routes),
        item.outgoing_plan,
        frozenset(item.script_hosts),
        limits_of(item.all_limits),
        limits_of(item.all_account_limits),
        tuple(NumberRate(rate["prefix"], rate["per_minute"]) for rate in item.rates),
        item.suspended,
        tenant,
        Rules(**_values(item.suspension_rules)),
        item.hooked,
        item.outside,
        item.premium,
        item.international,
        item.costly_without_control_plane,
        cast(MediaPolicy, item.media),
        item.site,
    )


def _account(item: AccountItem) -> StoredAccount:
    return StoredAccount(
        aor=item.aor,
        tenant=item.tenant,
        ha1_md5=item.ha1_md5,
        ha1_sha256=item.ha1_sha256,
        enabled=item.enabled and not item.suspended,
        version=int(item.version),
        caller_id=item.caller_id,
        plan=item.plan,
        do_not_disturb=item.do_not_disturb,
        digest=cast(DigestSetting, item.digest),
        suspended=item.suspended,
        limits=limits_of(item.all_limits),
        ha1_md5_qualified=item.ha1_md5_qualified or "",
        ha1_sha256_qualified=item.ha1_sha256_qualified or "",
        created=int(item.created_at or 0),
        media=cast(MediaSetting, item.media),
        site=item.site,
    )


def limits_of(stored: dict[str, Any]) -> CallLimits:
    """Limits as they are stored."""
    return CallLimits(**_values(stored))


def _values(stored: dict[str, Any]) -> dict[str, Any]:
    """Of JSON, as values have them."""
    return {name: tuple(one) if isinstance(one, list) else one for name, one in stored.items()}


def as_read(item: DirectoryItem) -> Condition:
    """That it is still there, and if it is guarded, as it was read."""
    if not item.guarded:
        return DirectoryItem.pk.exists()
    if item.revision is None:
        return DirectoryItem.pk.exists() & DirectoryItem.revision.does_not_exist()
    return DirectoryItem.revision == item.revision


def _gone(item: DirectoryItem) -> type[Exception]:
    return Stale if item.guarded else Missing


def _actions(item: DirectoryItem, changes: dict[str, Any]) -> list[Action]:
    attributes = type(item).get_attributes()
    return [attributes[name].set(value) for name, value in changes.items()]


def _translate(error: PutError | UpdateError | DeleteError, kind: type[Exception]) -> Exception:
    return kind() if error.cause_response_code == "ConditionalCheckFailedException" else error
