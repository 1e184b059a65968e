"""ENUM (RFC 6116): the SIP address of a telephone number, from NAPTR records."""

from __future__ import annotations

import os
import re

import dns.exception
from dns.rdtypes.IN.NAPTR import NAPTR

from lambdas.lookups.names import resolver

_TIMEOUT = 1.0  # seconds
_SIP = re.compile(r"sip:[A-Za-z0-9\-_.!~*'()%&=+$,;:@]{1,200}")  # it goes into messages as it is
_SERVICE = "e2u+sip"


class Enum:
    """``ENUM_NAMESERVERS`` (``host:port``, separated by spaces) instead of the system's."""

    def __init__(self) -> None:
        self._dns = resolver(os.environ.get("ENUM_NAMESERVERS", "").split(), _TIMEOUT)

    def find(self, e164: str, zone: str) -> str:
        """The address of ``e164`` (with its plus), or "" if it has none that can be had within a second."""
        digits = e164.removeprefix("+")
        if not digits.isdecimal() or not digits.isascii() or len(digits) > 15:
            return ""
        try:
            answer = self._dns.resolve(f"{'.'.join(reversed(digits))}.{zone}", "NAPTR")
        except (dns.exception.DNSException, OSError):
            return ""
        records = [record for record in answer if isinstance(record, NAPTR)]
        for record in sorted(records, key=lambda record: (record.order, record.preference)):
            if record.flags.lower() == b"u" and record.service.lower() == _SERVICE.encode():
                found = _rewritten(record.regexp.decode("utf-8", "replace"), e164)
                if _SIP.fullmatch(found):
                    return found
        return ""


def _rewritten(rule: str, e164: str) -> str:
    """``!pattern!replacement!`` (RFC 3402 §3.2). Whoever runs the zone writes it, so a pattern is taken only in the one
    form that all use, which matches the whole number; anything else could keep us busy."""
    parts = rule.split(rule[:1]) if rule else []
    if len(parts) != 4 or parts[1] not in ("^.*$", "^(.*)$", r"^\+(.*)$", r"^(\+.*)$"):
        return ""
    group = e164.removeprefix("+") if parts[1] == r"^\+(.*)$" else e164
    return parts[2].replace(r"\1", group)
