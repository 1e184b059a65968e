"""Which calls have been answered, as far as this edge has seen: a request in a dialog that nobody has answered rings no
phone.

Theory of operation. A 2xx to an INVITE goes through the process that has the transaction, and, where the called phone
is at another edge address, through the edge that holds that: both note it, and whose flow it came from. Any other edge
asks the control plane once, and notes what it says. A call that has ended is forgotten here and, as they are told, by
the peers; all are when accounts change: somebody may have been suspended.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TypeVar

from edge.sip.flow import Flow

AFTERWARDS = 120.0
"""Seconds for which a transfer in a call that has ended may still be told of."""
_MOST, _MOST_PASSING = 50_000, 20_000


def leg_name(call_id: str, one: str, other: str, salt: str = "") -> str:
    """Names a dialog by its Call-ID and tags in 16 hexadecimal digits, the same from both of its ends; with ``salt``,
    which is an edge's, in a way that nobody else can choose."""
    text = "\0".join((call_id, *sorted((one, other)), *([salt] if salt else [])))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class AnsweredCalls:
    """By ``leg_name``, each with the flow of whoever has answered: Call-ID and tags are what phones choose, and
    somebody may have chosen the same for another call."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Flow] = OrderedDict()
        self._passed: OrderedDict[str, Flow] = OrderedDict()
        self._ended: OrderedDict[str, tuple[Flow, float]] = OrderedDict()

    def note(self, leg: str, called: Flow) -> None:
        """``called`` has answered it."""
        _put(self._known, leg, called, _MOST)

    def note_passing(self, leg: str, called: Flow) -> None:
        """A 2xx from ``called``, a phone that is registered here, has gone through to its owner."""
        _put(self._passed, leg, called, _MOST_PASSING)

    def knows(self, leg: str, called: Flow) -> bool:
        """Whether ``called`` has answered it."""
        return called in (self._known.get(leg), self._passed.get(leg))

    def ended(self, leg: str, now: float) -> None:
        """It is over."""
        called = self._known.pop(leg, None) or self._passed.pop(leg, None)
        if called is not None:
            _put(self._ended, leg, (called, now + AFTERWARDS), _MOST_PASSING)

    def has_just_ended(self, leg: str, called: Flow, now: float) -> bool:
        """Whether it was answered by ``called``, and has ended a moment ago: what a transfer has come to is told then
        (RFC 5057 §4.2)."""
        flow, until = self._ended.get(leg, (None, 0.0))
        return flow == called and now < until

    def clear(self) -> None:
        for table in (self._known, self._passed, self._ended):
            table.clear()


_Value = TypeVar("_Value")


def _put(table: OrderedDict[str, _Value], leg: str, value: _Value, most: int) -> None:
    table[leg] = value
    if len(table) > most:
        table.popitem(last=False)
