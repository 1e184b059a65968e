"""Which calls have been answered, as far as this edge has seen: a request in a dialog that nobody has answered rings no
phone.

Theory of operation. A 2xx to an INVITE goes through the process that has the transaction, and, where the called phone
is at another edge address, through the edge that holds that: both note it. Any other edge asks the control plane once,
and notes what it says. A call that has ended is forgotten here and, as they are told, by the peers; all are when
accounts change: somebody may have been suspended.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from edge.sip.flow import Flow

_MOST = 50_000


def leg_name(call_id: str, one: str, other: str) -> str:
    """Names a dialog by its Call-ID and tags in 16 hexadecimal digits, the same from both of its ends."""
    text = "\0".join((call_id, *sorted((one, other))))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class AnsweredCalls:
    """By ``leg_name``. What was only seen to pass counts for the flow that it came on: others may claim what they
    like."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Flow | None] = OrderedDict()

    def note(self, leg: str, passed: Flow | None = None) -> None:
        """Its 2xx is known, or has ``passed`` from that flow."""
        if passed is None or leg not in self._known:
            self._known[leg] = passed
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    def knows(self, leg: str, *flows: Flow) -> bool:
        """Whether the call between ``flows`` has been answered."""
        if leg not in self._known:
            return False
        passed = self._known[leg]
        return passed is None or passed in flows

    def forget(self, leg: str) -> None:
        self._known.pop(leg, None)

    def clear(self) -> None:
        self._known.clear()
