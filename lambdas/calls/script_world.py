"""The world as scripts of real calls find it: the tenant's store, ENUM and allowed pages, each within its limits."""

from __future__ import annotations

import re
from typing import Any

from lambdas.api.rates import Rate
from lambdas.lookups.enum import Enum
from lambdas.lookups.outside import OutsideError
from lambdas.lookups.pages import Pages
from lambdas.repositories.store import KEY, LONGEST_VALUE, MOST_KEYS, Full, Store
from lambdas.sandbox.client import Refusal

GETS, PUTS, PAGES, NUMBERS = 10, 5, 2, 3
"""In one run."""
PUTS_A_MINUTE = 60
"""Of one tenant, in one process of the control plane."""


class ScriptWorld:
    """One run's. ``dry``: nothing is written."""

    def __init__(
        self,
        tenant: str,
        store: Store,
        enum: Enum,
        pages: Pages,
        hosts: frozenset[str],
        puts: Rate,
        dry: bool = False,
    ) -> None:
        self._tenant = tenant
        self._store = store
        self._enum = enum
        self._pages = pages
        self._hosts = hosts
        self._puts = puts
        self._dry = dry
        self._left = {"get": GETS, "put": PUTS, "http_get": PAGES, "enum": NUMBERS}

    def _take(self, name: str) -> None:
        if not self._left[name]:
            raise Refusal(f"{name}: not more often in one run")
        self._left[name] -= 1

    def get(self, key: str) -> str | None:
        self._take("get")
        found = self._store.get(self._tenant, _key(key))
        return found.value if found is not None else None

    def put(self, key: str, value: str) -> None:
        self._take("put")
        if len(value) > LONGEST_VALUE:
            raise Refusal(f"put: a value has at most {LONGEST_VALUE} characters")
        _key(key)
        if self._dry:
            return
        if not self._puts.take(self._tenant):
            raise Refusal(f"put: at most {PUTS_A_MINUTE} a minute")
        try:
            self._store.put(self._tenant, key, value)
        except Full as error:
            raise Refusal(f"put: the store is full ({MOST_KEYS} values)") from error

    def enum(self, number: str, zone: str) -> str:
        self._take("enum")
        return self._enum.find(number, zone)

    def http_get(self, url: str) -> dict[str, Any]:
        """A page that can't be had has status 0, so that the script can go on; a host that may not be asked ends it."""
        self._take("http_get")
        try:
            status, text = self._pages.get(url, self._hosts)
        except OutsideError as error:
            if error.forbidden:
                raise Refusal(f"http_get: {error}") from error
            return {"status": 0, "text": str(error)}
        return {"status": status, "text": text}


def _key(key: str) -> str:
    if not re.fullmatch(KEY, key):  # "$" alone lets a line feed through
        raise Refusal("a key has 1 to 100 printable characters, and no slash")
    return key
