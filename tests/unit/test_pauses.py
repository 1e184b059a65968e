"""The longest turns and looks for garbage are known, and what has come to stay isn't looked through."""

from __future__ import annotations

import asyncio
import gc
import time

from edge.runtime.garbage import MANY, GarbageLooks
from edge.runtime.pauses import EVERY, Longest, Pauses


def test_the_longest_is_of_this_minute_and_the_one_before():
    now = 0.0
    longest = Longest(lambda: now)
    longest.note(0.2)
    longest.note(0.1)
    assert longest.seconds == 0.2
    now = 61.0
    longest.note(0.1)
    assert longest.seconds == 0.2
    now = 122.0
    assert longest.seconds == 0.1
    now = 300.0
    assert longest.seconds == 0.0


def test_a_turn_that_is_long_is_seen():
    async def run() -> dict[str, float]:
        pauses = Pauses()
        pauses.start()
        await asyncio.sleep(2 * EVERY)
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
        await asyncio.sleep(2 * EVERY)
        pauses.close()
        return pauses.seconds()

    seconds = asyncio.run(run())
    assert 0.1 <= seconds["turn"] < 0.2
    assert seconds["garbage"] == 0.0


class Kept:
    pass


def test_what_has_come_to_stay_is_looked_through_no_more_and_freed_all_the_same():
    thresholds, took = gc.get_threshold(), list[float]()
    there = [Kept() for _ in range(20 * MANY)]  # of which a quarter is more than comes
    looks = GarbageLooks(took.append)
    looks.start()
    try:
        begun = gc.get_freeze_count()
        kept = [Kept() for _ in range(4 * MANY)]
        assert gc.get_freeze_count() - begun > 2 * MANY
        assert took
        assert len(gc.get_objects()) < 2 * MANY
        before = gc.get_freeze_count()
        del kept
        assert gc.get_freeze_count() < before - 2 * MANY
    finally:
        looks.stop()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    assert len(there) == 20 * MANY
