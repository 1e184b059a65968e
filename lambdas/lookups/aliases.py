"""Where the aliases of a name lead: its CNAME records."""

from __future__ import annotations

import os

import dns.exception
import dns.resolver
from dns.rdtypes.ANY.CNAME import CNAME

from lambdas.lookups.errors import OutsideError
from lambdas.lookups.names import resolver

_TIMEOUT = 3.0  # seconds for each
_MOST = 8  # aliases of aliases


class Aliases:
    """``DOMAIN_NAMESERVERS`` (``host:port``, separated by spaces) are asked instead of the system's."""

    def __init__(self) -> None:
        self._dns = resolver(os.environ.get("DOMAIN_NAMESERVERS", "").split(), _TIMEOUT)
        self._dns.cache = None  # it has just been set, perhaps

    def end(self, name: str) -> str:
        """The name that the last of them leads to, "" where there is none. Raises OutsideError if DNS doesn't say."""
        found = ""
        for _ in range(_MOST):
            try:
                records = self._dns.resolve(found or name, "CNAME", search=False)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                return found
            except (dns.exception.DNSException, OSError) as error:
                raise OutsideError(f"DNS doesn't tell where {found or name} leads: {error}") from error
            record = records[0]
            assert isinstance(record, CNAME)
            found = record.target.to_text(omit_final_dot=True).lower()
        raise OutsideError(f"the aliases of {name} don't end", True)
