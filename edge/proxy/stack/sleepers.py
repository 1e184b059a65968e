"""Who waits for phones that are being woken."""

from __future__ import annotations

from typing import Protocol

from edge.proxy.location.bindings import HeldBinding
from lambdas.contract import Target


class Awaiting(Protocol):
    """What waits for a phone: a branch of a request."""

    def came(self, phone: Target, now: float) -> None:
        """It has registered, there."""


class Sleepers:
    """By the ids of their bindings."""

    def __init__(self) -> None:
        self._awaited: dict[str, dict[Awaiting, None]] = {}

    def wait(self, binding: str, awaiting: Awaiting) -> None:
        self._awaited.setdefault(binding, {})[awaiting] = None

    def leave(self, binding: str, awaiting: Awaiting) -> None:
        """It waits no more; nothing happens if it didn't."""
        waiting = self._awaited.get(binding)
        if waiting is not None:
            waiting.pop(awaiting, None)
            if not waiting:
                del self._awaited[binding]

    def came(self, phone: Target, now: float) -> None:
        """A phone has registered here or at a peer."""
        for awaiting in list(self._awaited.get(phone.binding, ())):
            awaiting.came(phone, now)

    def __len__(self) -> int:
        return sum(map(len, self._awaited.values()))


def target_of(binding: str, held: HeldBinding) -> Target:
    """Where its phone is."""
    return Target(
        uri=held.contact,
        flow=held.flow.wire,
        binding=binding,
        q=held.params.q,
        aor=held.aor,
        path=list(held.path),
        sleeps=held.push is not None,
    )
