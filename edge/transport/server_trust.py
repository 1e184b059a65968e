"""Whom TLS connections that we make may lead to: who has signed the certificate, and for whom (RFC 5922)."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.sip.server_names import ca_in, digest_of, host_in

_MOST = 1000  # CAs of accounts' own
_UNKNOWN_CA = frozenset((2, 18, 19, 20, 21, 27))
"""OpenSSL's codes (x509_vfy.h) for a chain that ends with nobody who is trusted."""
_NOT_YET_VALID, _EXPIRED = 9, 10


class UnknownCa(Exception):
    """This edge hasn't heard yet which CA it is that a server's account names."""


class ServerTrust:
    """The contexts for servers as flows name them (``sip/server_names``)."""

    def __init__(self, file: Path | None = None) -> None:
        """``file`` has certificates (PEM) that are trusted beside the system's. Raises OSError and ssl.SSLError."""
        self._usual = _context()
        self._usual.load_default_certs()
        if file is not None:
            self._usual.load_verify_locations(cafile=file)
        self._own: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._pem: dict[str, str] = {}

    def learn(self, ca: str) -> None:
        """Certificates (PEM) of an account's own: servers of which that is said have to be signed by them. What can't
        be read is left out: nobody gets in by it."""
        name = digest_of(ca)
        if name in self._own:
            self._own.move_to_end(name)
            return
        context = _context()
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a server's certificate, or one between, will do
        try:
            context.load_verify_locations(cadata=ca)
        except ssl.SSLError:
            return
        self._own[name] = context
        self._pem[name] = ca
        if len(self._own) > _MOST:
            del self._pem[self._own.popitem(last=False)[0]]

    def pem(self, server: str) -> str:
        """The CA that ``server`` names, for another edge; "" if it names none, or that isn't known here."""
        return self._pem.get(ca_in(server), "")

    def context(self, server: str) -> ssl.SSLContext:
        """What a connection to ``server`` is checked by. Raises UnknownCa."""
        digest = ca_in(server)
        context = self._own.get(digest) if digest else self._usual
        if context is None:
            raise UnknownCa
        return context


def fault_of(certificate: Mapping[str, Any], server: str) -> str:
    """Why a server with ``certificate`` (as ``getpeercert`` gives it) isn't ``server``; "" if it is."""
    host = host_in(server)
    names = list(_identities(certificate))
    if any(_same(name, host) for name in names):
        return ""
    return f"the certificate is for {', '.join(names[:4]) or 'nobody'}, not for {host}"


def reason_of(error: Exception, server: str) -> str:
    """What a connection to ``server`` has failed by, for whoever looks after the account."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _UNKNOWN_CA:
            return f"the certificate of {host_in(server)} is signed by an unknown CA ({error.verify_message})"
        if error.verify_code == _EXPIRED:
            return f"the certificate of {host_in(server)} has expired"
        if error.verify_code == _NOT_YET_VALID:
            return f"the certificate of {host_in(server)} isn't valid yet"
        return f"the certificate of {host_in(server)} can't be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {host_in(server)}: {error.reason or error}"
    if isinstance(error, UnknownCa):
        return "the account's own CA isn't known at this edge yet"
    if isinstance(error, TimeoutError):
        return "no connection: no answer"
    number = getattr(error, "errno", None)  # asyncio's own text doesn't say what it stands for
    return f"no connection: {os.strerror(number) if number else str(error) or type(error).__name__}"


def _context() -> ssl.SSLContext:
    """The name is checked by ``fault_of``: OpenSSL takes wildcards, and knows no ``sip:`` URIs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    return context


def _identities(certificate: Mapping[str, Any]) -> Iterator[str]:
    """RFC 5922 §7.1: the SIP domains that a certificate is for. Host names count where there is no ``sip:`` URI, the
    common name where there is no alternative. An address counts where the URI has an address."""
    alternatives = certificate.get("subjectAltName", ())
    uris = [value[4:] for kind, value in alternatives if kind == "URI" and value[:4].lower() == "sip:"]
    domains = [uri.partition(";")[0] for uri in uris if "@" not in uri]
    if domains:
        yield from domains
    else:
        yield from (value for kind, value in alternatives if kind == "DNS")
    yield from (value for kind, value in alternatives if kind == "IP Address")
    if not alternatives:
        yield from (value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName")


def _same(name: str, host: str) -> bool:
    """§7.2: letters' case means nothing; wildcards stand for nobody."""
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    except ValueError:
        return name.lower().removesuffix(".") == host.lower().removesuffix(".")
