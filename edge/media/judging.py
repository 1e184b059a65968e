"""Whether the media of a call have to be relayed.

Theory of operation. When an offer leaves, the other side has said nothing yet: it is judged by its flow, and by the
address that it has registered with. What each side writes about itself proves nothing: an address in a description that
is the one its packets come from may still be behind a NAT that lets nobody else in. So ``auto`` is direct only where it
is known from elsewhere that both ends reach each other; anything else is relayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from edge.media.description import Description
from edge.media.orders import Needs

_PLAIN = "RTP/AVP"
_BROWSERS = "UDP/TLS/RTP/SAVPF"
_SITE = {4: 16, 6: 48}
"""Leading bits by which two private addresses are of one network: nobody says their masks."""

TO_BROWSER = Needs(profile=_BROWSERS, ice="force", sdes="off", rtcp_mux="require")
"""What a browser needs of a description that no browser made (RFC 8829, RFC 8834 §4.5)."""
FROM_BROWSER = Needs(profile=_PLAIN, ice="remove", dtls="off", sdes="off", rtcp_mux="demux")
"""What phones and providers need of a browser's."""


class End(NamedTuple):
    """One end of a call, as far as it is known: ``host`` is the IP address that its signalling comes from, "" if that
    isn't known yet; ``said`` its description, or None; ``local`` the address that it gives itself (its description's,
    or its Contact's); ``browser``: it is reached by WebSocket, and so speaks WebRTC."""

    host: str
    said: Description | None = None
    local: str = ""
    browser: bool = False


class Judgement(NamedTuple):
    """``joins_ice``: the relay is the last candidate of two ends that do ICE, which decide. ``why`` is a word for
    records."""

    relay: bool
    joins_ice: bool
    why: str
    needs: Needs = Needs()


class Networks:
    """Whose addresses are reached from anywhere, without NAT."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """``networks`` in CIDR notation."""
        self._networks = tuple(ip_network(network, strict=False) for network in networks)

    def have(self, host: str) -> bool:
        if not self._networks:
            return False
        address = _parsed(host)
        return address is not None and any(address in network for network in self._networks)


NO_NETWORKS = Networks()


def judge(policy: str, one: End, other: End, one_site: bool, is_public: Callable[[str], bool]) -> Judgement:
    """Of an offer of ``one``, who calls, for ``other``. ``policy`` is "auto", "relay" or "direct": also the last is
    relayed where the two couldn't talk otherwise. ``one_site``: somebody who knows says that they are at one place."""
    bridge = bridging(one, other)
    family = _family(other.host)
    if bridge.profile:
        return Judgement(True, False, "profiles", bridge._replace(family=family))
    if family and _family(one.said.address if one.said is not None else one.host) not in ("", family):
        return Judgement(True, False, "families", Needs(ice=_ice(one, other), family=family))
    if policy != "auto":
        return Judgement(policy == "relay", False, "policy", Needs(ice=_ice(one, other)))
    if one.said is not None and one.said.ice == "full" and other.browser:
        return Judgement(True, True, "ice", Needs(ice="force-relay"))
    if one_site and one.host == other.host and _one_network(_local(one), _local(other)):
        return Judgement(False, False, "one-site")
    if is_public(one.host) and is_public(other.host) and is_public(_local(one)):
        return Judgement(False, False, "public")
    return Judgement(True, False, "nat", Needs(ice=_ice(one, other)))


def bridging(one: End, other: End) -> Needs:
    """What ``other`` needs of a description of ``one``; a ``profile`` only if theirs differ (RFC 8834 §4)."""
    if one.browser == other.browser:
        return Needs()
    dtls = one.browser if one.said is None else one.said.dtls
    if other.browser:
        return Needs() if dtls else TO_BROWSER
    return FROM_BROWSER if dtls else Needs()


def _ice(one: End, other: End) -> str:
    """A phone that gets no candidates needs none; two ends that would find each other by them don't, where they are to
    be relayed."""
    if other.browser:
        return "force"
    return "remove" if one.said is not None and one.said.ice else ""


def _local(end: End) -> str:
    return end.said.address if end.said is not None else end.local


def _family(host: str) -> str:
    return "" if not host else "IP6" if ":" in host else "IP4"


def _one_network(one: str, other: str) -> bool:
    mine, theirs = _parsed(one), _parsed(other)
    if mine is None or theirs is None or mine.version != theirs.version:
        return False
    if not (mine.is_private and theirs.is_private):
        return False
    shift = mine.max_prefixlen - _SITE[mine.version]
    return int(mine) >> shift == int(theirs) >> shift


@lru_cache(4096)
def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
