"""Who waits for phones that are being woken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.proxy.location.bindings import HeldBinding
from lambdas.contract import Target

_Phone = str | tuple[str, str]


class Awaiting(Protocol):
    """What waits for a phone: a branch of a request."""

    def came(self, phone: Target, now: float) -> None:
        """It has registered, there."""


class Sleepers:
    """By the ids of their bindings, or where they have several flows (RFC 5626) by their instances: any will do."""

    def __init__(self) -> None:
        self._awaited: dict[_Phone, dict[Awaiting, None]] = {}

    def wait(self, target: Target, awaiting: Awaiting) -> None:
        self._awaited.setdefault(_phone(target), {})[awaiting] = None

    def leave(self, target: Target, awaiting: Awaiting) -> None:
        """It waits no more; nothing happens if it didn't."""
        phone = _phone(target)
        waiting = self._awaited.get(phone)
        if waiting is not None:
            waiting.pop(awaiting, None)
            if not waiting:
                del self._awaited[phone]

    def came(self, phone: Target, now: float) -> None:
        """A phone has registered here or at a peer."""
        for awaiting in list(self._awaited.get(_phone(phone), ())):
            awaiting.came(phone, now)

    def __len__(self) -> int:
        return sum(map(len, self._awaited.values()))


def _phone(target: Target) -> _Phone:
    return (target.aor, target.instance) if target.reg_id else target.binding


def target_of(binding: str, held: HeldBinding, wall: Callable[[float], float]) -> Target:
    """Where its phone is. ``wall`` makes Unix time of the core's."""
    return Target(
        uri=held.contact,
        flow=held.flow.wire,
        binding=binding,
        q=held.params.q,
        aor=held.aor,
        path=list(held.path),
        instance=held.params.instance,
        reg_id=held.params.reg_id,
        registered_at=round(wall(held.taken_at) * 1000) if held.taken else 0,
        sleeps=held.push is not None,
    )
