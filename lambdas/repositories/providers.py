"""Provider accounts in the directory table, their passwords sealed, and how their registrations stand."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from pynamodb.transactions import TransactWrite

from lambdas.contract import Change, ProviderReport, Transport
from lambdas.decisions.provider import CallerIdIn, NumberFormat, StoredProvider, places_of
from lambdas.decisions.provider_places import AccountPlace, ProviderPlaces
from lambdas.decisions.values import MediaSetting
from lambdas.repositories.directory import Directory, Missing, Taken, as_read
from lambdas.repositories.items import item_key, number_name, place_item, place_name
from lambdas.repositories.models import (
    DirectoryItem,
    ProviderItem,
    ProviderNumberItem,
    ProviderPlaceItem,
    ProviderStateItem,
)
from lambdas.repositories.transactions import conditional
from lambdas.repositories.vault import Vault

_STATES = "provider-states"  # their listing
_MOST_ITEMS = 95  # that are written with an account: DynamoDB takes 100 at once
_PAGE = 25  # accounts that are read at a time to find one that is left


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What was reported last; times in seconds, ``next_at`` 0 where nothing is planned."""

    address: str
    state: str
    at: float
    expires: int
    period: int
    status: int
    reason: str
    next_at: float
    server: str
    routes: tuple[str, ...]


class NumberTaken(Exception):
    """Another account has a number there; the first argument names it."""


class TooMany(Exception):
    """Numbers and sources, of one account."""


class Providers:
    """Reads and writes by id, ``tenant/name``."""

    def __init__(self, directory: Directory, vault: Vault) -> None:
        self._directory = directory
        self._vault = vault

    def item(self, provider: str) -> ProviderItem | None:
        return self._directory.get(ProviderItem, provider)

    def get(self, provider: str) -> StoredProvider | None:
        """With its password. Raises Unsealed."""
        item = self.item(provider)
        return self._open(item) if item is not None else None

    def tenants(self) -> list[str]:
        """All that whoever runs the service has made."""
        return [one.id for one in self._directory.all("tenants") if not one.signed_up]

    def of(self, tenant: str) -> list[ProviderItem]:
        """All of a tenant's."""
        return list(self._directory.all(f"providers#{tenant}"))

    def create(self, item: ProviderItem, password: str, address: str, now: float) -> None:
        """Raises Taken if the tenant has one of that name, NumberTaken, TooMany, and Unsealed if passwords can't be
        kept."""
        item.password = self._vault.seal("provider", item.id, password)
        item.created_at = int(time.time())
        item.version = round(now * 1000)
        change = Change(version=int(item.version), provider=item.id, address=address)
        absent = DirectoryItem.pk.does_not_exist()
        places, claims = _places(item), _claims(item)
        _check_size(places, claims)

        def write(transaction: TransactWrite) -> None:
            transaction.save(item, condition=absent)
            _note(item, places, claims, set(), transaction)

        try:
            self._directory.tell(change, now, write)
        except Missing as error:
            if self.item(item.id) is None:
                self._check_free(item, claims)
            raise Taken from error

    def change(self, item: ProviderItem, address: str, now: float, **changes: Any) -> None:
        """Set attributes; the edge that registers it learns of it. Raises Missing, NumberTaken, TooMany, Unsealed."""
        if "password" in changes:
            changes["password"] = self._vault.seal("provider", item.id, changes["password"])
        version = round(now * 1000)
        change = Change(version=version, provider=item.id, address=address)
        before, after = _places(item), _places(item, changes)
        had, has = _claims(item), _claims(item, changes)
        _check_size(after - before, had ^ has)

        def also(transaction: TransactWrite) -> None:
            _note(item, after - before, has - had, had - has, transaction)

        try:
            self._directory.change(item, change, now, also=also, **changes, version=version)
        except Missing:
            self._check_free(item, has - had)
            raise
        self._tidy(before - after)

    def delete(self, item: ProviderItem, address: str, now: float) -> None:
        """Raises Missing if it is gone already."""
        claims = _claims(item)

        def write(transaction: TransactWrite) -> None:
            transaction.delete(item, condition=as_read(item))
            _note(item, set(), set(), claims, transaction)

        self._directory.tell_of(item, Change(version=round(now * 1000), provider=item.id, address=address), now, write)
        ProviderStateItem(*item_key(ProviderStateItem, item.id)).delete()
        self._tidy(_places(item))

    def _check_free(self, item: ProviderItem, claims: set[str]) -> None:
        """Raises NumberTaken."""
        for name in sorted(claims):
            known = self._directory.get(ProviderNumberItem, name)
            if known is not None and known.provider != item.id:
                raise NumberTaken(name)

    def with_number(self, host: str, number: str) -> str:
        """The id of the account that calls from ``host`` for ``number`` are for; "": nobody's."""
        found = self._directory.get(ProviderNumberItem, number_name(host, number))
        return found.provider if found is not None else ""

    def moved(self, provider: str, address: str, now: float) -> None:
        """Let the edges know that it has been assigned to ``address``."""
        self._directory.feed.append(Change(version=0, provider=provider, address=address), now, [])

    # Where all of them are

    def places(self, established: Collection[str]) -> ProviderPlaces:
        """With the tenants whose accounts count wherever they say they are."""
        places = (
            AccountPlace(
                item.tenant,
                item.host,
                int(item.port),
                cast(Transport, item.transport),
                item.trusting,
                item.network,
                item.by_dns,
            )
            for item in self._directory.all("provider-places")
        )
        return ProviderPlaces.of(places, established)

    def note_place(self, provider: StoredProvider, known: ProviderPlaces) -> None:
        """Accounts that were made before there was a list come onto it when they are read."""
        for place in provider.places:
            if not known.knows(place):
                place_item(place).save()

    def _tidy(self, places: set[AccountPlace]) -> None:
        """Take those off the list where no account is left."""
        for place in places:
            known = self._directory.get(ProviderPlaceItem, place_name(place))
            others = DirectoryItem.listings.query(f"providers#{place.tenant}", page_size=_PAGE)
            if known is not None and not any(place in _places(cast(ProviderItem, item)) for item in others):
                # Unless somebody has put it there again meanwhile.
                unchanged = DirectoryItem.revision == known.revision
                conditional(partial(known.delete, condition=unchanged))

    # How it stands

    def note(self, report: ProviderReport) -> None:
        """Keep a report, unless a later one is known, or it is of an account that had the name before."""
        account = self.item(report.provider)
        if account is None or report.call_id not in ("", account.call_id):
            return
        if report.state == "registered" and report.version == account.version:
            proven = _login(account.username, account.host, account.outbound_proxy)
        else:
            known = self._directory.get(ProviderStateItem, report.provider)
            proven = known.proven if known is not None and known.call_id == account.call_id else ""
        item = ProviderStateItem(
            *item_key(ProviderStateItem, report.provider),
            address=report.address,
            state=report.state,
            at=report.at,
            expires=report.expires,
            period=report.period,
            status=report.status,
            reason=report.reason,
            next_at=report.next_at,
            server=report.server,
            routes=report.routes,
            call_id=account.call_id,
            proven=proven,
            listing=_STATES,
        )
        no_newer = DirectoryItem.pk.does_not_exist() | (ProviderStateItem.at <= report.at)
        no_newer |= ProviderStateItem.call_id != account.call_id
        conditional(lambda: item.save(condition=no_newer))

    def proven(self, provider: StoredProvider) -> bool:
        """Whether the provider has taken its user name for the account's own, by accepting a REGISTER."""
        item = self._directory.get(ProviderStateItem, provider.id)
        login = _login(provider.username, provider.host, provider.outbound_proxy)
        return item is not None and (item.call_id, item.proven) == (provider.call_id, login)

    def servers(self) -> dict[str, str]:
        """The addresses that providers' servers were found at, by the provider's id."""
        states = self._directory.all(_STATES)
        return {one.sk.partition("#")[2]: _host_of(one.server) for one in states}

    def state(self, provider: str, call_id: str) -> ProviderState | None:
        """How the account of that ``call_id`` stands."""
        item = self._directory.get(ProviderStateItem, provider)
        if item is None or item.call_id not in ("", call_id):
            return None
        return ProviderState(
            address=item.address,
            state=item.state,
            at=float(item.at),
            expires=int(item.expires),
            period=int(item.period),
            status=int(item.status),
            reason=item.reason,
            next_at=float(item.next_at),
            server=item.server,
            routes=tuple(item.routes),
        )

    def _open(self, item: ProviderItem) -> StoredProvider:
        return StoredProvider(
            id=item.id,
            tenant=item.tenant,
            host=item.host,
            port=int(item.port),
            transport=cast(Transport, item.transport),
            by_dns=item.by_dns,
            ca=item.ca,
            outbound_proxy=item.outbound_proxy,
            username=item.username,
            auth_user=item.auth_user,
            password=self._vault.open("provider", item.id, item.password),
            realm=item.realm,
            contact_user=item.contact_user,
            call_id=item.call_id,
            from_user=item.from_user,
            from_domain=item.from_domain,
            display_name=item.display_name,
            expires=int(item.expires),
            headers=tuple(item.headers),
            sources=tuple(item.sources),
            numbers=tuple(item.spellings),
            registers=item.registers,
            enabled=item.enabled,
            incoming=tuple(item.incoming),
            message_waiting=tuple(item.message_waiting),
            caller_id=item.caller_id,
            caller_id_in=cast(CallerIdIn, item.caller_id_in),
            number_format=cast(NumberFormat, item.number_format),
            transfers=item.transfers,
            media=cast(MediaSetting, item.media),
            plan=item.plan,
            version=int(item.version),
        )


def _places(item: ProviderItem, changes: Mapping[str, Any] = MappingProxyType({})) -> set[AccountPlace]:
    """Where an account is, or will be with ``changes``."""
    names = ("host", "port", "transport", "outbound_proxy", "registers", "sources", "by_dns")
    host, port, *others = (changes.get(name, getattr(item, name)) for name in names)
    return places_of(item.tenant, host, int(port), *others)


def _host_of(server: str) -> str:
    """The IP address in ``transport:host:port``, as reports have it."""
    return server.partition(":")[2].rpartition(":")[0].strip("[]")


def _login(username: str, host: str, proxy: str) -> str:
    """What is proven by a REGISTER."""
    return f"{username}@{host} {proxy}"


def _claims(item: ProviderItem, changes: Mapping[str, Any] = MappingProxyType({})) -> set[str]:
    """The names of its numbers' items: calls may come from any of its hosts."""
    spellings = changes.get("spellings", item.spellings)
    hosts = {place.host for place in _places(item, changes)}
    return {number_name(host, spelling) for host in hosts for spelling in spellings}


def _note(
    item: ProviderItem,
    places: set[AccountPlace],
    claimed: set[str],
    released: set[str],
    transaction: TransactWrite,
) -> None:
    """Write where the account is, and its numbers: nobody else's."""
    absent = DirectoryItem.pk.does_not_exist()
    for place in places:
        transaction.save(place_item(place))
    for name in claimed:
        made = ProviderNumberItem(*item_key(ProviderNumberItem, name), provider=item.id)
        transaction.save(made, condition=absent | (ProviderNumberItem.provider == item.id))
    for name in released:
        gone = ProviderNumberItem(*item_key(ProviderNumberItem, name))
        transaction.delete(gone, condition=absent | (ProviderNumberItem.provider == item.id))


def _check_size(places: set[AccountPlace], claims: set[str]) -> None:
    if len(places) + len(claims) > _MOST_ITEMS:
        raise TooMany
