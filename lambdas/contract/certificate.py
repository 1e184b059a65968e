"""Certificates that the control plane gets for edges: which there are comes by heartbeat, and each is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lambdas.contract.wire import Envelope, Wire

MOST_CERTIFICATES = 20
"""In one reply. Since version 9."""


class CertificateVersion(Wire):
    """A certificate that an edge should have. Since version 9."""

    name: str
    """The name that it is for: an edge's, a domain or an alias."""
    version: str
    """Another one for each certificate."""


class EdgeCertificate(Wire):
    """A certificate with its private key. Since version 9."""

    name: str
    """The name that it is for."""
    version: str
    """As in a CertificateVersion; it may be a later one."""
    chain: str
    """PEM: the certificate first, then those that lead to the authority's root."""
    key: str = Field(repr=False)
    """PEM: PKCS #8."""


class CertificatesRequest(Envelope):
    """An edge that lives asks for certificates. Since version 9."""

    boot: str
    """That of its heartbeats."""
    names: Annotated[list[str], Field(max_length=MOST_CERTIFICATES)]
    """The names that they are for."""


class CertificatesReply(Envelope):
    """Those of them that there are, and that the edge may have. Since version 9."""

    certificates: list[EdgeCertificate]
    """In no order."""
