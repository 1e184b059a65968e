"""Numbers that trunks have called and somebody had: a call for one isn't a stranger's guess."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

_MOST = 10_000


class TrunkNumbers:
    """As decided since this process began."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def knows(self, places: Sequence[str], number: str) -> bool:
        return (*places, number) in self._known

    def note(self, places: Sequence[str], number: str) -> None:
        self._known[(*places, number)] = None
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
