"""Tones for phones to play, and what of them is heard at the other end: measured in frames of 20 ms, as telephones send
them. Tones at multiples of 50 Hz don't disturb each other there."""

from __future__ import annotations

import math
import statistics
import sys
import time
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RATE = 8000
_FRAME = RATE // 50
_LOUDNESS = 12000  # of 32,767
_FLOOR = 300.0  # what is softer is silence, or the noise that is put in its place
_PURITY = 0.8  # the part of a frame's power that has to be the tone's
_LATE = 0.1  # seconds that sound may be behind, before there is silence in its place


@dataclass(frozen=True)
class Heard:
    """What part of a recording a tone is in: ``seconds`` of it in all, the ``share`` of them that has the tone, its
    median ``level`` there (dB of full scale), and the longest ``gap`` without it, in seconds."""

    seconds: float
    share: float
    level: float
    gap: float


class Ear(Protocol):
    """What hears."""

    def new_sound(self) -> array[int]:
        """Samples of 16 bits, 8,000 a second, that have come since it was last asked."""


def write_tone(path: Path, frequency: int, seconds: int = 120, rate: int = RATE) -> None:
    """A WAV file that can be played again and again without a click; ``rate`` is a multiple of 50."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(one_frame(frequency, rate).tobytes() * (seconds * 50))


def one_frame(frequency: int, rate: int = RATE) -> array[int]:
    """20 ms of a tone, in samples of 16 bits; its waves are whole, so that frames follow each other."""
    step = 2 * math.pi * frequency / rate
    return array("h", (round(_LOUDNESS * math.sin(step * number)) for number in range(rate // 50)))


def as_samples(data: bytes) -> array[int]:
    """Little-endian samples of 16 bits."""
    samples = array("h", data)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def record(ears: Sequence[Ear], seconds: float) -> list[array[int]]:
    """What each of them hears from now on. Where nothing comes there is silence, but for pauses that are shorter than
    0.1 s."""
    tapes = [array("h") for _ in ears]
    for ear in ears:
        ear.new_sound()
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        for ear, tape in zip(ears, tapes, strict=True):
            tape.extend(ear.new_sound())
            missing = int((passed - _LATE) * RATE) - len(tape)
            tape.extend(array("h", bytes(2 * max(0, missing))))
        time.sleep(0.02)
    return tapes


def listen(samples: Sequence[int], frequency: int) -> Heard:
    """How a tone is heard in ``samples``, 8,000 a second."""
    step = 2 * math.pi * frequency / RATE
    waves = [[turn(step * number) for number in range(_FRAME)] for turn in (math.cos, math.sin)]
    levels = [_level(samples[start : start + _FRAME], waves) for start in range(0, len(samples) - _FRAME + 1, _FRAME)]
    loud = [level for level in levels if level]
    return Heard(
        len(levels) / 50,
        len(loud) / len(levels) if levels else 0.0,
        20 * math.log10(statistics.median(loud) / 32768) if loud else -math.inf,
        _longest_gap(levels) / 50,
    )


def _level(frame: Sequence[int], waves: Sequence[Sequence[float]]) -> float:
    """The tone's effective value in a frame that has nothing else, else 0."""
    power = sum(sample * sample for sample in frame) / _FRAME
    if power < _FLOOR * _FLOOR:
        return 0.0
    parts = [2 / _FRAME * sum(one * other for one, other in zip(frame, wave, strict=True)) for wave in waves]
    tone = sum(part * part for part in parts) / 2
    return math.sqrt(tone) if tone > _PURITY * power else 0.0


def _longest_gap(levels: Sequence[float]) -> int:
    longest = run = 0
    for level in levels:
        run = 0 if level else run + 1
        longest = max(longest, run)
    return longest
