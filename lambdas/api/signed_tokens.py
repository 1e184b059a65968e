"""Signed tokens for magic links, good for a while and for once: whoever brings one back may do what it says. Nothing is
stored until then."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Literal

from fastapi import Request

from lambdas.api.problems import Problem
from lambdas.repositories.directory import Taken
from lambdas.repositories.models import UsedItem
from lambdas.services.services import Services

GOOD_FOR = 3600
"""Seconds, if nothing else is said."""

Purpose = Literal["signup", "login", "enrol"]


@dataclass(frozen=True, slots=True)
class SignedToken:
    """``to`` is an e-mail address, or an edge; ``until`` is Unix time; ``nonce`` tells two of the same kind apart.
    ``sides`` are an edge's addresses with their IPv6 sides and names."""

    purpose: Purpose
    to: str
    until: int
    nonce: str
    tenant: str = ""
    addresses: tuple[str, ...] = ()
    sides: tuple[tuple[str, str, str], ...] = ()


def issue(
    purpose: Purpose,
    to: str,
    services: Services,
    tenant: str = "",
    addresses: tuple[str, ...] = (),
    seconds: int = GOOD_FOR,
    sides: tuple[tuple[str, str, str], ...] = (),
) -> str:
    """The token."""
    signed = SignedToken(purpose, to, int(services.clock()) + seconds, secrets.token_hex(8), tenant, addresses, sides)
    body = base64.urlsafe_b64encode(json.dumps(asdict(signed), separators=(",", ":")).encode()).rstrip(b"=").decode()
    return f"{body}.{_signature(body, services)}"


def verify(token: str, purpose: Purpose, services: Services) -> SignedToken:
    """Raises Problem if it isn't one of ours, for that, and still good."""
    refusal = Problem(403, "This token isn't good, or isn't any more; have another one sent.")
    body, _, signature = token.partition(".")
    if not token.isascii() or not hmac.compare_digest(signature.encode(), _signature(body, services).encode()):
        raise refusal
    signed = SignedToken(**json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    if signed.purpose != purpose or signed.until < services.clock():
        raise refusal
    return signed


def use_up(signed: SignedToken, services: Services) -> None:
    """It is good no more. Raises Problem if somebody has used it before."""
    if signed.purpose == "enrol":  # makes an edge: once in all Regions, which only the leases' table can tell
        mine = secrets.token_hex(8)
        if services.tables.leases.once(f"letter {signed.nonce}", mine) != mine:
            raise _used()
        return
    try:
        services.tables.directory.use_once(f"letter#{signed.nonce}", signed.until)
    except Taken as error:
        raise _used() from error


def check_unused(signed: SignedToken, services: Services) -> None:
    """Raises Problem if it is known to have been used."""
    if services.tables.directory.get(UsedItem, f"letter#{signed.nonce}") is not None:
        raise _used()


def _used() -> Problem:
    return Problem(403, "This token has been used already; have another one sent.")


def url(request: Request, services: Services) -> str:
    """Where tokens are to be brought. ``PUBLIC_URL`` says it where a stranger could choose the request's Host; a
    Function URL's is AWS's."""
    return f"{services.environment.public_url or str(request.base_url).rstrip('/')}/"


def _signature(body: str, services: Services) -> str:
    return hmac.new(services.keys.derived("letters"), body.encode(), hashlib.sha256).hexdigest()
