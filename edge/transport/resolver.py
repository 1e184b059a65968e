"""Finding a provider's servers (RFC 3263 §4): by NAPTR and SRV as far as nothing says otherwise, and by both kinds of
address records."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import random
from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from edge.sip.flow import ServerAddress
from edge.sip.uri import DEFAULT_PORT, DEFAULT_TLS_PORT, parse_hostport
from lambdas.contract.addresses import is_public

log = logging.getLogger(__name__)

_TIMEOUT = 4.0  # seconds for all questions about one server
_MOST = 8  # addresses; SRV records and NAPTR records that are looked at
_CACHE = 2000  # answers; dnspython forgets each at its time to live
_SERVICES = {"tls": "_sips._tcp", "tcp": "_sip._tcp", "udp": "_sip._udp"}
"""What SRV records are asked for by, the one that is taken first where a host has several (RFC 3263 §4.1)."""
_NAPTR = {b"SIPS+D2T": "tls", b"SIP+D2T": "tcp", b"SIP+D2U": "udp"}
_NONE = (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN)


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

    async def resolve(
        self, host: str, port: int, transport: str, by_dns: bool = False, ipv6: bool = True
    ) -> tuple[list[ServerAddress], str]:
        """The server's addresses in the order in which to try them; where there is none, why. ``by_dns``: by another
        transport than ``transport`` where DNS says so. Without ``ipv6`` there is no way to IPv6 addresses."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await self._find(host, port, transport, by_dns)
        except TimeoutError:
            return [], f"{host} can't be resolved: no answer within {_TIMEOUT:.0f} s"
        except dns.exception.DNSException as error:
            return [], f"{host} can't be resolved: {type(error).__name__}"
        reached = found if ipv6 else [server for server in found if ":" not in server[1]]
        usable = [server for server in reached if self._may_use(server[1])]
        if usable:
            return usable[:_MOST], ""
        if reached:
            why = "which isn't public (see provider_networks in the edge's configuration)"
            return [], f"{host} is at {reached[0][1]}, {why}"
        if found:
            return [], f"{host} has IPv6 addresses only, and this edge address has no IPv6 side"
        return [], f"{host} has no address"

    async def _find(self, host: str, port: int, transport: str, by_dns: bool) -> list[ServerAddress]:
        try:
            literal = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            pass
        else:
            return [(transport, str(literal), port or _default_port(transport))]
        if port:  # §4.1 and §4.2: then DNS has nothing more to say
            return [(transport, ip, port) for ip in await self._addresses(host)]
        if by_dns:
            chosen = await self._by_naptr(host) or await self._by_any_srv(host)
            if chosen:
                return chosen
        else:
            servers = await self._by_srv(f"{_SERVICES[transport]}.{host}", transport)
            if servers is not None:
                return servers
        return [(transport, ip, _default_port(transport)) for ip in await self._addresses(host)]

    async def _by_naptr(self, host: str) -> list[ServerAddress]:
        """§4.1: the first transport that both sides have, and that has servers. There is no falling back: whoever could
        make TLS fail would have us go without."""
        records = sorted(await self._ask(host, dns.rdatatype.NAPTR), key=lambda one: (one.order, one.preference))
        for record in records[:_MOST]:
            transport = _NAPTR.get(record.service.upper())
            if transport is None or record.flags.lower() != b"s" or record.regexp:
                continue
            servers = await self._by_srv(_name(record.replacement), transport)
            if servers:
                return servers
        return []

    async def _by_any_srv(self, host: str) -> list[ServerAddress]:
        """§4.1: without NAPTR records the SRV records that there are say what the host has."""
        each = await asyncio.gather(*(self._by_srv(f"{name}.{host}", kind) for kind, name in _SERVICES.items()))
        return next((servers for servers in each if servers), [])

    async def _by_srv(self, name: str, transport: str) -> list[ServerAddress] | None:
        """None if there are no such records."""
        records = await self._ask(name, dns.rdatatype.SRV)
        if not records:
            return None
        # RFC 2782: by priority, and among equals by chance, the heavier the likelier to be first.
        ordered = sorted(records, key=lambda record: (record.priority, -_chance(record.weight)))[:_MOST]
        targets = [_name(record.target) for record in ordered]
        each = await asyncio.gather(*(self._addresses_of_target(target, name) for target in targets))
        return [(transport, ip, record.port) for record, found in zip(ordered, each, strict=True) for ip in found]

    async def _addresses_of_target(self, target: str, of: str) -> list[str]:
        """One that can't be resolved doesn't take the others along. The root stands for no server at all (RFC 2782)."""
        try:
            return await self._addresses(target) if target != "." else []
        except dns.exception.DNSException as error:
            log.info("%s, of %s, can't be resolved: %s", target, of, type(error).__name__)
            return []

    async def _addresses(self, host: str) -> list[str]:
        """Of both families in turns, IPv6 first (RFC 6724 §2.1, RFC 8305 §4): where one family doesn't work the next
        address is the other's. Raises DNSException if neither can be had."""
        kinds = (dns.rdatatype.AAAA, dns.rdatatype.A)
        both = await asyncio.gather(*(self._ask(host, kind) for kind in kinds), return_exceptions=True)
        answers = [answer for answer in both if not isinstance(answer, BaseException)]
        if not answers:
            raise next(answer for answer in both if isinstance(answer, BaseException))
        turns = itertools.zip_longest(*([record.address for record in answer] for answer in answers))
        return [address for turn in turns for address in turn if address is not None]

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any]:
        try:
            return list(await self._dns.resolve(name, kind))
        except _NONE:
            return []

    def _may_use(self, text: str) -> bool:
        """No provider account makes this edge knock at doors inside its own network."""
        address = ipaddress.ip_address(text)
        return is_public(address) or any(address in net for net in self._allowed)


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)


def _default_port(transport: str) -> int:
    return DEFAULT_TLS_PORT if transport == "tls" else DEFAULT_PORT


def _chance(weight: int) -> float:
    return float(random.random() ** (1 / (weight or 0.1)))  # noqa: S311 - it spreads load, and hides nothing


def _hostport(text: str) -> tuple[str, int]:
    """Of a nameserver: with a port an IPv6 address stands in brackets."""
    if ":" in text and not text.startswith("[") and "." not in text:
        return text, 53
    host, port = parse_hostport(text)
    return host.strip("[]"), port or 53
