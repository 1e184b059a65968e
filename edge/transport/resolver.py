"""Finding a provider's server (RFC 3263 §4.2): by SRV where no port is given, else by address records."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from edge.sip.flow import ServerAddress
from edge.sip.uri import parse_hostport
from lambdas.contract.addresses import is_public

log = logging.getLogger(__name__)

_TIMEOUT = 4.0  # seconds for all questions about one server
_MOST = 8  # addresses
_DEFAULT_PORT = 5060
_CACHE = 2000  # answers; dnspython forgets each at its time to live


class Resolver:
    """``nameservers`` (``host:port``) instead of the system's; ``allowed`` are networks that providers may be in though
    they aren't public."""

    def __init__(self, nameservers: Sequence[str] = (), allowed: Sequence[str] = ()) -> None:
        try:
            self._dns = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration:
            log.warning("this machine has no name server; providers can be had by their addresses only")
            self._dns = dns.asyncresolver.Resolver(configure=False)
        if nameservers:
            self._dns.nameservers = [dns.nameserver.Do53Nameserver(*_hostport(text)) for text in nameservers]
        self._dns.cache = dns.resolver.LRUCache(_CACHE)
        self._dns.lifetime = _TIMEOUT
        self._allowed = [ipaddress.ip_network(network) for network in allowed]

    async def resolve(self, host: str, port: int, transport: str) -> tuple[list[ServerAddress], str]:
        """The server's addresses in the order in which to try them; where there is none, why."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await self._find(host, port, transport)
        except TimeoutError:
            return [], f"{host} can't be resolved: no answer within {_TIMEOUT:.0f} s"
        except dns.exception.DNSException as error:
            return [], f"{host} can't be resolved: {type(error).__name__}"
        usable = [address for address in found if self._may_use(address[1])]
        if found and not usable:
            return (
                [],
                f"{host} is at {found[0][1]}, which isn't public (see provider_networks in the edge's configuration)",
            )
        return usable[:_MOST], "" if usable else f"{host} has no IPv4 address"

    async def _find(self, host: str, port: int, transport: str) -> list[ServerAddress]:
        try:
            return [(transport, str(ipaddress.IPv4Address(host)), port or _DEFAULT_PORT)]
        except ValueError:
            pass
        if port:
            return [(transport, ip, port) for ip in await self._addresses(host)]
        try:
            records = await self._dns.resolve(f"_sip._{transport}.{host}", dns.rdatatype.SRV)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            return [(transport, ip, _DEFAULT_PORT) for ip in await self._addresses(host)]
        found: list[ServerAddress] = []
        # RFC 2782: by priority, and among equals by chance, the heavier the likelier to be first.
        ordered = sorted(records, key=lambda record: (record.priority, -_chance(record.weight)))
        for record in ordered[:_MOST]:
            target = record.target.to_text(omit_final_dot=True)
            try:
                found += [(transport, ip, record.port) for ip in await self._addresses(target)]
            except dns.exception.DNSException as error:
                log.info("%s, a server of %s, can't be resolved: %s", target, host, type(error).__name__)
        return found

    async def _addresses(self, host: str) -> list[str]:
        return [record.address for record in await self._dns.resolve(host, dns.rdatatype.A)]

    def _may_use(self, text: str) -> bool:
        """No provider account makes this edge knock at doors inside its own network."""
        address = ipaddress.IPv4Address(text)
        return is_public(address) or any(address in net for net in self._allowed)


def _chance(weight: int) -> float:
    return float(random.random() ** (1 / (weight or 0.1)))  # noqa: S311 - it spreads load, and hides nothing


def _hostport(text: str) -> tuple[str, int]:
    """Of a nameserver: with a port an IPv6 address stands in brackets."""
    if ":" in text and not text.startswith("[") and "." not in text:
        return text, 53
    host, port = parse_hostport(text)
    return host.strip("[]"), port or 53
