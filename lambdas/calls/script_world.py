"""The world as scripts of real calls find it: the tenant's store, ENUM and allowed pages, each within its limits."""

from __future__ import annotations

import re
from typing import Any

from lambdas.calls.facts import Facts
from lambdas.decisions.quotas import QuotaUsedUp
from lambdas.decisions.store import KEY, LONGEST_VALUE
from lambdas.lookups.errors import OutsideError
from lambdas.sandbox.client import Refusal

GETS, PUTS, PAGES, NUMBERS = 10, 5, 2, 3
"""In one run."""
PUTS_A_MINUTE = 60
"""Of one tenant, in one process of the control plane."""


class ScriptWorld:
    """One run's. ``hosts`` are those that it may get pages of; ``dry``: nothing is written."""

    def __init__(self, tenant: str, facts: Facts, hosts: frozenset[str], dry: bool = False) -> None:
        self._tenant = tenant
        self._facts = facts
        self._hosts = hosts
        self._dry = dry
        self._left = {"get": GETS, "put": PUTS, "http_get": PAGES, "enum": NUMBERS}

    def _take(self, name: str) -> None:
        if not self._left[name]:
            raise Refusal(f"{name}: not more often in one run")
        self._left[name] -= 1

    def get(self, key: str) -> str | None:
        self._take("get")
        return self._facts.stored(self._tenant, _key(key))

    def put(self, key: str, value: str) -> None:
        self._take("put")
        if len(value) > LONGEST_VALUE:
            raise Refusal(f"put: a value has at most {LONGEST_VALUE} characters")
        _key(key)
        if self._dry:
            return
        if not self._facts.may_store(self._tenant):
            raise Refusal(f"put: at most {PUTS_A_MINUTE} a minute")
        try:
            self._facts.store(self._tenant, key, value)
        except QuotaUsedUp as error:
            raise Refusal(f"put: the store is full ({error.most} values)") from error

    def enum(self, number: str, zone: str) -> str:
        self._take("enum")
        return self._facts.enum(number, zone)

    def http_get(self, url: str) -> dict[str, Any]:
        """A page that can't be had has status 0, so that the script can go on; a host that may not be asked ends it."""
        self._take("http_get")
        try:
            status, text = self._facts.page(url, self._hosts)
        except OutsideError as error:
            if error.forbidden:
                raise Refusal(f"http_get: {error}") from error
            return {"status": 0, "text": str(error)}
        return {"status": status, "text": text}


def _key(key: str) -> str:
    if not re.fullmatch(KEY, key):  # "$" alone lets a line feed through
        raise Refusal("a key has 1 to 100 printable characters, and no slash")
    return key
