"""For how long phones get their bindings, and by when they must be heard.

A phone is promised no more than its flow is kept for. Every UDP phone may be behind a NAT: its Contact and Via prove
nothing, since many write there what they have learnt to be their public address. So is every phone with a connection,
and nobody tells either side of one that is lost on the way, unless the phone itself looks (RFC 5626 §4.4).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from edge.sip.flow import Flow

SHORT, SHORT_SPREAD = 90, 31  # what a phone gets whose flow may be lost: 90 to 120 s, the same for it each time
DURABLE = 3600
GRACE = 20.0
"""Seconds after what a phone was granted, within which it may still refresh."""
SILENCE = SHORT + SHORT_SPREAD + GRACE
"""Seconds within which such a phone is heard if it lives, whatever it was granted when."""
FLOW_TIMER = 20
"""Seconds within which a phone that knows outbound is to send its keep-alive over a stream. It waits 10 s for the
answer (RFC 5626 §4.4.1), so a dead machine is found out within 30."""


def woken(wanted: int | None) -> int:
    """For how long a phone gets its binding that can be woken, in seconds: it needn't keep a flow meanwhile."""
    return DURABLE if wanted is None else min(wanted, DURABLE)


class GrantedTimes:
    """``no_nat_networks`` (CIDR) have phones that nothing stands before: they get what they ask for."""

    def __init__(self, no_nat_networks: Sequence[str] = ()) -> None:
        self._networks = [ip_network(text) for text in no_nat_networks]

    def granted(self, wanted: int | None, flow: Flow, binding: str, outbound: bool) -> int:
        """For how long a phone gets its binding, in seconds, at most. ``outbound``: it keeps its flow itself, and
        looks after it. One that can be woken gets what ``woken`` says."""
        if self._lasts(flow) or (outbound and flow.reliable):
            most = DURABLE
        else:
            most = SHORT + zlib.crc32(binding.encode()) % SHORT_SPREAD
        return most if wanted is None else min(wanted, most)

    def patience(self, flow: Flow, durable: float, woken: bool) -> float:
        """Seconds within which a phone that this process hasn't heard yet must be heard. A connection of before is
        gone, and its phone makes another one; only phones that were granted the durable expiry get as long, and those
        that can be ``woken``."""
        return durable if woken or self._lasts(flow) else SILENCE

    def _lasts(self, flow: Flow) -> bool:
        if flow.reliable or not self._networks:
            return False
        host = ip_address(flow.host)
        return any(host in network for network in self._networks)
