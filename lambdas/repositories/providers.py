"""Provider accounts in the directory table, their passwords sealed, and how their registrations stand."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, cast

from lambdas.contract import Change, ProviderReport
from lambdas.decisions.provider import CallerIdIn, NumberFormat, StoredProvider
from lambdas.repositories.directory import Directory, Missing, Taken
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, ProviderItem, ProviderStateItem
from lambdas.repositories.transactions import conditional
from lambdas.repositories.vault import Vault

_STATES = "provider-states"  # their listing


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
        try:
            self._directory.tell(change, now, lambda transaction: transaction.save(item, condition=absent))
        except Missing as error:
            raise Taken from error

    def change(self, item: ProviderItem, address: str, now: float, **changes: Any) -> None:
        """Set attributes; the edge that registers it learns of it. Raises Missing, Unsealed."""
        if "password" in changes:
            changes["password"] = self._vault.seal("provider", item.id, changes["password"])
        version = round(now * 1000)
        change = Change(version=version, provider=item.id, address=address)
        self._directory.change(item, change, now, **changes, version=version)

    def delete(self, item: ProviderItem, address: str, now: float) -> None:
        """Raises Missing if it is gone already."""
        self._directory.remove(item, Change(version=round(now * 1000), provider=item.id, address=address), now)
        ProviderStateItem(*item_key(ProviderStateItem, item.id)).delete()

    def moved(self, provider: str, address: str, now: float) -> None:
        """Let the edges know that it has been assigned to ``address``."""
        self._directory.feed.append(Change(version=0, provider=provider, address=address), now, [])

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
