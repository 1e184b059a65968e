"""Where a description has media sent, and what an engine may be told of that.

An engine sends wherever it is told to, from this machine: to services on loopback too, its own control port among them,
and what it sends there are the octets of whoever talks. So addresses that no phone can have aren't passed on to it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

MEDIA_LINES = 8
"""Lines of media (m=) in one description; each costs an engine four ports."""


def media_lines(body: bytes) -> int:
    """How many lines of media there are."""
    return body.count(b"\nm=")


def hosts(body: bytes) -> set[str]:
    """The hosts in ``c=`` (RFC 8866 §5.7) and ``a=rtcp`` (RFC 3605) lines. ICE candidates are checked before media go
    there (RFC 8445)."""
    found = set()
    for line in body.split(b"\n"):
        if line.startswith(b"c=") or (line.startswith(b"a=rtcp:") and b" IN " in line):
            found.add(line.split()[-1].partition(b"/")[0].decode("latin-1"))
    return found


def shares_port(body: bytes) -> bool:
    """Whether RTP and RTCP are to share a port (RFC 5761)."""
    return b"\na=rtcp-mux" in body


@lru_cache(1000)
def is_phone(host: str, near: bool) -> bool:
    """Whether a phone may be at ``host``: it is an IP address of one machine, another one than this, or none at all
    (0.0.0.0, which stands for hold and for ICE). ``near``: the edge itself is on loopback, and so are its phones."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return not (address.is_multicast or address.is_link_local or (address.is_loopback and not near))


@lru_cache(1000)
def is_reachable(host: str) -> bool:
    """Whether packets can be sent to ``host`` (an IP address) from anywhere."""
    return ip_address(host).is_global


def is_ipv6(host: str) -> bool:
    return ":" in host
