"""Which certificate a TLS client gets: by the name that it asks for (SNI), else the edge's own."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

# Forward secrecy and no SHA-1; TLS 1.3 has suites of its own.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!SHA1"


class CertificateError(Exception):
    """A certificate can't be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """``chain`` is PEM, the server's own certificate first; so is ``key``, without a password. It is for ``names``
    (``edge-a.example.net``, ``*.example.net``), by default for all DNS names and IP addresses that it
    has itself."""

    chain: str
    key: str
    names: tuple[str, ...] = ()


class Certificates:
    """Those that this edge has; connections that are made from then on get what ``replace`` has said last."""

    def __init__(self, prepare: Callable[[ssl.SSLContext], None] = lambda _: None) -> None:
        """``prepare`` is called with each context that connections begin with."""
        self._prepare = prepare
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._expiries: dict[str, datetime] = {}
        self.context = _context()
        """For the server's side of a new connection."""

    def replace(self, certificates: Sequence[Certificate]) -> None:
        """From now on these are used, the first of them for clients that ask for no name, or for one that nobody has.
        Raises CertificateError; those of before stay then."""
        by_name: dict[str, ssl.SSLContext] = {}
        expiries: dict[str, datetime] = {}
        default = _context()
        for number, certificate in enumerate(certificates):
            names, until = _read(certificate)
            context = default if number == 0 else _context()
            _load(context, certificate, names)
            for name in names:
                by_name.setdefault(name, context)
                expiries.setdefault(name, until)
        default.sni_callback = self._pick
        self._prepare(default)
        self._by_name, self._expiries, self.context = by_name, expiries, default

    def expiries(self) -> dict[str, datetime]:
        """Until when the certificate of each name is good."""
        return dict(self._expiries)

    def _pick(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower().rstrip(".")
        context = self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")
        if context is not None:
            connection.context = context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.num_tickets = 1
    return context


def _read(certificate: Certificate) -> tuple[tuple[str, ...], datetime]:
    """The names that it is for, in small letters, and until when it is good. Raises CertificateError."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate.chain.encode())
        names = certificate.names or _names_in(leaf)
    except ValueError as error:
        raise CertificateError(f"no certificate can be read: {error}") from error
    if not names:
        raise CertificateError(
            f"the certificate of {leaf.subject.rfc4514_string()!r} is for no DNS name and no IP address"
        )
    return tuple(name.lower().rstrip(".") for name in names), leaf.not_valid_after_utc


def _names_in(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))  # SNI has none: it is the default's part to be so
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _load(context: ssl.SSLContext, certificate: Certificate, names: Sequence[str]) -> None:
    """The ssl module reads files only; this one is in memory, and nobody else's."""
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, f"{certificate.key.strip()}\n{certificate.chain}".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise CertificateError(f"the certificate for {', '.join(names)} and its key can't be used: {why}") from error
    finally:
        os.close(file)


def _no_password() -> str:
    raise ValueError("the key needs a password")
