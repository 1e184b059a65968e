"""Bindings whose connection has ended, and whose phones a push wakes (RFC 8599). They last until they expire: nobody is
reached on their flow, but a call may wait while the phone comes back."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from edge.sip.flow import Flow


class OfAor(Protocol):
    """A binding, as far as it matters here."""

    aor: str
    flow: Flow


Held = TypeVar("Held", bound=OfAor)


class SleepingBindings(Generic[Held]):
    """By id, and by AOR."""

    def __init__(self) -> None:
        self._by_id: dict[str, Held] = {}
        self._by_aor: dict[str, dict[str, None]] = {}

    def put(self, binding: str, held: Held) -> None:
        self._by_id[binding] = held
        self._by_aor.setdefault(held.aor, {})[binding] = None

    def discard(self, binding: str) -> Held | None:
        """It is awake, or was removed; what it was."""
        held = self._by_id.pop(binding, None)
        if held is not None:
            rest = self._by_aor[held.aor]
            del rest[binding]
            if not rest:
                del self._by_aor[held.aor]
        return held

    def get(self, binding: str) -> Held | None:
        return self._by_id.get(binding)

    def flow_of(self, binding: str) -> Flow | None:
        """The one that it was on."""
        held = self._by_id.get(binding)
        return held.flow if held is not None else None

    def of(self, aor: str) -> list[tuple[str, Held]]:
        return [(binding, self._by_id[binding]) for binding in self._by_aor.get(aor, ())]

    def ids(self) -> list[str]:
        return list(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)
