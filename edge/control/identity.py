"""Who this edge is: one Ed25519 key that signs its requests to the control plane and proves it on the mesh."""

from __future__ import annotations

import base64
import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# The certificate is a function of the key, so that a restarted edge shows the one that its peers know.
_NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


class IdentityError(Exception):
    """The key file can't be used; the text says why and what to do."""


class Identity:
    """``certificate`` is self-signed and only as good as the fleet list that carries it."""

    def __init__(self, edge: str, key: Ed25519PrivateKey) -> None:
        self.edge = edge
        self.key = key
        self.certificate = _self_signed(edge, key)

    @property
    def certificate_der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def public_key(self) -> str:
        """Raw, in base64: what is registered with the control plane."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def state_key(self) -> bytes:
        """For what is kept on this machine's disk: 32 octets that only this edge's key gives."""
        secret = self.key.private_bytes_raw()
        return HKDF(SHA256(), 32, salt=None, info=b"sipwizard edge state").derive(secret)

    @classmethod
    def load(cls, edge: str, path: Path) -> Identity:
        """Read the key from a PKCS #8 PEM file. Raises IdentityError."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError as error:
            raise IdentityError(
                f"key_file: {path} doesn't exist; 'python -m edge public-key' makes it and prints what to register"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise IdentityError(f"key_file: {path} can't be used: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(f"key_file: {path} holds a key that isn't Ed25519")
        return cls(edge, key)

    @classmethod
    def load_or_make(cls, edge: str, path: Path) -> Identity:
        """As ``load``; makes the file, readable by its owner only, if there is none."""
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            try:
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(pem)
            except OSError as error:
                raise IdentityError(f"key_file: {path} can't be made: {error.strerror}") from error
        return cls.load(edge, path)


def _self_signed(edge: str, key: Ed25519PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, edge)])
    serial = int.from_bytes(key.public_key().public_bytes_raw()[:8], "big") | 1
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(edge)]), critical=False)
        .sign(key, None)
    )
