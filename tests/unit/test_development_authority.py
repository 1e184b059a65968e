"""The development fleet's certificate authority."""

from __future__ import annotations

import datetime
import ipaddress
import stat

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from scripts import authority
from scripts.authority import DevelopmentAuthority


def verify(ca, chain, name):
    """As a client does that was told ``name``."""
    trusted = Store(x509.load_pem_x509_certificates(ca.path.read_bytes()))
    try:
        subject = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    PolicyBuilder().store(trusted).build_server_verifier(subject).verify(leaf, [])


def test_it_issues_for_names_and_addresses(tmp_path):
    ca = DevelopmentAuthority(tmp_path)
    chain, _ = ca.issue(["edge-a.sipwizard.test", "127.0.0.1", "::1"], tmp_path)
    for name in ("edge-a.sipwizard.test", "127.0.0.1", "::1"):
        verify(ca, chain, name)
    for name in ("edge-b.sipwizard.test", "127.0.0.2"):
        with pytest.raises(VerificationError):
            verify(ca, chain, name)
    with pytest.raises(VerificationError):
        verify(DevelopmentAuthority(tmp_path / "another"), chain, "127.0.0.1")


def test_keys_are_their_owners_only(tmp_path):
    ca = DevelopmentAuthority(tmp_path)
    _, key = ca.issue(["127.0.0.1"], tmp_path)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca.key", key)] == [0o600, 0o600]


def test_it_is_made_once_and_anew_before_it_is_too_old(tmp_path, monkeypatch):
    made = DevelopmentAuthority(tmp_path).path.read_bytes()
    assert DevelopmentAuthority(tmp_path).path.read_bytes() == made
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3000)
    monkeypatch.setattr(authority, "_now", lambda: later)
    assert DevelopmentAuthority(tmp_path).path.read_bytes() != made


def test_what_is_issued_stays(tmp_path):
    ca = DevelopmentAuthority(tmp_path)
    chain, key = ca.issue(["127.0.0.1"], tmp_path)
    before = chain.read_bytes(), key.read_bytes()
    assert ca.issue(["127.0.0.1"], tmp_path) == (chain, key)
    assert (chain.read_bytes(), key.read_bytes()) == before
