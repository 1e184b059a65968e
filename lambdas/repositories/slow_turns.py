"""Turns at what takes long, in the directory: of one tenant so many at once, however many processes serve it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from pynamodb.exceptions import DeleteError

from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, TurnItem
from lambdas.repositories.transactions import conditional

AT_ONCE = 2
_LONGEST = 15  # seconds; a process that dies doesn't give its turn back


class NoTurn(Exception):
    """All turns of the tenant are taken."""


class SlowTurns:
    """``now`` is Unix time in seconds."""

    @contextlib.contextmanager
    def turn(self, tenant: str, now: float) -> Iterator[None]:
        """One of the tenant's. Raises NoTurn."""
        mine = secrets.token_hex(8)
        for number in range(AT_ONCE):
            item = TurnItem(*item_key(TurnItem, f"{tenant}/{number}"), holder=mine, ttl=int(now) + _LONGEST)
            free = DirectoryItem.pk.does_not_exist() | (TurnItem.ttl <= int(now))
            if conditional(lambda item=item, free=free: item.save(condition=free)):  # type: ignore[misc]
                break
        else:
            raise NoTurn
        try:
            yield
        finally:
            with contextlib.suppress(DeleteError):  # it has run out, and is somebody else's
                item.delete(condition=TurnItem.holder == mine)
