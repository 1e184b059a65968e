"""How well the ends of a session hear each other, from what the engine says of it.

Theory of operation. Each end tells by RTCP what has come to it (RFC 3550 §6.4): the engine keeps that under the source
(SSRC) of the end that tells. Where an end tells nothing there is only what has come from it: packets, and for how long
none did while some should have. That is seen at each look, so shorter gaps may be missed.

Counters begin again when an end gets other ports, and a source may be another one after a transfer: so what was there
is kept, and added.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edge.media.ghosts import heard
from edge.media.ng import Answer
from edge.media.orders import SideQuality

_GAP = 2.0  # seconds: the engine's clock has whole ones
_AUDIO = "audio"
POOR = 3.6
"""The MOS below which many who talk are dissatisfied (ITU-T G.109)."""


@dataclass(slots=True)
class _SideSeen:
    """``now`` and ``before`` are the packets of the present streams and of earlier ones; ``sources`` its SSRCs."""

    before: int = 0
    now: int = 0
    gap: float = 0.0
    sources: dict[int, None] = field(default_factory=dict)

    @property
    def packets(self) -> int:
        return self.before + self.now


class SessionQuality:
    """Of one session, by the engine's names of its ends."""

    def __init__(self) -> None:
        self._seen: dict[str, _SideSeen] = {}
        self._told: dict[str, Answer] = {}

    def note(self, answer: Answer, now: float) -> None:
        """What the engine has answered to ``query`` or ``delete`` at ``now`` (Unix time)."""
        tags = answer.get("tags")
        expected = heard(answer) is not None
        for name, side in tags.items() if isinstance(tags, dict) else ():
            seen = self._seen.setdefault(name, _SideSeen())
            streams = [
                stream
                for media in side.get("medias", ())
                if media.get("type") == _AUDIO
                for stream in media.get("streams", ())
            ]
            _note_packets(seen, [one for one in streams if "RTP" in one.get("flags", ())], now, expected)
            seen.sources.update((one["SSRC"], None) for one in streams if "SSRC" in one)
        told = answer.get("SSRC")
        if isinstance(told, dict):
            self._told.update(told)

    def of(self, name: str) -> SideQuality:
        """What is known of the end with that name."""
        seen = self._seen.get(name, _SideSeen())
        told = [self._told[str(source)] for source in seen.sources if str(source) in self._told]
        if not told:
            return SideQuality(seen.packets, seen.gap)
        means = [one["average MOS"] for one in told if one.get("average MOS", {}).get("samples")]
        samples = sum(one["samples"] for one in means)
        return SideQuality(
            seen.packets,
            seen.gap,
            sum(max(0, one.get("cumulative loss", 0)) for one in told),
            round(sum(one["jitter"] * one["samples"] for one in means) / samples, 1) if samples else None,
            round(sum(one["MOS"] * one["samples"] for one in means) / samples / 10, 1) if samples else None,
        )


def count(side: SideQuality, counters: Counter[str]) -> None:
    """One end of a call that is over, for the metrics: the sums of what they are of by ``media_sides_told``."""
    if side.packets:
        counters["media_packets"] += side.packets
    if side.mos is None or side.lost is None or side.jitter is None:
        return
    counters["media_sides_told"] += 1
    counters["media_sides_poor"] += side.mos < POOR
    counters["media_packets_lost"] += side.lost
    counters["media_jitter_ms"] += round(side.jitter)
    counters["media_mos_tenths"] += round(10 * side.mos)


def _note_packets(seen: _SideSeen, streams: list[Answer], now: float, expected: bool) -> None:
    packets = sum(one.get("stats", {}).get("packets", 0) for one in streams)
    if packets < seen.now:
        seen.before += seen.now
    seen.now = packets
    if expected and seen.packets:
        silence = now - max((one.get("last packet", now) for one in streams), default=now)
        if silence > max(_GAP, seen.gap):
            seen.gap = round(silence, 1)
