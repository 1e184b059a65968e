"""Who is asking: people bring an API key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from lambdas.api.problems import Problem
from lambdas.repositories.items import api_key_item
from lambdas.repositories.models import ApiKeyItem, DirectoryItem
from lambdas.services.services import Services

_LATER = {"Retry-After": "60"}
_NETWORK = 64  # bits of an IPv6 address that whoever has it can't choose
_TRIES = ":simulate"  # routes that are asked by POST, but change nothing


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


Role = Literal["owner", "admin", "read-only"]


@dataclass(slots=True)
class Caller:
    """Who an API key belongs to; ``tenant`` "" is the administration. ``about`` is the tenant whose things the request
    is about, and ``thing`` the one thing, once that is known; ``if_match`` is the header field."""

    key: str
    tenant: str
    role: Role = "owner"
    about: str = ""
    if_match: str | None = None
    thing: DirectoryItem | None = None

    @property
    def admin(self) -> bool:
        return not self.tenant

    def owns(self, tenant: str) -> bool:
        """Whether what is ``tenant``'s is the caller's to see."""
        mine = self.admin or self.tenant == tenant
        if mine:
            self.about = tenant
        return mine


_bearer = HTTPBearer(auto_error=False, description="An API key, as made under /v1/keys: `sw_…`.")


def known_key(found: Services, authorization: str) -> ApiKeyItem | None:
    """The API key of an Authorization header field, if it is one of ours. A member's may do what the member may just
    now, and nothing once they are none any more."""
    item = _live_key(found, authorization)
    if item is None:
        found.quotas.good_keys.drop(hash_key(authorization))
    else:
        found.quotas.good_keys.add(hash_key(authorization))
    return item


def _live_key(found: Services, authorization: str) -> ApiKeyItem | None:
    scheme, _, text = authorization.partition(" ")
    parts = text.strip().split("_")
    if scheme.lower() != "bearer" or len(parts) != 3 or parts[0] != "sw":
        return None
    item = found.tables.directory.get(ApiKeyItem, parts[1])
    stored = item.hash if item else ""
    if item is None or not hmac.compare_digest(stored.encode(), hash_key(parts[2]).encode()):
        return None
    if item.member:
        member = found.tables.members.get(item.tenant, item.member)
        if member is None:
            return None
        item.role = member.role
    return item


def changes(request: Request) -> bool:
    """Whether it is a request to change something."""
    return request.method not in ("GET", "HEAD") and not request.scope["route"].path.endswith(_TRIES)


def source(request: Request) -> str:
    """Where it comes from; of IPv6 the network, since anybody has many addresses in one."""
    host = request.client.host if request.client is not None else ""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.IPv6Network((host.partition("%")[0], _NETWORK), strict=False))
    except ValueError:
        return host


def slow_down(request: Request, found: Services) -> None:
    """For routes that need no key. Raises Problem if their source asks too often."""
    if not found.quotas.keyless.take(source(request)):
        raise Problem(429, "Too many requests came from you; wait a minute.", _LATER)


def identify(request: Request, found: Services) -> Caller:
    """The owner of the API key, before anything else of the request is looked at. Raises Problem: 401 if there is none,
    403 for a change by one that may only read, 429 if there are too many requests. Whoever guesses costs a read for
    each; a key that has been good before is looked at however much somebody else at that address guesses."""
    authorization, refused = request.headers.get("authorization", ""), found.quotas.refused
    if not (refused.left(source(request)) or found.quotas.good_keys.has(hash_key(authorization))):
        raise Problem(429, "Too many requests without a valid API key came from you; wait a minute.", _LATER)
    item = known_key(found, authorization)
    if item is None:
        refused.take(source(request))
        raise Problem(
            401,
            "Send a valid API key: 'Authorization: Bearer sw_…'. Keys are made under /v1/keys.",
            {"WWW-Authenticate": "Bearer"},
        )
    if not found.quotas.requests.take(item.id):
        raise Problem(429, "Too many requests with this API key; go on in a second, and slower.", {"Retry-After": "1"})
    who = Caller(item.id, item.tenant, cast(Role, item.role), item.tenant, request.headers.get("if-match"))
    if who.role == "read-only" and changes(request):
        raise Problem(403, "This API key may only read.")
    return who


def caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    """As its route has identified them."""
    who: Caller = request.state.caller
    return who


CallerDep = Annotated[Caller, Depends(caller)]


def owner(who: CallerDep) -> Caller:
    """For what only owners may do: saying who else may do what, and in whose name others are asked."""
    if who.role != "owner":
        raise Problem(403, "Only an owner's key may do this: keys, members and push services.")
    return who


OwnerDep = Annotated[Caller, Depends(owner)]


def administrator(who: CallerDep) -> Caller:
    if not who.admin:
        raise Problem(403, "Only an administration key may do this; yours is a tenant's.")
    return who


AdminDep = Annotated[Caller, Depends(administrator)]


def hash_key(secret: str) -> str:
    """What is stored of an API key. The secret has 256 random bits, so one round is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(found: Services, tenant: str, note: str, role: Role = "owner", member: str = "") -> tuple[ApiKeyItem, str]:
    """Make and store an API key: its item, and the text that is shown once."""
    name, secret = secrets.token_hex(8), secrets.token_hex(32)
    item = api_key_item(name, hash_key(secret), tenant, note, role, member)
    found.tables.directory.create(item)
    return item, f"sw_{name}_{secret}"
