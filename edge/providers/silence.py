"""Servers that have never answered here.

Theory of operation. Whoever adds an account says where its REGISTERs go, and the server there may know nothing of it.
So until a server has answered anything, the accounts that a tenant has there take turns: one asks, the others wait, and
each attempt that comes to nothing makes all of them wait, twice as long each time. However many there are, the server
gets the packets of one. It is told by its IP address, whatever name or redirection led there. Once it has answered,
this is over for good; where an edge takes over 10,000 accounts it costs one round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

BASE, LONGEST = 30.0, 1800.0  # seconds between attempts that fail: doubled each time, up to the longest
_MOST = 10_000  # servers, of either kind

Wake = Callable[[float, float], None]
"""Gets now, and when it may ask for its turn again."""


@dataclass(slots=True)
class _Server:
    asking: Wake | None = None
    since: float = 0.0
    next_at: float = 0.0
    failures: int = 0
    waiting: dict[Wake, None] = field(default_factory=dict)


class Silence:
    """Gives out the turns."""

    def __init__(self) -> None:
        self._heard: OrderedDict[str, None] = OrderedDict()
        self._places: dict[tuple[str, str], _Server] = {}

    def __len__(self) -> int:
        """How many places haven't answered yet."""
        return len(self._places)

    def may_ask(self, tenant: str, host: str, who: Wake, now: float) -> bool:
        """Whether it is ``who``'s turn to send to IP address ``host``; else it is called when it may ask again."""
        if host in self._heard:
            return True
        self._forget_idle(now)
        place = self._places.setdefault((tenant, host), _Server())
        if place.asking == who:
            return True
        if place.asking is None and now >= place.next_at:
            place.asking, place.since = who, now
            return True
        if place.asking is None:
            who(now, place.next_at)
        else:
            place.waiting[who] = None
        return False

    def _forget_idle(self, now: float) -> None:
        """Those where nobody asks any more."""
        if len(self._places) >= _MOST:
            for key, place in list(self._places.items()):
                if place.asking is None and not place.waiting and now >= place.next_at:
                    del self._places[key]

    def silent(self, tenant: str, host: str) -> bool:
        """Whether an attempt there has come to nothing, and none to anything."""
        place = self._places.get((tenant, host))
        return place is not None and place.failures > 0

    def heard(self, host: str, now: float) -> None:
        """It has answered: everybody may ask."""
        if host in self._heard:
            return
        self._heard[host] = None
        if len(self._heard) > _MOST:
            self._heard.popitem(last=False)
        for key in [key for key in self._places if key[1] == host]:
            for wake in self._places.pop(key).waiting:
                wake(now, now)

    def failed(self, tenant: str, host: str, who: Wake, now: float) -> float:
        """``who``'s attempt is over without a word; when the next one may be made, by whomever."""
        place = self._places.get((tenant, host))
        if place is None or place.asking != who:
            return now
        place.asking = None
        # From half of it on, as with those that have answered: each account's own time is later still.
        place.next_at = now + min(LONGEST, BASE * 2**place.failures) / 2
        place.failures = min(place.failures + 1, 10)
        waiting, place.waiting = place.waiting, {}
        for wake in waiting:
            wake(now, place.next_at)
        return place.next_at

    def withdrawn(self, tenant: str, host: str, who: Wake) -> None:
        """``who`` doesn't ask any more. What it has sent counts as an attempt."""
        place = self._places.get((tenant, host))
        if place is None:
            return
        place.waiting.pop(who, None)
        self.failed(tenant, host, who, place.since)
