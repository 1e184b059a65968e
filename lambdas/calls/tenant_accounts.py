"""What plans and calls may know of accounts: those of one tenant, each read once."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from lambdas.calls.facts import Facts
from lambdas.contract import WireFlow
from lambdas.decisions.route import targets_of
from lambdas.decisions.values import StoredAccount, StoredBinding, without_closed


class TenantAccounts:
    """What is another tenant's, or disabled, looks as if it had no phone."""

    def __init__(self, facts: Facts, tenant: str, closed: Collection[WireFlow] = ()) -> None:
        """``closed``: flows whose connection has ended."""
        self._tenant = tenant
        self._clock = facts.clock
        self.get = cache(facts.account)
        self._bindings = cache(lambda aor: without_closed(facts.bindings(aor), closed))

    def usable(self, aor: str) -> StoredAccount | None:
        """An account that may be called."""
        account = self.get(aor)
        return account if account is not None and account.enabled and account.tenant == self._tenant else None

    def bindings(self, aor: str) -> tuple[StoredBinding, ...]:
        return self._bindings(aor) if self.usable(aor) is not None else ()

    def registered(self, aor: str) -> bool:
        return bool(targets_of(self.bindings(aor), self._clock()))

    def disturbing(self, aor: str) -> bool:
        """Whether a call would disturb it."""
        account = self.usable(aor)
        return account is not None and account.do_not_disturb
