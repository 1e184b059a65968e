"""Pages that scripts may get, of hosts that the tenant has allowed."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from lambdas.lookups.errors import OutsideError
from lambdas.lookups.outside import Outside

TIMEOUT = 1.5
"""Seconds for a page."""


class Pages:
    """Raises OutsideError where there is none to be had."""

    def __init__(self) -> None:
        self._outside = Outside(TIMEOUT)

    def get(self, url: str, hosts: Collection[str]) -> tuple[int, str]:
        """Status and text of ``url``, whose host must be among ``hosts`` (``name`` or ``name:port``)."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise OutsideError(f"{url!r} is not a URL", True) from error
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise OutsideError(f"{url!r} is not like https://www.example.com/page", True)
        if port is not None and port < 1024 and port not in (80, 443):
            raise OutsideError(f"port {port} is another service's; pages are at 80, 443, or 1024 and above", True)
        if host not in hosts and (port is None or f"{host}:{port}" not in hosts):
            raise OutsideError(f"{host} isn't among the hosts that the tenant's scripts may ask (script_hosts)", True)
        return self._outside.request("GET", url, host, self._outside.address(host), {})
