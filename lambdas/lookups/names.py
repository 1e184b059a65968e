"""The resolver that look-ups share the making of."""

from __future__ import annotations

import dns.nameserver
import dns.resolver

_CACHE = 1000  # answers; each is forgotten at its time to live


def resolver(servers: list[str], timeout: float) -> dns.resolver.Resolver:
    """One that asks ``servers`` (``host:port``), the system's if there are none, for ``timeout`` seconds."""
    try:
        made = dns.resolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:
        made = dns.resolver.Resolver(configure=False)
    if servers:
        made.nameservers = [_server(text) for text in servers]
    made.cache = dns.resolver.LRUCache(_CACHE)
    made.lifetime = timeout
    return made


def _server(text: str) -> dns.nameserver.Do53Nameserver:
    host, _, port = text.partition(":")
    return dns.nameserver.Do53Nameserver(host, int(port or 53))
