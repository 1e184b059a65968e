"""How slow the machine is just now, for tests that say how long something may take."""

from __future__ import annotations

import time

_WORK = 0.05  # seconds of processor time
_IDLE = 1.2  # times as long as it takes, on a machine that has nothing else to do


def slowness() -> float:
    """By how much a bound on time has to be stretched: 1 while a processor is to be had for the asking; otherwise twice
    as much as work in this thread takes longer just now, since what is measured has several processes to wait for."""
    begun, worked = time.monotonic(), time.thread_time()
    while time.thread_time() - worked < _WORK:
        pass
    share = (time.monotonic() - begun) / _WORK
    return 1.0 if share < _IDLE else 2 * share
