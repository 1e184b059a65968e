"""When more comes than can be done: new calls are refused, so that what has begun goes on.

Theory of operation. What an edge hasn't got to yet waits in its UDP sockets, and once these are full anything is lost,
a BYE as likely as a new call; it is sent again, and all time goes into halves of calls. So while much waits new INVITEs
are answered 503 with Retry-After as soon as they have been read, which costs a twentieth of a call (RFC 3261 §21.5.4,
RFC 7339's advice to refuse what begins something). Those that bring credentials have cost something already and are
refused only when more waits. Dialogs, refreshes and everything else are taken as they come. While strangers fill the
sockets, whose messages are dropped for next to nothing (``shedding``), no call is refused: that would be all they want.
"""

from __future__ import annotations

from collections.abc import Callable

CROWDED = 64 * 1024
"""Octets that the kernel keeps for what waits (some 30 to 50 messages), from which on new calls are refused."""
FULL = 2 * CROWDED
"""The same for those that answer a challenge."""
_CREDENTIALS = b"uthorization:"


class Crowding:
    """``waiting`` tells how many octets wait in the sockets."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting = waiting

    def refuses(self, data: bytes) -> bool:
        """Whether this message, if it begins a call, is one too many."""
        if not data.startswith(b"INVITE "):
            return False
        waiting = self._waiting()
        return waiting > CROWDED and (waiting > FULL or _CREDENTIALS not in data)
