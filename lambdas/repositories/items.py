"""Making items of the directory: the keys of each kind in one place."""

from __future__ import annotations

from collections.abc import Mapping

from lambdas.decisions.provider_places import AccountPlace
from lambdas.repositories.models import (
    AccountItem,
    AcmeItem,
    AliasItem,
    ApiKeyItem,
    BanItem,
    CertificateItem,
    CertificateKeyItem,
    CountItem,
    DirectoryItem,
    DomainItem,
    EdgeItem,
    EdgePlaceItem,
    FamiliarItem,
    GuestItem,
    HookItem,
    IdempotencyItem,
    ImportItem,
    MemberItem,
    PlanItem,
    ProviderItem,
    ProviderNumberItem,
    ProviderPlaceItem,
    ProviderStateItem,
    PublicNetworkItem,
    PushServiceItem,
    RationItem,
    RenewalItem,
    SecretItem,
    StoreItem,
    SummaryItem,
    TenantItem,
    TurnItem,
    UsedItem,
)

_KEYS: dict[type[DirectoryItem], tuple[str, str]] = {
    TenantItem: ("TENANT#", "TENANT#"),
    DomainItem: ("DOMAIN#", "DOMAIN#"),
    AliasItem: ("DOMAIN#", "DOMAIN#"),  # the same key as a domain of that name: one of them only
    AccountItem: ("AOR#", "ACCOUNT#"),
    GuestItem: ("GUEST#", "GUEST#"),
    ImportItem: ("IMPORT#", "IMPORT#"),
    ApiKeyItem: ("KEY#", "KEY#"),
    EdgeItem: ("EDGE#", "EDGE#"),
    EdgePlaceItem: ("SIDES#", "SIDES#"),
    PublicNetworkItem: ("NETWORK#", "NETWORK#"),
    BanItem: ("BAN#", "BAN#"),
    HookItem: ("HOOK#", "HOOK#"),
    PushServiceItem: ("PUSH#", "PUSH#"),
    MemberItem: ("MEMBER#", "MEMBER#"),
    UsedItem: ("USED#", "USED#"),
    CountItem: ("COUNT#", "COUNT#"),
    RationItem: ("RATION#", "RATION#"),
    FamiliarItem: ("FAMILIAR#", "FAMILIAR#"),
    TurnItem: ("TURN#", "TURN#"),
    PlanItem: ("PLAN#", "PLAN#"),
    ProviderItem: ("PROVIDER#", "PROVIDER#"),
    ProviderPlaceItem: ("PLACE#", "PLACE#"),
    ProviderNumberItem: ("NUMBER#", "NUMBER#"),
    ProviderStateItem: ("STATE#", "STATE#"),
    SecretItem: ("FLEET#", "FLEET#"),
    CertificateItem: ("CERTIFICATE#", "CERTIFICATE#"),
    CertificateKeyItem: ("CERTIFICATE-KEY#", "CERTIFICATE-KEY#"),
    RenewalItem: ("RENEWAL#", "RENEWAL#"),
    AcmeItem: ("ACME#", "ACME#"),
    StoreItem: ("STORE#", "STORE#"),
    SummaryItem: ("SUMMARY#", "SUMMARY#"),
    IdempotencyItem: ("IDEMPOTENT#", "IDEMPOTENT#"),
}


def item_key(kind: type[DirectoryItem], name: str) -> tuple[str, str]:
    pk, sk = _KEYS[kind]
    return pk + name, sk + name


def tenant_item(tenant: str, name: str) -> TenantItem:
    """Calls that may cost a lot are barred until somebody asks for them."""
    pk, sk = item_key(TenantItem, tenant)
    return TenantItem(pk, sk, id=tenant, name=name, premium=False, international=False, listing="tenants")


def domain_item(tenant: str, name: str, aliases: list[str], default: bool) -> DomainItem:
    pk, sk = item_key(DomainItem, name)
    return DomainItem(pk, sk, tenant=tenant, name=name, aliases=aliases, default=default, listing="domains")


def account_item(aor: str, tenant: str, hashes: Mapping[str, str], display_name: str) -> AccountItem:
    """``hashes`` are the password's, by the names of their attributes."""
    pk, sk = item_key(AccountItem, aor)
    return AccountItem(
        pk,
        sk,
        aor=aor,
        tenant=tenant,
        display_name=display_name,
        listing=f"accounts#{tenant}",
        ha1_md5=hashes["ha1_md5"],
        ha1_sha256=hashes["ha1_sha256"],
        ha1_md5_qualified=hashes.get("ha1_md5_qualified"),
        ha1_sha256_qualified=hashes.get("ha1_sha256_qualified"),
    )


def guest_item(aor: str) -> GuestItem:
    pk, sk = item_key(GuestItem, aor)
    return GuestItem(pk, sk, listing=f"guests#{aor.rpartition('@')[2]}")


def member_item(tenant: str, email: str, role: str) -> MemberItem:
    full = f"{tenant}/{email}"
    pk, sk = item_key(MemberItem, full)
    return MemberItem(pk, sk, id=full, tenant=tenant, email=email, role=role, listing=f"members#{tenant}")


def api_key_item(key: str, digest: str, tenant: str, note: str, role: str, member: str) -> ApiKeyItem:
    pk, sk = item_key(ApiKeyItem, key)
    return ApiKeyItem(
        pk, sk, id=key, hash=digest, tenant=tenant, note=note, role=role, member=member, listing=f"keys#{tenant}"
    )


def place_name(place: AccountPlace) -> str:
    """There is one item for all accounts of its kind that a tenant has at a server."""
    kind = "trunk" if place.trusting else "account"
    network = f"/{place.network}" if place.network else ""
    transport = "dns" if place.by_dns else place.transport
    return f"{place.tenant}/{transport}:{place.host}:{place.port}/{kind}{network}"


def number_name(host: str, spelling: str) -> str:
    """There is one item for a number at a provider's host, whoever has it."""
    return f"{host}/{spelling}"


def place_item(place: AccountPlace) -> ProviderPlaceItem:
    pk, sk = item_key(ProviderPlaceItem, place_name(place))
    return ProviderPlaceItem(
        pk,
        sk,
        tenant=place.tenant,
        host=place.host,
        port=place.port,
        transport=place.transport,
        by_dns=place.by_dns,
        trusting=place.trusting,
        network=place.network,
        listing="provider-places",
    )


def edge_item(edge: str, public_key: str, addresses: list[str]) -> EdgeItem:
    pk, sk = item_key(EdgeItem, edge)
    return EdgeItem(pk, sk, id=edge, public_key=public_key, addresses=addresses, listing="edges")


def edge_place_item(address: str, address6: str, name: str) -> EdgePlaceItem:
    pk, sk = item_key(EdgePlaceItem, address)
    return EdgePlaceItem(pk, sk, address=address, address6=address6, name=name, listing="edge-places")


def ban_item(network: str, reason: str, until: float) -> BanItem:
    pk, sk = item_key(BanItem, network)
    return BanItem(pk, sk, network=network, reason=reason, until=int(until), ttl=int(until), listing="bans")


def public_network_item(network: str, note: str) -> PublicNetworkItem:
    pk, sk = item_key(PublicNetworkItem, network)
    return PublicNetworkItem(pk, sk, network=network, note=note, listing="public-networks")
