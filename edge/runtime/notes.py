"""What strangers do to the sockets and the mesh: all of it counted, some of it logged, so that they can't fill the
log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

_EVERY = 10.0  # seconds between lines of one kind


class Notes:
    """``counters`` has each kind's number."""

    def __init__(self, counters: Counter[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def note(self, kind: str, text: str, whom: object) -> None:
        """``text`` has a ``%s`` for ``whom``."""
        self._counters[kind] += 1
        now = self._clock()
        said = self._said.get(kind)
        if said is not None and now < said + _EVERY:
            self._unsaid[kind] += 1
            return
        self._said[kind] = now
        log.info(text + " (%d more since the last such line)", whom, self._unsaid.pop(kind, 0))
