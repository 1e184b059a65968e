"""Who hears whom."""

from __future__ import annotations

import time

from scripts.tones import Ear, Heard, listen, record
from tests.support.pace import slowness

PATIENCE = 10.0  # seconds until the first sound, on a machine that has other things to do as well


def clear(heard: Heard) -> bool:
    """All the time, at about the level that it is played at (-12 dB), and without a gap that anybody would notice."""
    return heard.share > 0.9 and -15 < heard.level < -9 and heard.gap <= 0.2 * slowness()


def hear(ends: list[tuple[Ear, int]], seconds: float = 1.5) -> None:
    """Until each of the ears hears its tone, and nothing else, for ``seconds`` on end. Raises AssertionError."""
    end = time.monotonic() + PATIENCE
    while True:
        tapes = record([ear for ear, _ in ends], seconds)
        heard = [listen(tape, tone) for tape, (_, tone) in zip(tapes, ends, strict=True)]
        if all(map(clear, heard)):
            return
        assert time.monotonic() < end, f"not heard as it should be: {heard}"


def hear_nothing(ends: list[tuple[Ear, int]], seconds: float = 1.0) -> None:
    """Until none of the ears hears its tone for ``seconds``. Raises AssertionError."""
    end = time.monotonic() + PATIENCE
    while True:
        tapes = record([ear for ear, _ in ends], seconds)
        heard = [listen(tape, tone) for tape, (_, tone) in zip(tapes, ends, strict=True)]
        if not any(one.share for one in heard):
            return
        assert time.monotonic() < end, f"still heard: {heard}"
