"""Which way a call's media take, and what the relay has heard of them. All of it since version 10."""

from __future__ import annotations

from typing import Literal

from lambdas.contract.wire import Wire

MediaPolicy = Literal["auto", "relay", "direct"]
"""Relayed unless the two ends can reach each other, always, or only where they couldn't talk otherwise: their profiles
or address families differ."""
MediaWay = Literal["", "direct", "relayed"]
"""What became of it; "": not told."""
RELAYED_OF_ACCOUNT, RELAYED_OF_TENANT = 100, 1000
"""Relayed calls at once at an edge address, which has ports for some 2,500, where nobody has said else."""


def combined(one: MediaPolicy, other: MediaPolicy) -> MediaPolicy:
    """What counts where the two ends of a call want this and that: relaying before all, since it works everywhere and
    may be wanted to hide addresses; what somebody has said before what nobody has."""
    for policy in ("relay", "direct"):
        if policy in (one, other):
            return policy
    return "auto"


class MediaQuality(Wire):
    """What the relay knows of one side of a call. Since version 10."""

    side: Literal["caller", "called"]
    """Which one."""
    packets: int
    """Those that came from it."""
    longest_gap: float | None = None
    """Seconds in which none came from it while some should have; None: not measured."""
    lost: int | None = None
    """Packets lost on their way to it, as it says by RTCP (RFC 3550 §6.4); None, as with the others: it sends none."""
    jitter: float | None = None
    """Of what comes to it, in milliseconds: the call's mean."""
    mos: float | None = None
    """The listening quality that follows, from 1 to 4.5 (ITU-T G.107): the call's mean."""
