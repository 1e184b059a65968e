"""Who has to be at the other end of a TLS connection that we make, in one word that flows and tokens carry: the host as
the URI has it, whatever DNS makes of that (RFC 5922 §7.2), and where an account has a CA of its own, after a slash
which one."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256


def server_name(host: str, ca: str) -> str:
    """``host`` with the digest of ``ca`` (PEM; "": whom the edge trusts)."""
    name = host.strip("[]")
    return f"{name}/{digest_of(ca)}" if ca else name


def host_in(name: str) -> str:
    """What the certificate has to be for, and what is sent as SNI."""
    return name.partition("/")[0]


def ca_in(name: str) -> str:
    """The digest of the CA; "" if it isn't one of an account's own."""
    return name.partition("/")[2]


@lru_cache(maxsize=256)
def digest_of(ca: str) -> str:
    """Tells CAs apart."""
    return sha256(ca.encode()).hexdigest()[:16]
