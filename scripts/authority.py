"""The development fleet's certificate authority: made once, kept, and to be trusted by development phones only."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = datetime.timedelta(days=825)  # the longest that all phones and browsers take of an authority of one's own
_AGE = datetime.timedelta(days=1)  # clocks of machines beside this one may be late


class DevelopmentAuthority:
    """``path`` is the PEM file to trust; its key lies beside it, readable by its owner only."""

    def __init__(self, directory: Path) -> None:
        """Load the authority that ``directory`` has, or make one there."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "ca.pem"
        key_file = directory / "ca.key"
        if not self._usable(key_file):
            self._make(key_file)
        key = load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._own = x509.load_pem_x509_certificate(self.path.read_bytes())

    def _usable(self, key_file: Path) -> bool:
        """Whether there is one, for as long as what it issues."""
        if not (key_file.exists() and self.path.exists()):
            return False
        own = x509.load_pem_x509_certificate(self.path.read_bytes())
        return own.not_valid_after_utc > _now() + _LIFE

    def _make(self, key_file: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sipwizard development")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        own = (
            _begun(name, name, key.public_key(), 4 * _LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(key_file, key)
        self.path.write_bytes(own.public_bytes(Encoding.PEM))

    def issue(self, names: Sequence[str], directory: Path) -> tuple[Path, Path]:
        """A certificate for host names and IP addresses (``subjectAltName``), and its key: the files, called after the
        first name. Those that are there already stay."""
        chain, key_file = directory / f"{names[0]}.pem", directory / f"{names[0]}.key"
        if chain.exists():
            return chain, key_file
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        issued = (
            _begun(subject, self._own.subject, key.public_key(), _LIFE)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write_key(key_file, key)
        chain.write_bytes(issued.public_bytes(Encoding.PEM))
        return chain, key_file


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _AGE)
        .not_valid_after(_now() + life)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Nobody else could ever read it."""
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
