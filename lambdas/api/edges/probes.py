"""The accounts by which edges try each other out."""

from __future__ import annotations

import base64
import hashlib
import hmac

from lambdas.contract import Probe
from lambdas.decisions.digest import hashes
from lambdas.repositories.directory import Taken
from lambdas.repositories.items import account_item
from lambdas.repositories.models import PROBES, DomainItem
from lambdas.services.services import Services


def prepare(edge: str, services: Services) -> None:
    """Make an edge's account, in the default domain if there is one."""
    name = services.cache.domains(fresh=True).default
    domain = services.tables.directory.get(DomainItem, name) if name else None
    if domain is None or not services.environment.probe_seconds:
        return
    aor, password = _aor(edge, name), _password(edge, services)
    try:
        services.tables.accounts.create(account_item(aor, PROBES, hashes(aor, password), "Probe"), domain)
    except Taken:
        return  # it is there already


def of(edge: str, services: Services) -> Probe | None:
    """An edge's account, if it has one."""
    name = services.cache.domains().default
    if not name or not services.environment.probe_seconds or not services.cache.has_probe(_aor(edge, name)):
        return None
    return Probe(aor=_aor(edge, name), password=_password(edge, services), seconds=services.environment.probe_seconds)


def _aor(edge: str, domain: str) -> str:
    return f"probe-{edge.lower()}@{domain}"


def _password(edge: str, services: Services) -> str:
    digest = hmac.new(services.keys.derived("probes"), edge.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()
