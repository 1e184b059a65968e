"""PynamoDB models of the tables in ``template.yaml``. The environment names them, as the template does."""

from __future__ import annotations

import os
import secrets
from typing import Any

from pynamodb.attributes import (
    BooleanAttribute,
    DiscriminatorAttribute,
    JSONAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from lambdas.repositories.connection import Common, Item

PREFIX = os.environ.get("TABLE_PREFIX", "sipwizard")
_RELAYED = "relayed_calls"
PROBES = "t000000000000"
"""The tenant, nobody's, of the accounts by which edges try each other out."""


def new_revision() -> str:
    """Another one after every change of an item."""
    return secrets.token_hex(6)


def limit_attributes(limits: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """What an item keeps ``limits`` in."""
    others = {name: limit for name, limit in limits.items() if name != _RELAYED}
    return {f"{prefix}limits": others, prefix + _RELAYED: limits.get(_RELAYED)}


def _with_relayed(limits: dict[str, Any], relayed: float | None) -> dict[str, Any]:
    return limits if relayed is None else {**limits, _RELAYED: int(relayed)}


class ListingIndex(GlobalSecondaryIndex["DirectoryItem"]):
    """Everything of one kind and owner, by name."""

    class Meta(Common):
        index_name = "listing"
        projection = AllProjection()

    listing = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class DirectoryItem(Item):
    """What people provision. ``pk`` names the thing, ``sk`` orders it in its ``listing``; ``revision`` is another one
    after every change."""

    class Meta(Common):
        table_name = f"{PREFIX}-directory"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    kind = DiscriminatorAttribute()
    listing = UnicodeAttribute(null=True)
    listings = ListingIndex()
    created_at = NumberAttribute(null=True)
    revision = UnicodeAttribute(null=True, default_for_new=new_revision)
    guarded = False
    """Whether it is changed only if it still is as it was read."""


class TenantItem(DirectoryItem, discriminator="tenant"):
    """``country`` (ISO 3166) tells what national numbers mean; ``outbound_routes`` are objects with ``prefix`` and
    ``providers``, ``rates`` such with ``prefix`` and ``per_minute``; ``hooked`` maps kinds of events to the names of
    the webhooks that want to hear of them; ``suspended`` says why nobody of it may do anything; ``outside``: its plans
    may call addresses elsewhere. ``premium`` and ``international`` numbers may be called by those tenants that were
    there before these were attributes; ``signed_up``: nobody but itself has made it; ``quotas`` are those that aren't
    the usual ones. ``media`` and ``site`` hold for accounts and providers that say nothing of it. ``relayed_calls`` and
    ``account_relayed_calls`` are limits, too, that versions of before couldn't read among the others."""

    id = UnicodeAttribute()
    name = UnicodeAttribute()
    country = UnicodeAttribute(default="")
    emergency_providers = ListAttribute[str](default=list)
    outbound_routes = JSONAttribute(default=list)
    outgoing_plan = UnicodeAttribute(default="")
    script_hosts = ListAttribute[str](default=list)
    limits = JSONAttribute(default=dict)
    account_limits = JSONAttribute(default=dict)
    relayed_calls = NumberAttribute(null=True)
    account_relayed_calls = NumberAttribute(null=True)
    rates = JSONAttribute(default=list)
    suspension_rules = JSONAttribute(default=dict)
    hooked = JSONAttribute(default=dict)
    suspended = UnicodeAttribute(default="")
    outside = BooleanAttribute(default=True)
    premium = BooleanAttribute(default=True)
    international = BooleanAttribute(default=True)
    costly_without_control_plane = BooleanAttribute(default=False)
    signed_up = BooleanAttribute(default=False)
    quotas = JSONAttribute(default=dict)
    media = UnicodeAttribute(default="auto")
    site = UnicodeAttribute(default="")

    @property
    def all_limits(self) -> dict[str, Any]:
        return _with_relayed(self.limits, self.relayed_calls)

    @property
    def all_account_limits(self) -> dict[str, Any]:
        return _with_relayed(self.account_limits, self.account_relayed_calls)


class DomainItem(DirectoryItem, discriminator="domain"):
    tenant = UnicodeAttribute()
    name = UnicodeAttribute()
    aliases = ListAttribute[str](default=list)
    default = BooleanAttribute(default=False)
    closing = BooleanAttribute(default=False)


class AliasItem(DirectoryItem, discriminator="alias"):
    """Keeps an alias from being another domain's name or alias."""

    canonical = UnicodeAttribute()


class AccountItem(DirectoryItem, discriminator="account"):
    """``made_by`` is the mark of the import that has made it; ``relayed_calls`` is as in a TenantItem."""

    aor = UnicodeAttribute()
    tenant = UnicodeAttribute()
    ha1_md5 = UnicodeAttribute()
    ha1_sha256 = UnicodeAttribute()
    ha1_md5_qualified = UnicodeAttribute(null=True)
    ha1_sha256_qualified = UnicodeAttribute(null=True)
    enabled = BooleanAttribute(default=True)
    version = NumberAttribute(default=0)
    display_name = UnicodeAttribute(default="")
    caller_id = UnicodeAttribute(default="")
    plan = UnicodeAttribute(default="")
    do_not_disturb = BooleanAttribute(default=False)
    digest = UnicodeAttribute(default="")
    media = UnicodeAttribute(default="")
    site = UnicodeAttribute(default="")
    limits = JSONAttribute(default=dict)
    relayed_calls = NumberAttribute(null=True)
    suspended = UnicodeAttribute(default="")
    made_by = UnicodeAttribute(null=True)

    @property
    def domain(self) -> str:
        """Of its AOR."""
        return self.aor.rpartition("@")[2]

    @property
    def all_limits(self) -> dict[str, Any]:
        return _with_relayed(self.limits, self.relayed_calls)


class ImportItem(DirectoryItem, discriminator="import"):
    """An import of a tenant's that isn't finished, begun ``at`` (Unix time): the accounts that it makes have its
    ``mark``."""

    mark = UnicodeAttribute()
    aors = ListAttribute[str]()
    at = NumberAttribute()


class GuestItem(DirectoryItem, discriminator="guest"):
    """An account in another tenant's domain, for whoever would delete the domain."""


class ProviderItem(DirectoryItem, discriminator="provider"):
    """An account with a provider. ``id`` is ``tenant/name``; ``password`` is sealed by the Vault; ``spellings`` are how
    calls may name its ``numbers``: there is a ProviderNumberItem for each, at each of its hosts."""

    id = UnicodeAttribute()
    tenant = UnicodeAttribute()
    name = UnicodeAttribute()
    host = UnicodeAttribute()
    port = NumberAttribute(default=0)
    transport = UnicodeAttribute(default="udp")
    by_dns = BooleanAttribute(default=False)
    ca = UnicodeAttribute(default="")
    outbound_proxy = UnicodeAttribute(default="")
    username = UnicodeAttribute()
    auth_user = UnicodeAttribute(default="")
    password = UnicodeAttribute()
    realm = UnicodeAttribute(default="")
    contact_user = UnicodeAttribute()
    from_user = UnicodeAttribute(default="")
    from_domain = UnicodeAttribute(default="")
    display_name = UnicodeAttribute(default="")
    expires = NumberAttribute(default=3600)
    headers = ListAttribute[str](default=list)
    sources = ListAttribute[str](default=list)
    numbers = ListAttribute[str](default=list)
    spellings = ListAttribute[str](default=list)
    registers = BooleanAttribute(default=True)
    enabled = BooleanAttribute(default=True)
    incoming = ListAttribute[str](default=list)
    message_waiting = ListAttribute[str](default=list)
    caller_id = UnicodeAttribute(default="")
    caller_id_in = UnicodeAttribute(default="from")
    number_format = UnicodeAttribute(default="e164")
    transfers = BooleanAttribute(default=False)
    media = UnicodeAttribute(default="")
    plan = UnicodeAttribute(default="")
    call_id = UnicodeAttribute()
    version = NumberAttribute(default=0)


class ProviderPlaceItem(DirectoryItem, discriminator="provider-place"):
    """That accounts of ``tenant`` are at a server; ``trusting``: one of them doesn't register, so it is known there by
    where its calls come from. With a ``network``: its calls in come from there, too."""

    tenant = UnicodeAttribute()
    host = UnicodeAttribute()
    port = NumberAttribute(default=0)
    transport = UnicodeAttribute(default="udp")
    by_dns = BooleanAttribute(default=False)
    trusting = BooleanAttribute(default=False)
    network = UnicodeAttribute(default="")


class ProviderNumberItem(DirectoryItem, discriminator="provider-number"):
    """Whose calls are that come from a provider's host for a number: of one account only. ``provider`` is its id."""

    provider = UnicodeAttribute()


class PlanItem(DirectoryItem, discriminator="plan"):
    """A dial plan by name: which of its versions counts (0: none yet), and how many there are. ``uid`` is another one's
    if it is made again."""

    id = UnicodeAttribute()
    uid = UnicodeAttribute()
    tenant = UnicodeAttribute()
    name = UnicodeAttribute()
    published = NumberAttribute(default=0)
    latest = NumberAttribute(default=0)
    published_by = UnicodeAttribute(default="")
    published_at = NumberAttribute(default=0)


class PlanVersionItem(DirectoryItem, discriminator="plan-version"):
    """One version, never changed. ``text`` is JSON; ``author`` the API key that stored it."""

    number = NumberAttribute()
    text = UnicodeAttribute()
    author = UnicodeAttribute()
    note = UnicodeAttribute(default="")


class StoreItem(DirectoryItem, discriminator="store"):
    """One value of a tenant's store, which scripts read and write."""

    tenant = UnicodeAttribute()
    key = UnicodeAttribute()
    value = UnicodeAttribute()
    changed_at = NumberAttribute()


class SummaryItem(DirectoryItem, discriminator="summary"):
    """An account's message summary (RFC 3842), as it was told last; of two Regions that write at once, the later
    wins."""

    text = UnicodeAttribute()
    changed_at = NumberAttribute()


class IdempotencyItem(DirectoryItem, discriminator="idempotency"):
    """What came of a request that may be sent again. ``answer`` can be read with the API key that sent it only;
    ``status`` 0 while it is under way."""

    body = UnicodeAttribute()
    status = NumberAttribute(default=0)
    answer = UnicodeAttribute(default="")
    media = UnicodeAttribute(default="")
    at = NumberAttribute()
    ttl = NumberAttribute()


class ProviderStateItem(DirectoryItem, discriminator="provider-state"):
    """What the edge that registers the account has reported last; ``at`` orders the reports of one ``call_id``, which
    is another account's of that name if it isn't the account's own. ``proven`` is the user name, and where, that a
    REGISTER has been accepted for."""

    address = UnicodeAttribute()
    state = UnicodeAttribute()
    at = NumberAttribute()
    expires = NumberAttribute(default=0)
    period = NumberAttribute(default=0)
    status = NumberAttribute(default=0)
    reason = UnicodeAttribute(default="")
    next_at = NumberAttribute(default=0)
    server = UnicodeAttribute(default="")
    routes = ListAttribute[str](default=list)
    call_id = UnicodeAttribute(default="")
    proven = UnicodeAttribute(default="")


class FeedItem(DirectoryItem, discriminator="feed"):
    """The number of the last change that a Region has made, and when (seconds); ``sk`` names the Region."""

    number = NumberAttribute()
    at = NumberAttribute()


class ChangeItem(DirectoryItem, discriminator="change"):
    """One change; ``sk`` is its number in its Region. ``version`` in milliseconds, ``at`` in seconds."""

    number = NumberAttribute()
    aor = UnicodeAttribute(default="")
    version = NumberAttribute()
    binding = UnicodeAttribute(default="")
    provider = UnicodeAttribute(default="")
    address = UnicodeAttribute(default="")
    plan = UnicodeAttribute(default="")
    tenant = UnicodeAttribute(default="")
    at = NumberAttribute()
    ttl = NumberAttribute()


class ApiKeyItem(DirectoryItem, discriminator="key"):
    """``hash`` is the SHA-256 of the secret part; ``tenant`` "" means administration; ``role`` what it may do there;
    ``member`` whose own it is, if it is somebody's."""

    id = UnicodeAttribute()
    hash = UnicodeAttribute()
    tenant = UnicodeAttribute(default="")
    note = UnicodeAttribute(default="")
    role = UnicodeAttribute(default="owner")
    member = UnicodeAttribute(default="")


class MemberItem(DirectoryItem, discriminator="member"):
    """Somebody of a tenant; ``id`` is ``tenant/email``."""

    id = UnicodeAttribute()
    tenant = UnicodeAttribute()
    email = UnicodeAttribute()
    role = UnicodeAttribute()


class CountItem(DirectoryItem, discriminator="count"):
    """How many of a kind a tenant has: ``number``, ``at`` when the last one was made (Unix time)."""

    number = NumberAttribute()
    at = NumberAttribute()


class RationItem(DirectoryItem, discriminator="ration"):
    """How often something was done in an hour."""

    number = NumberAttribute()
    ttl = NumberAttribute()


class FamiliarItem(DirectoryItem, discriminator="familiar"):
    """Somebody has shown from a source that a mailbox is theirs."""

    ttl = NumberAttribute()


class TurnItem(DirectoryItem, discriminator="turn"):
    """``holder`` is at something that takes long, until ``ttl`` (Unix time) at the latest."""

    holder = UnicodeAttribute()
    ttl = NumberAttribute()


class UsedItem(DirectoryItem, discriminator="used"):
    """Something that is good for once has been used."""

    ttl = NumberAttribute()


class EdgeItem(DirectoryItem, discriminator="edge"):
    """``public_key`` is the raw Ed25519 key in base64; ``instances`` are the EC2 instances that have been this edge, in
    turn."""

    id = UnicodeAttribute()
    public_key = UnicodeAttribute()
    addresses = ListAttribute[str]()
    instances = ListAttribute[str](default=list)


class EdgePlaceItem(DirectoryItem, discriminator="edge-place"):
    """The sides of an edge address, whichever edge holds it: as the contract's ``EdgePlace``."""

    address = UnicodeAttribute()
    address6 = UnicodeAttribute(default="")
    name = UnicodeAttribute(default="")


class BanItem(DirectoryItem, discriminator="ban"):
    """Nothing is taken from ``network`` (CIDR) before ``until`` (Unix time)."""

    network = UnicodeAttribute()
    reason = UnicodeAttribute(default="")
    until = NumberAttribute()
    ttl = NumberAttribute()


class PublicNetworkItem(DirectoryItem, discriminator="public-network"):
    """Whoever is at an address of ``network`` (CIDR) is reached there from anywhere; ``note`` is for people."""

    network = UnicodeAttribute()
    note = UnicodeAttribute(default="")


class HookItem(DirectoryItem, discriminator="hook"):
    """A webhook. ``id`` is ``tenant/name``; ``secret`` is sealed by the Vault."""

    id = UnicodeAttribute()
    tenant = UnicodeAttribute()
    name = UnicodeAttribute()
    url = UnicodeAttribute()
    events = ListAttribute[str]()
    secret = UnicodeAttribute()


class PushServiceItem(DirectoryItem, discriminator="push-service"):
    """A tenant's credentials with a push notification service, as PushCredentials has them. ``id`` is
    ``tenant/provider``; ``secret`` is sealed by the Vault."""

    id = UnicodeAttribute()
    tenant = UnicodeAttribute()
    provider = UnicodeAttribute()
    scope = UnicodeAttribute(default="")
    key = UnicodeAttribute(default="")
    subject = UnicodeAttribute(default="")
    vapid = UnicodeAttribute(default="")
    shows = BooleanAttribute(default=False)
    secret = UnicodeAttribute()


class CertificateItem(DirectoryItem, discriminator="certificate"):
    """What is known of a name's certificate, as a Certified has it; without the certificate, since all of these are
    read often."""

    name = UnicodeAttribute()
    tenant = UnicodeAttribute(default="")
    version = UnicodeAttribute(default="")
    not_before = NumberAttribute(default=0)
    not_after = NumberAttribute(default=0)
    error = UnicodeAttribute(default="")
    attempts = NumberAttribute(default=0)
    next_at = NumberAttribute(default=0)
    order = UnicodeAttribute(default="")
    ordered_at = NumberAttribute(default=0)
    record = ListAttribute[str](default=list)
    ours = BooleanAttribute(default=False)
    warned = UnicodeAttribute(default="")


class CertificateKeyItem(DirectoryItem, discriminator="certificate-key"):
    """A name's certificate with those that lead to its root (PEM), and its private key; ``next_key`` is that of the
    order under way. The Vault seals both."""

    version = UnicodeAttribute(default="")
    chain = UnicodeAttribute(default="")
    key = UnicodeAttribute(default="")
    next_key = UnicodeAttribute(default="")


class RenewalItem(DirectoryItem, discriminator="renewal"):
    """Somebody wants a name's certificate to be renewed now."""

    name = UnicodeAttribute()
    ttl = NumberAttribute()


class AcmeItem(DirectoryItem, discriminator="acme"):
    """Our account at a certificate authority: its private ``key``, sealed by the Vault, and its URL; and how the
    authority has answered lately, an Authority."""

    key = UnicodeAttribute()
    account = UnicodeAttribute(default="")
    failures = NumberAttribute(default=0)
    paused_until = NumberAttribute(default=0)
    error = UnicodeAttribute(default="")


class SecretItem(DirectoryItem, discriminator="secret"):
    """The fleet's secret, from which each day's nonce and token keys are derived."""

    secret = UnicodeAttribute()


class ByAddress(GlobalSecondaryIndex["BindingItem"]):
    """The bindings of an edge address, in the order of their last change."""

    class Meta(Common):
        index_name = "by-address"
        projection = AllProjection()

    address = UnicodeAttribute(hash_key=True)
    changed_at = NumberAttribute(range_key=True)


class ById(GlobalSecondaryIndex["BindingItem"]):
    """The items of one binding id, for flow tokens whose flow is dead."""

    class Meta(Common):
        index_name = "by-id"
        projection = AllProjection()

    id = UnicodeAttribute(hash_key=True)


class BindingItem(Item):
    """Where a phone is. ``sk`` is ``key#edge address``, ``ttl`` when DynamoDB may clean up."""

    class Meta(Common):
        table_name = f"{PREFIX}-bindings"

    aor = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    key = UnicodeAttribute()
    id = UnicodeAttribute()
    address = UnicodeAttribute()
    port = NumberAttribute()
    transport = UnicodeAttribute()
    host = UnicodeAttribute()
    remote_port = NumberAttribute()
    connection = NumberAttribute()
    contact = UnicodeAttribute()
    call_id = UnicodeAttribute()
    cseq = NumberAttribute()
    registered_at = NumberAttribute()
    changed_at = NumberAttribute()
    expires_at = NumberAttribute()
    revision = UnicodeAttribute()
    tenant = UnicodeAttribute()
    q = NumberAttribute(default=1000)
    instance = UnicodeAttribute(default="")
    reg_id = NumberAttribute(default=0)
    user_agent = UnicodeAttribute(default="")
    removed = BooleanAttribute(default=False)
    doubted_at = NumberAttribute(null=True)
    path = ListAttribute[str](null=True)
    push = JSONAttribute(null=True)
    ttl = NumberAttribute()
    by_address = ByAddress()
    by_id = ById()
