"""Looking for garbage in circles, so that nobody waits for it, however much an edge has to remember.

Theory of operation. Python looks through all objects that there are whenever they have grown by a quarter: with 100,000
phones that is 0.1 s in which nothing else is done. What requests leave is freed at once, since it isn't in circles
(``tests/scenarios/test_garbage``); circles come of exceptions and libraries, and are young when they become garbage. So
what has outlived a whole look is taken out of all further ones (``gc.freeze``) once it is much: bindings, grants,
whoever is registered. It is still freed when nobody refers to it any more. A circle that was alive just then, and dies
later, is never found: that is some kilobytes for each 25,000 objects that have come to stay.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

YOUNG = 5_000
"""Objects more than there were, after which the youngest are looked through."""
MANY = 25_000
"""Objects that have outlived a whole look, from which on they aren't looked through again."""
_OLDER = 5  # looks at the youngest, for one at those that have outlived it


class GarbageLooks:
    """``note`` gets how long each look has taken, in seconds of the thread."""

    def __init__(self, note: Callable[[float], None], clock: Callable[[], float] = time.thread_time) -> None:
        self._note = note
        self._clock = clock
        self._begun = 0.0

    def start(self) -> None:
        """From now on; what there is already stays."""
        gc.collect()
        gc.freeze()
        gc.collect()  # Python waits for a quarter of what the last whole look has found: of nothing, now
        gc.set_threshold(YOUNG, _OLDER, 1)
        gc.callbacks.append(self._look)

    def stop(self) -> None:
        gc.callbacks.remove(self._look)

    def _look(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = self._clock()
            return
        if info["generation"] == 2 and len(gc.get_objects(2)) >= MANY:
            gc.freeze()
        self._note(self._clock() - self._begun)
