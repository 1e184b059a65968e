"""What a registrar may not accept (RFC 3261 §10.3), whichever side is the registrar: the control plane, or an edge that
can't ask it. Policy, like an account's own limits, is the control plane's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from lambdas.contract.decision import Reject
from lambdas.contract.question import ContactField

SHORTEST = 60
"""Seconds; a phone that wants its binding for less is told to ask for this (§10.3 step 7)."""
MOST_CONTACTS = 10
"""Bindings that one AOR may have."""


class Order(NamedTuple):
    """A REGISTER's place among all of its Call-ID, which its phone sends in order (§10.2)."""

    call_id: str
    cseq: int

    def follows(self, other: Order) -> bool:
        """Whether it counts after ``other`` has: one of another Call-ID does, since its phone has started anew."""
        return self.call_id != other.call_id or self.cseq > other.cseq


def wanted(contact: ContactField, expires: int | None) -> int | None:
    """Seconds that a phone asks for, ``expires`` being the header field; None if it leaves that to us (§10.2.1.1)."""
    return contact.expires if contact.expires is not None else expires


def refusal(
    order: Order,
    asked: Mapping[str, int | None],
    known: Mapping[str, Order],
    present: Collection[str],
    most: int = MOST_CONTACTS,
) -> Reject | None:
    """Why a REGISTER can't be accepted, None if it can: all of it takes effect, or nothing.

    Bindings have the name that the caller likes. ``asked`` has what is wanted for each (0: to go), with ``Contact: *``
    for all that are there; ``known`` the REGISTERs that bindings were last changed by, as far as that is known, of
    those that are gone too; ``present`` are those that the AOR has."""
    for binding, seconds in asked.items():
        if seconds is not None and 0 < seconds < SHORTEST:
            return Reject(status=423, min_expires=SHORTEST)
        if binding in known and not order.follows(known[binding]):
            return Reject(status=500, reason="Server Internal Error: CSeq is not higher than the last one's")
    kept = set(present) - asked.keys() | {binding for binding, seconds in asked.items() if seconds != 0}
    if len(kept) > most and len(kept) > len(present):
        return Reject(status=403, reason=f"Forbidden: more than {most} bindings")
    return None
