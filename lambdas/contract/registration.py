"""What a registrar may not accept (RFC 3261 §10.3), and which bindings make room for new ones, whichever side is the
registrar: the control plane, or an edge that can't ask it. Policy, like an account's own limits, is the control
plane's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lambdas.contract.decision import Reject
from lambdas.contract.question import ContactField

SHORTEST = 60
"""Seconds; a phone that wants its binding for less is told to ask for this (§10.3 step 7)."""
MOST_CONTACTS = 10
"""Bindings that one AOR may have."""
_COME_AGAIN = 2
"""Seconds after which a REGISTER that seemed to be late is tried again with a nonce that shows it isn't."""


class Order(NamedTuple):
    """A REGISTER's place among all of its Call-ID, which its phone sends in order (§10.2).

    ``at`` is Unix time, 0 if not known: of one that is to be judged, when the nonce in it was made; of one that has
    taken effect, when that was, or when what it did was undone."""

    call_id: str
    cseq: int
    at: float = 0.0

    def follows(self, other: Order) -> bool:
        """Whether it counts after ``other`` has. One of another Call-ID does, since its phone has started anew. So does
        one whose nonce is younger than the effect of ``other``, whatever its CSeq: it can't have been under way then,
        so its phone has started anew with the Call-ID that it had."""
        if self.call_id != other.call_id or self.cseq > other.cseq:
            return True
        return 0 < other.at < self.at


def wanted(contact: ContactField, expires: int | None) -> int | None:
    """Seconds that a phone asks for, ``expires`` being the header field; None if it leaves that to us (§10.2.1.1)."""
    return contact.expires if contact.expires is not None else expires


def refusal(
    order: Order, asked: Mapping[str, int | None], known: Mapping[str, Order], most: int = MOST_CONTACTS
) -> Reject | None:
    """Why a REGISTER can't be accepted, None if it can: all of it takes effect, or nothing.

    Bindings have the name that the caller likes. ``asked`` has what is wanted for each (0: to go), with ``Contact: *``
    for all that are there; ``known`` the REGISTERs that bindings were last changed by, as far as that is known, of
    those that are gone too; the AOR may have ``most``."""
    for binding, seconds in asked.items():
        if seconds is not None and 0 < seconds < SHORTEST:
            return Reject(status=423, min_expires=SHORTEST)
        if binding in known and not order.follows(known[binding]):
            reason = "Server Internal Error: CSeq is not higher than the last one's"
            return Reject(status=500, reason=reason, retry_after=_COME_AGAIN)
    if sum(seconds != 0 for seconds in asked.values()) > most:
        return Reject(status=403, reason=f"Forbidden: more than {most} bindings")
    return None


def stalest(asked: Mapping[str, int | None], silent: Mapping[str, float], most: int = MOST_CONTACTS) -> list[str]:
    """The bindings that make room for what is ``asked``: a phone that comes back from another place each time would
    fill all there is, and one that is refused doesn't come again. ``silent`` has those that the AOR has, and the
    seconds since there was a sign of life, the oldest first; the longest silent one goes first. An AOR that has more,
    from before it might have so few, keeps them."""
    kept = [binding for binding in silent if binding not in asked]
    after = len(kept) + sum(seconds != 0 for seconds in asked.values())
    over = min(after - most, after - len(silent))
    return sorted(kept, key=lambda binding: -silent[binding])[: max(0, over)]
