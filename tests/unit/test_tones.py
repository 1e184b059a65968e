"""What is said to have been heard: only what was."""

from __future__ import annotations

import math
import random
import time
from array import array

import pytest

from scripts.tones import RATE, as_samples, listen, one_frame, record, write_tone


def tone(frequency: int, seconds: float) -> array[int]:
    return one_frame(frequency) * round(seconds * 50)


def silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * round(seconds * RATE)))


def noise(seconds: float) -> array[int]:
    made = random.Random(1)
    return array("h", (made.randint(-12000, 12000) for _ in range(round(seconds * RATE))))


def mixed(*parts: array[int]) -> array[int]:
    return array("h", (sum(samples) // len(parts) for samples in zip(*parts, strict=True)))


def test_a_tone_is_heard_at_its_level():
    heard = listen(tone(450, 2), 450)
    assert (heard.seconds, heard.share, heard.gap) == (2.0, 1.0, 0.0)
    assert heard.level == pytest.approx(-11.7, abs=0.1)  # its effective value is 3 dB below its peak
    softer = listen(array("h", (sample // 10 for sample in tone(450, 2))), 450)
    assert softer.level == pytest.approx(-31.7, abs=0.1)


@pytest.mark.parametrize(
    "samples",
    [
        silence(2),
        tone(650, 2),
        noise(2),
        mixed(tone(450, 2), tone(650, 2)),  # both at once: somebody else is in the call
        array("h", (sample // 50 for sample in tone(450, 2))),
        array("h"),
    ],
    ids=["silence", "another tone", "noise", "two tones", "too soft", "nothing"],
)
def test_what_isnt_the_tone_isnt_heard(samples):
    heard = listen(samples, 450)
    assert (heard.share, heard.level, heard.gap) == (0.0, -math.inf, heard.seconds)


def test_gaps_are_measured():
    heard = listen(tone(450, 1) + silence(0.3) + tone(450, 1) + tone(650, 0.1) + tone(450, 0.6), 450)
    assert (heard.seconds, heard.gap) == (3.0, 0.3)
    assert heard.share == pytest.approx(2.6 / 3.0)


def test_a_late_frame_costs_no_more_than_its_edges():
    """Frames needn't begin where those of the other end did."""
    heard = listen(silence(0.013) + tone(450, 1), 450)
    assert heard.share > 0.95


def test_the_file_is_the_tone(tmp_path):
    path = tmp_path / "tone.wav"
    write_tone(path, 700, seconds=1)
    assert listen(as_samples(path.read_bytes()[44:]), 700).share == 1.0


class Spoken:
    """A quarter of a second of a tone, and nothing more."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._read = 0

    def new_sound(self) -> array[int]:
        due = round(min(0.25, time.monotonic() - self._begun) * 50)
        new, self._read = due - self._read, due
        return one_frame(450) * new


def test_where_nothing_comes_there_is_silence():
    ear = Spoken()
    (tape,) = record([ear], 0.7)
    heard = listen(tape, 450)
    assert 0.2 < heard.share < 0.7
    assert heard.gap >= 0.2
