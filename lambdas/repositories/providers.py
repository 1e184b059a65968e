"""Provider accounts in the directory table, their passwords sealed, and how their registrations stand."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, cast

from pynamodb.transactions import TransactWrite

from lambdas.contract import Change, ProviderReport
from lambdas.decisions.provider import CallerIdIn, NumberFormat, StoredProvider, places_of
from lambdas.decisions.provider_places import AccountPlace, ProviderPlaces
from lambdas.repositories.directory import Directory, Missing, Taken
from lambdas.repositories.items import item_key, place_item, place_name
from lambdas.repositories.models import DirectoryItem, ProviderItem, ProviderPlaceItem, ProviderStateItem
from lambdas.repositories.transactions import conditional
from lambdas.repositories.vault import Vault

_STATES = "provider-states"  # their listing
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
        """Raises Taken if the tenant has one of that name, Unsealed if passwords can't be kept."""
        item.password = self._vault.seal("provider", item.id, password)
        item.created_at = int(time.time())
        item.version = round(now * 1000)
        change = Change(version=int(item.version), provider=item.id, address=address)
        absent = DirectoryItem.pk.does_not_exist()

        def write(transaction: TransactWrite) -> None:
            transaction.save(item, condition=absent)
            _note(_places(item), transaction)

        try:
            self._directory.tell(change, now, write)
        except Missing as error:
            raise Taken from error

    def change(self, item: ProviderItem, address: str, now: float, **changes: Any) -> None:
        """Set attributes; the edge that registers it learns of it. Raises Missing, Unsealed."""
        if "password" in changes:
            changes["password"] = self._vault.seal("provider", item.id, changes["password"])
        version = round(now * 1000)
        change = Change(version=version, provider=item.id, address=address)
        before = _places(item)
        after = _places(item, changes)
        self._directory.change(
            item, change, now, also=lambda transaction: _note(after - before, transaction), **changes, version=version
        )
        self._tidy(before - after)

    def delete(self, item: ProviderItem, address: str, now: float) -> None:
        """Raises Missing if it is gone already."""
        self._directory.remove(item, Change(version=round(now * 1000), provider=item.id, address=address), now)
        ProviderStateItem(*item_key(ProviderStateItem, item.id)).delete()
        self._tidy(_places(item))

    def moved(self, provider: str, address: str, now: float) -> None:
        """Let the edges know that it has been assigned to ``address``."""
        self._directory.feed.append(Change(version=0, provider=provider, address=address), now, [])

    # Where all of them are

    def places(self, established: Collection[str]) -> ProviderPlaces:
        """With the tenants whose accounts count wherever they say they are."""
        places = (
            AccountPlace(
                item.tenant, item.host, int(item.port), cast(Literal["udp", "tcp"], item.transport), item.trusting
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
        """Keep a report, unless a later one is known."""
        if self.item(report.provider) is None:
            return
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
            listing=_STATES,
        )
        no_newer = DirectoryItem.pk.does_not_exist() | (ProviderStateItem.at <= report.at)
        conditional(lambda: item.save(condition=no_newer))

    def servers(self) -> dict[str, str]:
        """The addresses that providers' servers were found at, by the provider's id."""
        states = self._directory.all(_STATES)
        return {one.sk.partition("#")[2]: one.server.rpartition(":")[0].rpartition(":")[2] for one in states}

    def state(self, provider: str) -> ProviderState | None:
        item = self._directory.get(ProviderStateItem, provider)
        if item is None:
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
            transport=cast(Literal["udp", "tcp"], item.transport),
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
            registers=item.registers,
            enabled=item.enabled,
            incoming=tuple(item.incoming),
            message_waiting=tuple(item.message_waiting),
            caller_id=item.caller_id,
            caller_id_in=cast(CallerIdIn, item.caller_id_in),
            number_format=cast(NumberFormat, item.number_format),
            transfers=item.transfers,
            plan=item.plan,
            version=int(item.version),
        )


def _places(item: ProviderItem, changes: Mapping[str, Any] = MappingProxyType({})) -> set[AccountPlace]:
    """Where an account is, or will be with ``changes``."""
    names = ("host", "port", "transport", "outbound_proxy", "registers")
    host, port, transport, proxy, registers = (changes.get(name, getattr(item, name)) for name in names)
    return places_of(item.tenant, host, int(port), transport, proxy, registers)


def _note(places: set[AccountPlace], transaction: TransactWrite) -> None:
    for place in places:
        transaction.save(place_item(place))
