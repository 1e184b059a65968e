"""Calls whose ends have gone without a word: nothing is heard of them, where something should be.

Theory of operation. The engine says of each stream when its last packet came, or when it was described last. Both ends
have to be silent: one may be muted, and send nothing. Silence means nothing where nobody has
to talk (hold, inactive, refused media), in a fax, and where the engine is one of several ways that two ends with ICE
may have taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge.media.ng import Answer

LOOK = 15.0
"""Seconds between looks at an engine's sessions."""
_TALK = ("audio", "video")
_NOBODY = ("", "0.0.0.0", "::")


def is_silent(answer: Answer, now: float, since: float, patience: float) -> bool:
    """Whether nothing has come for ``patience`` seconds before ``now`` (Unix time), and something should have. Silence
    counts from ``since`` at the earliest: what was before, nobody has heard here."""
    last = heard(answer)
    return last is not None and now - max(last, since) >= patience


def heard(answer: Answer) -> float | None:
    """When the last packet came, from whichever end; None where none need come."""
    tags = answer.get("tags")
    sides = list(tags.values()) if isinstance(tags, dict) else []
    medias = [[media for media in side.get("medias", ()) if _is_used(media)] for side in sides]
    if len(sides) != 2 or not all(medias):
        return None
    if any("passthrough" in media.get("flags", ()) for of in medias for media in of):
        return None
    if not any(all(_talks(media) for media in pair) for pair in zip(*medias, strict=False)):
        return None
    return _last_packet(answer, [media for of in medias for media in of])


def is_unheard(answer: Answer, now: float, since: float, patience: float) -> bool:
    """Whether nothing has come for so long, be it that nothing need come."""
    tags = answer.get("tags")
    sides = tags.values() if isinstance(tags, dict) else []
    last = _last_packet(answer, [media for side in sides for media in side.get("medias", ())])
    return now - max(last, since) >= patience


def _last_packet(answer: Answer, medias: list[Answer]) -> float:
    """When the last packet came, or word of the session."""
    packets = [stream.get("last packet", 0) for media in medias for stream in _streams(media)]
    return float(max(answer.get("last signal", 0), *packets, 0))


def _streams(media: Answer) -> Iterator[Answer]:
    """Those that have a port: those of refused media have none."""
    return (stream for stream in media.get("streams", ()) if stream.get("local port"))


def _is_used(media: Answer) -> bool:
    return next(_streams(media), None) is not None


def _talks(media: Answer) -> bool:
    """Whether packets are expected from it, and it from the other one: of a fax, or a line for something else, none
    need come."""
    if media.get("type") not in _TALK:
        return False
    flags = media.get("flags", ())
    at = next(_streams(media)).get("endpoint", {}).get("address", "")
    return "send" in flags and "recv" in flags and at not in _NOBODY
