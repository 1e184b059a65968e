"""Under which CSeq numbers phones have got INVITEs of providers in dialogs: what acknowledges them has the same."""

from __future__ import annotations

from collections import OrderedDict

from edge.sip.incoming import Incoming

_MOST = 20_000


class RenumberedInvites:
    """The last so many that this process has sent on, by the provider's Call-ID, tag and number."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def note(self, incoming: Incoming, number: int) -> None:
        """``incoming`` has reached a phone as ``number``."""
        self._known[incoming.call_id, incoming.from_tag, incoming.cseq] = number
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def find(self, incoming: Incoming, cseq: int) -> int | None:
        """What the provider's INVITE ``cseq`` in the dialog of ``incoming`` has reached the phone as."""
        return self._known.get((incoming.call_id, incoming.from_tag, cseq))
