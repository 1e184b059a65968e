"""Which bindings belong to a flow, an AOR, a place."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Index(Generic[Key]):
    """Ids by key, in the order in which they came. Most keys have one, which is kept as it is: a tuple around each
    would take 48 octets."""

    def __init__(self) -> None:
        self._ids: dict[Key, str | tuple[str, ...]] = {}

    def get(self, key: Key) -> tuple[str, ...]:
        found = self._ids.get(key, ())
        return (found,) if isinstance(found, str) else found

    def first(self, key: Key) -> str:
        """ "" if there is none."""
        found = self._ids.get(key, "")
        return found if isinstance(found, str) else found[0]

    def add(self, key: Key, identity: str) -> None:
        known = self._ids.get(key)
        if known is None:
            self._ids[key] = identity
        else:
            self._ids[key] = (known, identity) if isinstance(known, str) else (*known, identity)

    def discard(self, key: Key, identity: str) -> bool:
        """Take one out that is there; whether its key still has others."""
        rest = tuple(other for other in self.get(key) if other != identity)
        if rest:
            self._ids[key] = rest if len(rest) > 1 else rest[0]
        else:
            del self._ids[key]
        return bool(rest)

    def __contains__(self, key: Key) -> bool:
        return key in self._ids
