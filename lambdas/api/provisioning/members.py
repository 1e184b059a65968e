"""Members: the people of a tenant, each with a role and API keys of their own, and how they get them."""

from __future__ import annotations

import contextlib
from typing import Annotated, cast

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, Field

from lambdas.api import signed_tokens
from lambdas.api.audit import AuditedRoute, note
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import (
    Input,
    ListingDep,
    ListPage,
    TenantQuery,
    chosen_tenant,
    found_or_404,
    room,
)
from lambdas.api.provisioning.keys import KeyWithSecret, key_shown
from lambdas.api.security import CallerDep, OwnerDep, Role, ServicesDep, new_key, source
from lambdas.decisions.quotas import KEYS_OF_A_MEMBER
from lambdas.lookups.errors import MailError
from lambdas.repositories.directory import Missing, Taken
from lambdas.repositories.filters import alike
from lambdas.repositories.members import LastOwner
from lambdas.repositories.models import MemberItem
from lambdas.services import mails
from lambdas.services.services import Services

router = APIRouter(prefix="/members", tags=["members"], route_class=AuditedRoute)
login = APIRouter(prefix="/login", tags=["members"], route_class=AuditedRoute)

_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+'&=^~")
_INVITATION = """You may use {name}'s SIP service, as {role}.

Get an API key with this token, within an hour:

    curl -X POST {url}v1/login/confirm -H 'Content-Type: application/json' -d '{{"token": "{token}"}}'

or: scripts/sipwizard login --token {token}
"""


def _email(text: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    labels = domain.split(".")
    fine = at and local and domain.isascii() and len(labels) > 1 and _LOCAL.issuperset(local)
    if not fine or not all(label.replace("-", "").isalnum() for label in labels):
        raise ValueError("not an e-mail address")
    return f"{local}@{domain}".lower()  # nobody has two that differ in this


Email = Annotated[str, AfterValidator(_email), Field(max_length=200, examples=["ann@example.com"])]
InvitationToken = Annotated[str, Field(min_length=1, max_length=2000, description="Out of the mail.")]


class NewMember(Input):
    tenant: Annotated[str | None, Field(description="Needed with an administration key.")] = None
    email: Email
    role: Role = "admin"


class MemberChange(Input):
    role: Role


class Member(BaseModel):
    email: str
    tenant: str
    role: Role


class Login(Input):
    email: Email
    tenant: Annotated[str, Field(min_length=1, max_length=40)]


class Confirmation(Input):
    token: InvitationToken


def _shown(item: MemberItem) -> Member:
    return Member(email=item.email, tenant=item.tenant, role=cast(Role, item.role))


@router.post("", status_code=201, responses=responses(400, 401, 403, 404, 409, 422, 429, 503))
def add_member(body: NewMember, request: Request, services: ServicesDep, who: OwnerDep) -> Member:
    """Add somebody: they get a mail with which they can have an API key made."""
    tenant = chosen_tenant(body.tenant, who, services)
    _sends_mail(services)
    if not mails.may_write(f"tenant {tenant}", body.email, services):
        raise too_many_mails()
    try:
        with room(tenant, "members", services, who):
            item = services.tables.members.create(tenant, body.email, body.role)
    except Taken as error:
        raise Problem(409, f"{body.email} is a member already.") from error
    try:
        send(item, request, services)
    except MailError:
        services.tables.members.remove(item, last=True)  # so that it can be tried again
        services.tables.counts.note(tenant, "members", -1)
        raise
    return _shown(item)


@router.get("", responses=responses(400, 401, 404))
def list_members(
    services: ServicesDep, who: CallerDep, listing: ListingDep, tenant: TenantQuery = None, role: Role | None = None
) -> ListPage[Member]:
    """A tenant's members, by address."""
    owner = chosen_tenant(tenant, who, services)
    return listing.page(services, MemberItem, f"members#{owner}", _shown, alike(MemberItem, role=role), f"{owner}/")


@router.get("/{email}", responses=responses(400, 401, 404))
def read_member(email: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> Member:
    """One member."""
    return _shown(_member(email, tenant, services, who))


@router.patch("/{email}", responses=responses(400, 401, 403, 404, 409, 422))
def change_member(
    email: str, body: MemberChange, services: ServicesDep, who: OwnerDep, tenant: TenantQuery = None
) -> Member:
    """Give somebody another role; the keys that they have get it, too."""
    item = _member(email, tenant, services, who)
    try:
        services.tables.members.change(item, body.role, last=who.admin)
    except Missing as error:
        raise Problem(404, f"There is no member {email!r}.") from error
    except LastOwner as error:
        raise _last_owner(item) from error
    return _shown(item)


@router.delete("/{email}", status_code=204, responses=responses(400, 401, 403, 404, 409))
def remove_member(email: str, services: ServicesDep, who: OwnerDep, tenant: TenantQuery = None) -> None:
    """Remove somebody, and their keys with them."""
    item = _member(email, tenant, services, who)
    try:
        services.tables.members.remove(item, last=who.admin)
    except Missing as error:
        raise Problem(404, f"There is no member {email!r}.") from error
    except LastOwner as error:
        raise _last_owner(item) from error
    services.tables.counts.note(item.tenant, "members", -1)


@login.post("", status_code=202, responses=responses(409, 422, 429))
def ask_for_login(body: Login, request: Request, services: ServicesDep) -> None:
    """Have a mail sent with which a member can have an API key made. The answer is the same whether there is such a
    member."""
    _sends_mail(services)
    if not mails.may_send_login(source(request), body.email, body.tenant, services):
        raise too_many_mails()
    item = services.tables.members.get(body.tenant, body.email)
    if item is not None:
        with contextlib.suppress(MailError):  # which is in the log; nobody is to learn from it who is a member
            send(item, request, services)


@login.post("/confirm", status_code=201, responses=responses(403, 422))
def confirm_login(body: Confirmation, request: Request, services: ServicesDep) -> KeyWithSecret:
    """With the token out of the mail: an API key of the member's role."""
    signed = signed_tokens.verify(body.token, "login", services)
    item = services.tables.members.get(signed.tenant, signed.to)
    if item is None:
        raise Problem(403, "You aren't a member any more.")
    signed_tokens.use_up(signed, services)
    services.tables.rations.acquaint(item.email, source(request), services.clock())
    made, text = new_key(services, item.tenant, f"{item.email}'s", cast(Role, item.role), item.email)
    services.tables.members.drop_old_keys(item, KEYS_OF_A_MEMBER)
    note(services, item.tenant, made.id, f"POST /v1/login/confirm: API key {made.id} of {item.email}")
    return KeyWithSecret(**key_shown(made).model_dump(), key=text)


def send(item: MemberItem, request: Request, services: Services) -> None:
    """An invitation."""
    token = signed_tokens.issue("login", item.email, services, item.tenant)
    text = _INVITATION.format(name=item.tenant, role=item.role, url=signed_tokens.url(request, services), token=token)
    services.lookups.mail.send(item.email, "Your key for the SIP service", text)


def too_many_mails() -> Problem:
    detail = "Too many mails were asked for; use the last one that came, or wait until the next full hour."
    return Problem(429, detail, {"Retry-After": "3600"})


def _sends_mail(services: Services) -> None:
    """Raises Problem."""
    if not services.lookups.mail.available:
        raise Problem(409, "This installation sends no mail; whoever runs it has to set MAIL_FROM.")


def _last_owner(item: MemberItem) -> Problem:
    return Problem(409, f"{item.email} is the last owner; make somebody else an owner first.")


def _member(email: str, tenant: str | None, services: Services, who: CallerDep) -> MemberItem:
    owner = chosen_tenant(tenant, who, services)
    item: MemberItem = found_or_404(services.tables.members.get(owner, email.lower()), who, f"member {email!r}")
    return item
