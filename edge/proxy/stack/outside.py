"""Which servers outside have answered here: whoever has never done so may know nothing of us."""

from __future__ import annotations

from collections import OrderedDict

from edge.sip.flow import ServerAddress

_MOST = 1000
_REMEMBERED = 86_400.0  # seconds


class HeardOutside:
    """The last so many that have answered, for a day."""

    def __init__(self) -> None:
        self._heard: OrderedDict[ServerAddress, float] = OrderedDict()

    def note(self, server: ServerAddress, now: float) -> None:
        """It has answered."""
        self._heard[server] = now
        self._heard.move_to_end(server)
        if len(self._heard) > _MOST:
            self._heard.popitem(last=False)

    def answers(self, server: ServerAddress, now: float) -> bool:
        """Whether it has answered lately."""
        return now - self._heard.get(server, float("-inf")) < _REMEMBERED

    def __len__(self) -> int:
        return len(self._heard)
