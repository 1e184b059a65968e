"""Requests to hosts that somebody else names: only to public addresses, small, and soon."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Mapping

import aiohttp
import dns.exception
from aiohttp.abc import AbstractResolver, ResolveResult

from lambdas.contract.addresses import is_public
from lambdas.lookups.errors import OutsideError
from lambdas.lookups.names import resolver

LONGEST = 16 * 1024
"""Octets of an answer; the rest is cut off."""


class Outside:
    """``SCRIPT_NETWORKS`` are networks (separated by spaces) that may be asked though they aren't public. ``timeout``
    is in seconds, for the whole of a request, however slowly the answer trickles in."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._dns = resolver([], timeout)
        self._allowed = [ipaddress.ip_network(text) for text in os.environ.get("SCRIPT_NETWORKS", "").split()]

    def inside(self, address: str) -> bool:
        """Whether ``address`` isn't public, and may be asked all the same."""
        return any(ipaddress.ip_address(address) in net for net in self._allowed)

    def address(self, host: str) -> str:
        """Looked up once, and the connection goes there: a name can't mean something else the second time. Raises
        OutsideError."""
        try:
            addresses = [ipaddress.ip_address(host)]
        except ValueError:
            try:
                addresses = [ipaddress.ip_address(record.address) for record in self._dns.resolve(host, "A")]
            except (dns.exception.DNSException, OSError) as error:
                raise OutsideError(f"{host} can't be resolved") from error
        for address in addresses:
            if is_public(address) or self.inside(str(address)):
                return str(address)
        raise OutsideError(f"{host} isn't at a public address", True)

    def request(
        self, method: str, url: str, host: str, address: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, str]:
        """Status and text. Redirections aren't followed. Raises OutsideError."""
        try:
            return asyncio.run(self._request(method, url, address, headers, body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise OutsideError(f"{host} doesn't answer: {type(error).__name__}") from error

    async def _request(
        self, method: str, url: str, address: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, str]:
        connector = aiohttp.TCPConnector(resolver=_Known(address))
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.request(
                method, url, data=body, allow_redirects=False, headers={**headers, "Accept-Encoding": "identity"}
            ) as reply,
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
