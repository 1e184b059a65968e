"""What is to go to a peer whose link has just ended. A link that stumbles, or whose peer starts anew, is there again
within a second or two; a BYE that failed meanwhile would leave the other side in a call that nobody else is in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edge.sip.flow import Flow

PATIENCE = 3.0  # seconds that messages wait for a link that has ended to be made again
_MOST = 1000  # messages; further ones fail at once


class Outbox:
    """``failed`` hears the ref of each message that couldn't be sent after all."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._ended: dict[str, float] = {}
        self._waiting: dict[tuple[Flow, bytes], tuple[Callable[[], bool], str]] = {}

    def ended(self, edge: str) -> None:
        """The link to ``edge`` has ended this moment."""
        loop = asyncio.get_running_loop()
        self._ended[edge] = loop.time() + PATIENCE
        loop.call_later(PATIENCE, self.empty)

    def keep(self, edge: str, flow: Flow, data: bytes, again: Callable[[], bool], ref: str = "") -> bool:
        """Whether the message waits for ``edge``; ``again`` will try to send it. One that is sent again meanwhile waits
        once."""
        if asyncio.get_running_loop().time() >= self._ended.get(edge, 0.0) or len(self._waiting) >= _MOST:
            return False
        self._waiting.setdefault((flow, data), (again, ref))
        return True

    def empty(self) -> None:
        """Some link is there, or has been waited for long enough: send, or fail, what need not wait any more."""
        waiting, self._waiting = self._waiting, {}
        for again, ref in waiting.values():
            if not again() and ref:
                self._failed(ref)
