"""Pages that scripts may get: of hosts that the tenant has allowed, over addresses that are public, small and soon."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

import aiohttp
import dns.exception
from aiohttp.abc import AbstractResolver, ResolveResult

from lambdas.lookups.names import resolver

TIMEOUT = 1.5
"""Seconds for the whole of it, however slowly it trickles in."""
LONGEST = 16 * 1024
"""Octets of a page; the rest is cut off."""


class PageError(Exception):
    """It can't be had; the text says why. ``forbidden``: nor ever will it be."""

    def __init__(self, why: str, forbidden: bool = False) -> None:
        super().__init__(why)
        self.forbidden = forbidden


class Pages:
    """``SCRIPT_NETWORKS`` are networks (separated by spaces) that may be asked though they aren't public."""

    def __init__(self) -> None:
        self._dns = resolver([], TIMEOUT)
        self._allowed = [ipaddress.ip_network(text) for text in os.environ.get("SCRIPT_NETWORKS", "").split()]

    def get(self, url: str, hosts: Collection[str]) -> tuple[int, str]:
        """Status and text of ``url``, whose host must be among ``hosts`` (``name`` or ``name:port``). Redirections
        aren't followed. Raises PageError."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise PageError(f"{url!r} is not a URL", True) from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise PageError(f"{url!r} is not like https://www.example.com/page", True)
        if host not in hosts and (port is None or f"{host}:{port}" not in hosts):
            raise PageError(f"{host} isn't among the hosts that the tenant's scripts may ask (script_hosts)", True)
        address = self._address(host)
        try:
            return asyncio.run(_fetch(url, address))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise PageError(f"{host} doesn't answer: {type(error).__name__}") from error

    def _address(self, host: str) -> str:
        """Looked up once, and the connection goes there: a name can't mean something else the second time."""
        try:
            addresses = [ipaddress.ip_address(host)]
        except ValueError:
            try:
                addresses = [ipaddress.ip_address(record.address) for record in self._dns.resolve(host, "A")]
            except (dns.exception.DNSException, OSError) as error:
                raise PageError(f"{host} can't be resolved") from error
        for address in addresses:
            if (address.is_global and not address.is_multicast) or any(address in net for net in self._allowed):
                return str(address)
        raise PageError(f"{host} isn't at a public address", True)


async def _fetch(url: str, address: str) -> tuple[int, str]:
    connector = aiohttp.TCPConnector(resolver=_Known(address))
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
        session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as reply,
    ):
        data = b""
        async for chunk in reply.content.iter_any():
            data += chunk
            if len(data) >= LONGEST:
                break
        return reply.status, data[:LONGEST].decode("utf-8", "replace")


class _Known(AbstractResolver):
    """Every name is at one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        kind = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        found = ResolveResult(hostname=host, host=self._address, port=port, family=kind, proto=0, flags=0)
        return [found]

    async def close(self) -> None:
        pass
