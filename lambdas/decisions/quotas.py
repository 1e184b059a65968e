"""How many of everything a tenant may make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

QuotaKind = Literal[
    "accounts", "domains", "hooks", "keys", "members", "plans", "plan_versions", "providers", "store"
]  # fmt: skip

USUAL: dict[QuotaKind, int] = {
    "accounts": 10_000,
    "domains": 100,
    "hooks": 10,
    "keys": 50,
    "members": 100,
    "plans": 200,
    "plan_versions": 50,
    "providers": 100,
    "store": 1000,
}
"""Of tenants that whoever runs the service has made. ``plan_versions`` are those of each plan, of which the oldest go;
``keys`` don't count members' own."""
OF_STRANGERS: dict[QuotaKind, int] = {
    "accounts": 20,
    "domains": 3,
    "hooks": 3,
    "keys": 5,
    "members": 5,
    "plans": 10,
    "plan_versions": 20,
    "providers": 3,
    "store": 100,
}
"""Of those who have signed up."""
KEYS_OF_A_MEMBER = 5
"""Each member's own API keys; the oldest go."""


class QuotaUsedUp(Exception):
    """The tenant may have no more of that."""

    def __init__(self, kind: QuotaKind, most: int) -> None:
        super().__init__(kind)
        self.kind = kind
        self.most = most


def quotas(given: Mapping[str, int], signed_up: bool) -> dict[QuotaKind, int]:
    """A tenant's, of which some are ``given``."""
    usual = OF_STRANGERS if signed_up else USUAL
    return {kind: int(given.get(kind, most)) for kind, most in usual.items()}
