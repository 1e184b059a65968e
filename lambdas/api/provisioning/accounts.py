"""SIP accounts, and where their phones are registered."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning import bounds
from lambdas.api.provisioning.common import (
    NAME,
    DomainName,
    Flag,
    Input,
    ListingDep,
    ListPage,
    TenantQuery,
    Username,
    chosen_tenant,
    found_or_404,
    new_password,
    room,
)
from lambdas.api.provisioning.media import OwnMedia, Site, kept, own
from lambdas.api.provisioning.plans import check_plan
from lambdas.api.provisioning.providers import E164
from lambdas.api.security import CallerDep, ServicesDep
from lambdas.contract import Change
from lambdas.decisions.digest import hashes
from lambdas.decisions.passwords import LONGEST, SHORTEST, fault
from lambdas.decisions.values import StoredBinding, present, remove
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.filters import alike
from lambdas.repositories.items import account_item
from lambdas.repositories.models import AccountItem, DomainItem, limit_attributes
from lambdas.services import suspension
from lambdas.services.services import Services

router = APIRouter(prefix="/accounts", tags=["accounts"], route_class=AuditedRoute)

_RACES = 8

Password = Annotated[
    str,
    Field(
        min_length=SHORTEST,
        max_length=LONGEST,
        pattern=r"^[\x20-\x7e]+$",
        description="Printable ASCII, without the user name or the domain in it, and none of the common ones. "
        "Left out, a good one is made.",
    ),
]


Digest = Annotated[
    Literal["auto", "md5", "sha256", "both"],
    Field(
        description="Which algorithms its phones are asked to answer by: `auto` leaves it to the edges, which go by "
        "the phone; `both` asks for SHA-256 first; with `sha256` answers by MD5 are refused."
    ),
]


def _stored(digest: Digest) -> str:
    return "" if digest == "auto" else digest


class NewAccount(Input):
    username: Username
    domain: Annotated[DomainName, Field(description="A domain of the tenant, by its canonical name.")]
    password: Password | None = None
    display_name: Annotated[str, Field(max_length=100, pattern=NAME)] = ""
    caller_id: Annotated[E164, Field(description="The number to show in calls through providers.")] = ""

    enabled: Flag = True
    plan: Annotated[str, Field(max_length=32, description="The dial plan of calls to it; empty for none.")] = ""
    do_not_disturb: Flag = False
    digest: Digest = "auto"
    media: OwnMedia = "tenant"
    site: Site = ""

    @field_validator("password")
    @classmethod
    def _good(cls, password: str | None, found: ValidationInfo) -> str | None:
        wrong = fault(password, found.data.get("username", ""), found.data.get("domain", "")) if password else ""
        if wrong:
            raise ValueError(wrong)
        return password


class AccountChange(Input):
    enabled: Annotated[Flag | None, Field(description="A disabled account can neither register nor call.")] = None
    display_name: Annotated[str | None, Field(max_length=100, pattern=NAME)] = None
    caller_id: E164 | None = None
    plan: Annotated[str | None, Field(max_length=32, description="The dial plan of calls to it; empty for none.")] = (
        None
    )
    do_not_disturb: Annotated[Flag | None, Field(description="Calls to it are busy, unless its plan says else.")] = None
    digest: Digest | None = None
    media: OwnMedia | None = None
    site: Site | None = None
    limits: Annotated[bounds.Limits | None, Field(description="Its own; the tenant's `account_limits` otherwise.")] = (
        None
    )


class PasswordChange(Input):
    password: Password | None = None


class Account(BaseModel):
    aor: Annotated[str, Field(description="`username@domain`, as others call it.", examples=["alice@example.com"])]
    username: Annotated[str, Field(description="What the phone sends as user and authentication user.")]
    domain: str
    tenant: str
    enabled: bool
    display_name: str
    caller_id: str
    plan: str
    do_not_disturb: bool
    digest: Digest
    media: OwnMedia
    site: str
    limits: bounds.Limits
    suspended: Annotated[str, Field(description="Why it may do nothing; empty if it may.")]


class AccountWithPassword(Account):
    password: Annotated[str, Field(description="Shown this once: only hashes of it are kept.")]


class AccountBinding(BaseModel):
    id: str
    contact: str
    edge_address: str
    transport: str
    source: Annotated[str, Field(description="Where the phone's packets come from, its NAT's outside for most.")]
    expires: Annotated[int, Field(description="Seconds from now.")]
    user_agent: str


def shown(item: AccountItem) -> Account:
    username, _, domain = item.aor.rpartition("@")
    return Account(
        aor=item.aor,
        username=username,
        domain=domain,
        tenant=item.tenant,
        enabled=item.enabled,
        display_name=item.display_name,
        caller_id=item.caller_id,
        plan=item.plan,
        do_not_disturb=item.do_not_disturb,
        digest=cast(Digest, item.digest or "auto"),
        media=own(item.media),
        site=item.site,
        limits=bounds.shown(item.all_limits),
        suspended=item.suspended,
    )


def with_password(item: AccountItem, password: str) -> AccountWithPassword:
    return AccountWithPassword(**shown(item).model_dump(), password=password)


def new_account_item(body: NewAccount, tenant: str, password: str) -> AccountItem:
    aor = f"{body.username}@{body.domain}"
    item = account_item(aor, tenant, hashes(aor, password), body.display_name)
    item.caller_id, item.plan = body.caller_id, body.plan
    item.enabled, item.do_not_disturb = body.enabled, body.do_not_disturb
    item.digest = _stored(body.digest)
    item.media, item.site = kept({"media": body.media})["media"], body.site
    return item


@router.post("", status_code=201, responses=responses(401, 404, 409, 422))
def create_account(body: NewAccount, services: ServicesDep, who: CallerDep) -> AccountWithPassword:
    """Make an account. It can register at once."""
    domain = found_or_404(services.tables.directory.get(DomainItem, body.domain), who, f"domain {body.domain!r}")
    aor = f"{body.username}@{domain.name}"
    check_plan(domain.tenant, body.plan, services)
    password = body.password or new_password()
    item = new_account_item(body, domain.tenant, password)
    try:
        with room(domain.tenant, "accounts", services, who):
            services.tables.accounts.create(item, domain)
    except Taken as error:
        detail = f"{aor} exists already (see /v1/accounts/{aor}/password), or its domain is being deleted."
        raise Problem(409, detail) from error
    return with_password(item, password)


@router.get("", responses=responses(400, 401, 404))
def list_accounts(
    services: ServicesDep,
    who: CallerDep,
    listing: ListingDep,
    tenant: TenantQuery = None,
    domain: Annotated[str | None, Query(description="Only those of this domain.")] = None,
    enabled: bool | None = None,
    suspended: bool | None = None,
    plan: Annotated[str | None, Query(description="Only those with this dial plan.")] = None,
) -> ListPage[Account]:
    """A tenant's accounts, by AOR."""
    owner = chosen_tenant(tenant, who, services)
    where = alike(AccountItem, enabled=enabled, suspended=suspended, plan=plan)
    if domain is None:
        return listing.page(services, AccountItem, f"accounts#{owner}", shown, where)
    inside = services.tables.accounts.in_domain(domain.lower())
    return listing.page(
        services,
        AccountItem,
        f"accounts#{owner}",
        shown,
        inside if where is None else inside & where,
        wanted=lambda item: item.domain == domain.lower(),
    )


@router.get("/{aor}", responses=responses(401, 404))
def read_account(aor: str, services: ServicesDep, who: CallerDep) -> Account:
    """One account by its AOR."""
    return shown(_account(aor, services, who))


@router.patch("/{aor}", responses=responses(401, 404, 422))
def change_account(aor: str, body: AccountChange, services: ServicesDep, who: CallerDep) -> Account:
    """Enable, disable or rename. Fields left out stay as they are."""
    item = _account(aor, services, who)
    changes = kept(body.model_dump(exclude_none=True, exclude={"limits"}))
    if body.limits is not None:
        prefixes = bounds.prefixes_of(body.limits.model_dump(exclude_unset=True))
        if prefixes:
            bounds.check_prefixes(prefixes, services.tables.directory.settings(item.tenant).country)
        changes |= limit_attributes(bounds.merged(item.all_limits, body.limits))
        item.guarded = True  # of two changes at once one mustn't undo the other
    check_plan(item.tenant, body.plan, services)
    if body.digest is not None:
        changes["digest"] = _stored(body.digest)
    if changes:
        _update(services, item, changes)
    return shown(item)


@router.post("/{aor}/password", responses=responses(401, 404, 422))
def change_password(aor: str, body: PasswordChange, services: ServicesDep, who: CallerDep) -> AccountWithPassword:
    """Set a new password, or have one made. The old one stops working at once."""
    item = _account(aor, services, who)
    wrong = fault(body.password, *item.aor.rsplit("@", 1)) if body.password else ""
    if wrong:
        raise Problem(422, f"password: {wrong}.")
    password = body.password or new_password()
    _update(services, item, hashes(item.aor, password))
    return with_password(item, password)


@router.delete("/{aor}", status_code=204, responses=responses(401, 404))
def delete_account(aor: str, services: ServicesDep, who: CallerDep) -> None:
    """Remove an account and its bindings."""
    item = _account(aor, services, who)
    try:
        services.tables.accounts.delete(item, services.clock())
    except Missing as error:
        raise Problem(404, f"There is no account {aor!r}.") from error
    services.tables.counts.note(item.tenant, "accounts", -1)
    _remove_bindings(item, None, services)


@router.get("/{aor}/usage", responses=responses(401, 404))
def account_usage(aor: str, services: ServicesDep, who: CallerDep) -> bounds.Usage:
    """What counts for its limits just now."""
    return bounds.usage(_account(aor, services, who).aor, services)


@router.put("/{aor}/suspension", responses=responses(401, 404, 422))
def suspend_account(aor: str, body: bounds.Suspension, services: ServicesDep, who: CallerDep) -> Account:
    """It may neither register nor call any more, and its calls end, within seconds."""
    item = _account(aor, services, who)
    _suspend(item, body.reason, services)
    return shown(item)


@router.delete("/{aor}/suspension", responses=responses(401, 404))
def lift_account_suspension(aor: str, services: ServicesDep, who: CallerDep) -> Account:
    """Let it again."""
    item = _account(aor, services, who)
    _suspend(item, "", services)
    return shown(item)


@router.get("/{aor}/bindings", responses=responses(401, 404))
def list_bindings(aor: str, services: ServicesDep, who: CallerDep) -> list[AccountBinding]:
    """Where the account's phones are registered now."""
    item = _account(aor, services, who)
    now = services.clock()
    return [_shown_binding(binding, now) for binding in present(services.tables.bindings.of(item.aor), now)]


@router.delete("/{aor}/bindings/{binding}", status_code=204, responses=responses(401, 404))
def delete_binding(aor: str, binding: str, services: ServicesDep, who: CallerDep) -> None:
    """Remove a binding: calls stop going there at once, keep-alives within seconds. The phone may register again."""
    item = _account(aor, services, who)
    if not _remove_bindings(item, binding, services):
        raise Problem(404, f"{aor} has no binding {binding!r}.")


def _account(aor: str, services: Services, who: CallerDep) -> AccountItem:
    username, _, domain = aor.rpartition("@")
    found = services.tables.directory.get(AccountItem, f"{username}@{domain.lower()}")
    item: AccountItem = found_or_404(found, who, f"account {aor!r}")
    return item


def _suspend(item: AccountItem, reason: str, services: Services) -> None:
    try:
        suspension.suspend_account(item, reason, services)
    except Missing as error:
        raise Problem(404, f"There is no account {item.aor!r}.") from error


def _update(services: Services, item: AccountItem, changes: dict[str, Any]) -> None:
    try:
        services.tables.accounts.change(item, services.clock(), **changes)
    except Missing as error:
        raise Problem(404, f"There is no account {item.aor!r}.") from error


def _remove_bindings(account: AccountItem, binding: str | None, services: Services) -> bool:
    """Remove one binding or all, at every edge; whether there was one."""
    aor = account.aor
    for _ in range(_RACES):
        now = services.clock()
        items = services.tables.bindings.of(aor)
        ids = {item.id for item in present(items, now) if binding in (None, item.id)}
        revision = f"api-{secrets.token_hex(8)}"
        puts = [remove(item, revision, now) for item in items if item.id in ids and item.live(now)]
        change = Change(aor=aor, version=round(now * 1000), binding=binding or "*")
        if not puts:
            return bool(ids)
        if services.tables.bindings.remove(puts, services.tables.directory.feed, change, now):
            services.notices.moved(aor, account.tenant, items, puts, now)
            return bool(ids)
    raise Problem(503, "The account's phones are registering too often just now; try again.", {"Retry-After": "1"})


def _shown_binding(binding: StoredBinding, now: float) -> AccountBinding:
    _, _, transport, host, port, _ = binding.flow
    return AccountBinding(
        id=binding.id,
        contact=binding.contact,
        edge_address=binding.address,
        transport=transport,
        source=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        expires=max(0, round(binding.expires_at - now)),
        user_agent=binding.user_agent,
    )
