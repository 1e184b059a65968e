"""Push notification services that tenants have credentials for, in the directory."""

from __future__ import annotations

from dataclasses import dataclass, field

from lambdas.decisions.push import PushService, ServiceName
from lambdas.repositories.directory import Directory
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, PushServiceItem, new_revision
from lambdas.repositories.vault import Vault


@dataclass(frozen=True, slots=True)
class PushCredentials:
    """What a service is asked with. ``secret`` is a private key as PEM, of Google a service account as JSON; ``key``
    names it where the service wants that, ``subject`` says whom a push service may turn to (RFC 8292); the rest as in a
    PushService. ``version`` is another one after each change."""

    provider: ServiceName
    scope: str
    key: str
    subject: str
    vapid: str
    shows: bool
    version: str
    secret: str = field(repr=False)


class PushServices:
    """By tenant, one of each."""

    def __init__(self, directory: Directory, vault: Vault) -> None:
        self._directory = directory
        self._vault = vault

    def item(self, tenant: str, provider: ServiceName) -> PushServiceItem | None:
        return self._directory.get(PushServiceItem, f"{tenant}/{provider}")

    def of(self, tenant: str) -> tuple[PushService, ...]:
        """Without what is secret."""
        items = DirectoryItem.listings.query(listing(tenant))
        return tuple(_service(item) for item in items if isinstance(item, PushServiceItem))

    def put(self, tenant: str, credentials: PushCredentials, kept: str = "") -> PushServiceItem:
        """In the place of what was there; ``kept`` is a secret that is sealed already. Raises Unsealed."""
        name = f"{tenant}/{credentials.provider}"
        item = PushServiceItem(
            *item_key(PushServiceItem, name),
            id=name,
            tenant=tenant,
            provider=credentials.provider,
            scope=credentials.scope,
            key=credentials.key,
            subject=credentials.subject,
            vapid=credentials.vapid,
            shows=credentials.shows,
            secret=kept or self._vault.seal("push", name, credentials.secret),
            listing=listing(tenant),
        )
        item.revision = new_revision()
        item.save()
        return item

    def delete(self, item: PushServiceItem) -> None:
        """Raises Missing, Stale."""
        self._directory.delete(item)

    def credentials(self, tenant: str, provider: ServiceName) -> PushCredentials | None:
        """Raises Unsealed."""
        item = self.item(tenant, provider)
        if item is None:
            return None
        return PushCredentials(
            provider,
            item.scope,
            item.key,
            item.subject,
            item.vapid,
            item.shows,
            item.revision or "",
            self._vault.open("push", item.id, item.secret),
        )

    def prepare(self) -> None:
        """Make the clients, before several threads would at once."""
        self._vault.prepare()


def listing(tenant: str) -> str:
    return f"push#{tenant}"


def _service(item: PushServiceItem) -> PushService:
    provider: ServiceName = item.provider  # type: ignore[assignment]  # what ``put`` has written
    return PushService(provider, item.scope, item.vapid, item.shows)
