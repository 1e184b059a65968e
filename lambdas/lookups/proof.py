"""Whether a domain is somebody's: what its DNS says."""

from __future__ import annotations

import os

import dns.exception
from dns.rdtypes.txtbase import TXTBase

from lambdas.lookups.names import resolver

_TIMEOUT = 3.0  # seconds


class Proof:
    """``DOMAIN_PROOF`` "off" asks for none; ``DOMAIN_NAMESERVERS`` (``host:port``, separated by spaces) are asked
    instead of the system's."""

    def __init__(self) -> None:
        self.required = os.environ.get("DOMAIN_PROOF", "") != "off"
        self._dns = resolver(os.environ.get("DOMAIN_NAMESERVERS", "").split(), _TIMEOUT)
        self._dns.cache = None  # who has just set the record doesn't want to wait

    @staticmethod
    def place(domain: str) -> str:
        """Where the record has to be."""
        return f"_sipwizard.{domain}"

    def given(self, domain: str, text: str) -> bool:
        """Whether a TXT record there says ``text``."""
        try:
            records = self._dns.resolve(self.place(domain), "TXT")
        except (dns.exception.DNSException, OSError):
            return False
        return any(
            isinstance(record, TXTBase) and b"".join(record.strings).decode("utf-8", "replace") == text
            for record in records
        )
