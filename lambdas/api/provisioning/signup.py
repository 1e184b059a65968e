"""Sign-up: from an e-mail address to a working SIP account."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from lambdas.api import signed_tokens
from lambdas.api.audit import AuditedRoute, note
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.accounts import AccountWithPassword, NewAccount, new_account_item, with_password
from lambdas.api.provisioning.common import Input, Username, new_password
from lambdas.api.provisioning.members import Email, InvitationToken, too_many_mails
from lambdas.api.security import ServicesDep, new_key, source
from lambdas.repositories.directory import Taken
from lambdas.repositories.items import tenant_item
from lambdas.repositories.models import DomainItem
from lambdas.services import mails
from lambdas.services.services import Services

router = APIRouter(prefix="/signup", tags=["sign-up"], route_class=AuditedRoute)

_LIMITS = {"concurrent_calls": 4, "calls_per_minute": 20}  # until whoever runs the service says else
_RELAYED_CALLS = 8
_LETTER = """Welcome. Make your SIP account with this token, within an hour:

    curl -X POST {url}v1/signup/confirm -H 'Content-Type: application/json' \\
      -d '{{"token": "{token}", "username": "YOUR-NAME"}}'

or: scripts/sipwizard signup {email} --token {token} --username YOUR-NAME

If you didn't ask for this, there is nothing to do.
"""


class SignUp(Input):
    email: Email


class Confirmed(Input):
    token: InvitationToken
    username: Username


class Welcome(BaseModel):
    tenant: str
    key: Annotated[str, Field(description="An owner's API key. Shown this once.")]
    account: AccountWithPassword


@router.post("", status_code=202, responses=responses(404, 422, 429, 503))
def sign_up(body: SignUp, request: Request, services: ServicesDep) -> None:
    """Have a mail sent that leads to an account."""
    _domain(services)
    if not mails.may_write(source(request), body.email, services):
        raise too_many_mails()
    token = signed_tokens.issue("signup", body.email, services)
    text = _LETTER.format(url=signed_tokens.url(request, services), token=token, email=body.email)
    services.lookups.mail.send(body.email, "Your SIP account", text)


@router.post("/confirm", status_code=201, responses=responses(403, 404, 409, 422, 429))
def confirm_signup(body: Confirmed, request: Request, services: ServicesDep) -> Welcome:
    """With the token out of the mail: a tenant, an account in the service's own domain, and an owner's API key."""
    domain = _domain(services)
    signed = signed_tokens.verify(body.token, "signup", services)
    if not services.quotas.confirmations.take(source(request)):
        raise Problem(429, "Too many tries; wait a minute.", {"Retry-After": "60"})
    signed_tokens.check_unused(signed, services)
    tenant = tenant_item(f"t{secrets.token_hex(6)}", signed.to)
    tenant.limits, tenant.relayed_calls, tenant.signed_up = _LIMITS, _RELAYED_CALLS, True
    tenant.outside = False
    password = new_password()
    wanted = NewAccount(username=body.username, domain=domain.name)
    account = new_account_item(wanted, tenant.id, password)
    try:
        services.tables.accounts.create(account, domain)
    except Taken as error:
        raise Problem(409, f"{account.aor} is somebody else's; choose another username.") from error
    try:
        signed_tokens.use_up(signed, services)
    except Problem:
        services.tables.accounts.delete(account, services.clock())
        raise
    services.tables.rations.acquaint(signed.to, source(request), services.clock())
    services.tables.directory.create(tenant)
    services.tables.members.create(tenant.id, signed.to, "owner")
    made, key = new_key(services, tenant.id, f"{signed.to}'s", "owner", signed.to)
    what = f"POST /v1/signup/confirm: {signed.to} has signed up as {account.aor}, with API key {made.id}"
    note(services, tenant.id, made.id, what)
    return Welcome(tenant=tenant.id, key=key, account=with_password(account, password))


def _domain(services: Services) -> DomainItem:
    """Where people get their accounts. Raises Problem if they can't have any."""
    name = services.cache.domains().default if services.environment.sign_up and services.lookups.mail.available else ""
    found = services.tables.directory.get(DomainItem, name) if name else None
    if found is None:
        raise Problem(404, "Nobody can sign up here; ask whoever runs the service for an account.")
    return found
