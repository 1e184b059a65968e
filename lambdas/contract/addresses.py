"""Which addresses somebody else may name: only those that are everybody's.

A list of its own, since Python's ``is_global`` changed with 3.11.10 and 3.12.4 (CVE-2024-4032), and doesn't know which
public addresses lead into a cloud. IANA's registries of special-purpose addresses (RFC 6890), whatever they say is
reachable from everywhere: nothing of the kind is somebody's server.
"""

from __future__ import annotations

import ipaddress

_SPECIAL_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""RFC 4291 §2.4: whatever is outside stands for an IPv4 address (mapped, NAT64), or is no host of the Internet's."""
_SPECIAL_IPV6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]


_CUSTOMER = 56
"""Bits of an IPv6 address that one customer of a network has to himself, as a rule (RFC 6177)."""


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, or the /56 network of an IPv6 address; of a network that itself."""
    if ":" not in host or "/" in host:
        return host
    return str(ipaddress.IPv6Network((host, _CUSTOMER), strict=False))


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is, as far as one can tell, a host's on the Internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    return address in _UNICAST and not any(address in network for network in _SPECIAL_IPV6)
