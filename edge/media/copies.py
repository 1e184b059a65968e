"""Sessions of other edges' engines, copied here in case that their addresses come here."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

MOST_OCTETS: Final = 1 << 20
"""Of one session, unpacked; those of two sides with audio and video have 10,000."""
_SUPERSEDED: Final = 60.0
"""Seconds for which sessions of an older epoch are kept: whoever has the address now may ask for them once more."""


def pack(saved: bytes) -> bytes:
    """A session as it is copied and kept on the disk; those of two sides come to 1 KB."""
    return zlib.compress(saved, 6)


def unpack(data: bytes) -> bytes:
    """Raises ValueError."""
    unpacker = zlib.decompressobj()
    try:
        saved = unpacker.decompress(data, MOST_OCTETS)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError("a session that is too long, or cut short")
    return saved


@dataclass(slots=True)
class _Copied:
    epoch: int
    packed: dict[str, bytes] = field(default_factory=dict)
    until: float | None = None


class Copies:
    """By address; the highest epoch that was told of is the one that counts."""

    def __init__(self) -> None:
        self._of: dict[str, _Copied] = {}

    def epoch(self, address: str) -> int:
        """Of what is known of ``address``; 0 if nothing is."""
        known = self._of.get(address)
        return known.epoch if known is not None else 0

    def packed(self, address: str) -> dict[str, bytes]:
        """The sessions of ``address``, packed."""
        known = self._of.get(address)
        return dict(known.packed) if known is not None else {}

    def copied(self, address: str, epoch: int, name: str, data: bytes) -> None:
        """One session, packed; b"": it is over. With the name "" all of them will be told, and none is known yet."""
        known = self._of.get(address)
        if known is not None and known.epoch > epoch:
            return
        if known is None or known.epoch < epoch or not name:
            known = self._of[address] = _Copied(epoch)
        known.until = None
        if data:
            known.packed[name] = data
        else:
            known.packed.pop(name, None)

    def left(self, address: str) -> None:
        """Its holder tells others from now on."""
        self._of.pop(address, None)

    def superseded(self, address: str, epoch: int, now: float) -> None:
        """Somebody holds ``address`` in ``epoch``."""
        known = self._of.get(address)
        if known is not None and known.epoch < epoch and known.until is None:
            known.until = now + _SUPERSEDED

    def prune(self, now: float) -> None:
        for address, known in list(self._of.items()):
            if known.until is not None and known.until <= now:
                del self._of[address]

    def __len__(self) -> int:
        """How many sessions there are."""
        return sum(len(known.packed) for known in self._of.values())
