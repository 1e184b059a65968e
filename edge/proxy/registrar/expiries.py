"""For how long phones get their bindings, and by when they must be heard."""

from __future__ import annotations

import zlib

from edge.sip.flow import Flow
from edge.sip.uri import Uri

SHORT, SHORT_SPREAD = 90, 31  # what a UDP phone behind NAT gets: 90 to 120 s, the same for it each time
DURABLE = 3600
GRACE = 20.0
"""Seconds after what a phone was granted, within which it may still refresh."""
SILENCE = SHORT + SHORT_SPREAD + GRACE
"""Seconds within which a phone behind NAT is heard if it lives, whatever it was granted when."""


def granted(wanted: int | None, contact: str, flow: Flow, binding: str) -> int:
    """For how long a phone gets its binding, in seconds. One whose packets come through a NAT (its Contact names
    another address) has to be heard often, to notice that it is gone."""
    most = DURABLE
    if behind_nat(contact, flow):
        most = SHORT + zlib.crc32(binding.encode()) % SHORT_SPREAD
    return most if wanted is None else min(wanted, most)


def behind_nat(contact: str, flow: Flow) -> bool:
    """Whether a UDP phone's packets come from somewhere else than its Contact says."""
    return not flow.reliable and Uri.parse(contact).host != flow.host


def patience(contact: str, flow: Flow, durable: float) -> float:
    """Seconds within which a phone that this process hasn't heard yet must be heard. A connection of before is gone,
    and its phone makes another one; only phones that were granted the durable expiry get as long."""
    return SILENCE if flow.reliable or behind_nat(contact, flow) else durable
