"""Pages that scripts may get: of hosts that the tenant has allowed, over addresses that are public, small and soon."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Collection
from urllib.parse import urlsplit

import dns.exception
import urllib3

from lambdas.lookups.names import resolver

TIMEOUT = 1.5
"""Seconds for the whole of it."""
LONGEST = 16 * 1024
"""Octets of a page; the rest is cut off."""
_PORTS = {"http": 80, "https": 443}


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
        end = time.monotonic() + TIMEOUT
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise PageError(f"{url!r} is not a URL", True) from error
        if parts.scheme not in _PORTS or not host or parts.username is not None:
            raise PageError(f"{url!r} is not like https://www.example.com/page", True)
        if host not in hosts and f"{host}:{port}" not in hosts:
            raise PageError(f"{host} isn't among the hosts that the tenant's scripts may ask (script_hosts)", True)
        pool = self._pool(parts.scheme, self._address(host), host, port)
        try:
            timeout = urllib3.Timeout(total=max(0.1, end - time.monotonic()))
            target = urllib3.util.Url(path=parts.path or "/", query=parts.query or None).request_uri
            reply = pool.urlopen(
                "GET", target, headers={"Host": parts.netloc}, redirect=False, retries=False, timeout=timeout,
                preload_content=False,
            )  # fmt: skip
            try:
                return reply.status, _read(reply, end).decode("utf-8", "replace")
            finally:
                reply.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise PageError(f"{host} doesn't answer: {type(error).__name__}") from error
        finally:
            pool.close()

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

    def _pool(self, scheme: str, address: str, host: str, port: int) -> urllib3.HTTPConnectionPool:
        if scheme == "https":
            return urllib3.HTTPSConnectionPool(address, port, server_hostname=host, assert_hostname=host)
        return urllib3.HTTPConnectionPool(address, port)


def _read(reply: urllib3.BaseHTTPResponse, end: float) -> bytes:
    data = b""
    for chunk in reply.stream(4096):
        data += chunk
        if len(data) >= LONGEST or time.monotonic() > end:
            break
    return data[:LONGEST]
