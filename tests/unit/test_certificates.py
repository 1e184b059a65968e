"""Certificates by name, sessions taken up elsewhere, files that change."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import signal
import ssl
import weakref
from collections import Counter
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.config import CertificateFiles, ConfigError
from edge.runtime.certificate_files import CertificateWatch
from edge.runtime.snapshot import ticket_keys
from edge.transport import session_tickets
from edge.transport.certificates import Certificate, CertificateError, Certificates
from edge.transport.session_tickets import KEY, SessionTickets
from lambdas.contract import FleetKey, HeartbeatReply
from tests.security.test_streams import until
from tests.support.certificates import Pair, self_signed, trusting

OWN, TENANT, WILD = self_signed("edge-a.example.net"), self_signed("example.com"), self_signed("*.example.org")
ADDRESSED = self_signed("203.0.113.11", "2001:db8::1")
DAY_ONE, DAY_TWO = b"1" * KEY, b"2" * KEY


def certificate(pair: Pair, *names: str) -> Certificate:
    return Certificate(pair.chain, pair.key, names)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None, session=None) -> ssl.SSLObject:
    """The client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    theirs.write(b"x")
    ours.read()
    return ours


def shown(certificates: Certificates, name: str | None) -> str:
    """Whose certificate a client gets that asks for ``name``."""
    client = trusting(OWN, TENANT, WILD)
    client.check_hostname = False
    got = handshake(certificates.context, client, name).getpeercert()["subjectAltName"]
    return got[0][1]


def test_the_name_that_is_asked_for_picks_the_certificate():
    certificates = Certificates()
    certificates.replace([certificate(pair) for pair in (OWN, TENANT, WILD)])
    assert shown(certificates, "example.com") == shown(certificates, "EXAMPLE.com") == "example.com"
    assert shown(certificates, "sip.example.org") == "*.example.org"
    for other in (None, "edge-a.example.net", "elsewhere.example", "a.sip.example.org", "example.org"):
        assert shown(certificates, other) == "edge-a.example.net"
    certificates.replace([certificate(TENANT), certificate(OWN, "sip.example.org")])
    assert shown(certificates, "sip.example.org") == "edge-a.example.net"
    assert shown(certificates, None) == "example.com"
    assert certificates.expiries().keys() == {"example.com", "sip.example.org"}
    assert all(until > datetime.now(UTC) for until in certificates.expiries().values())


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Certificate("nonsense", OWN.key), "no certificate can be read"),
        (Certificate(OWN.chain, TENANT.key), "edge-a.example.net and its key can't be used: KEY_VALUES_MISMATCH"),
        (Certificate(OWN.chain, "nonsense"), "can't be used"),
        (certificate(self_signed(common_name="edge-a.example.net")), "is for no DNS name"),
    ],
)
def test_what_cannot_be_used_says_so_and_leaves_those_of_before(wrong, why):
    certificates = Certificates()
    certificates.replace([certificate(OWN)])
    with pytest.raises(CertificateError, match=why):
        certificates.replace([certificate(TENANT), wrong])
    assert shown(certificates, "example.com") == "edge-a.example.net"


def test_one_for_addresses_only_will_do():
    certificates = Certificates()
    certificates.replace([certificate(ADDRESSED), certificate(TENANT)])
    client = trusting(ADDRESSED)
    assert handshake(certificates.context, client, "203.0.113.11").version()
    assert certificates.expiries().keys() == {"203.0.113.11", "2001:db8::1", "example.com"}


def test_old_versions_and_renegotiation_are_off():
    context = Certificates().context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert all("DHE" in suite["name"] or suite["protocol"] == "TLSv1.3" for suite in context.get_ciphers())


# Sessions


def edge(keys: dict[int, bytes], use: int) -> tuple[Certificates, SessionTickets]:
    tickets = SessionTickets()
    tickets.replace(keys, use)
    certificates = Certificates(tickets.use_in)
    certificates.replace([certificate(OWN), certificate(TENANT)])
    return certificates, tickets


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_taken_up_at_another_edge_and_on_another_day(version):
    client = trusting(OWN, TENANT)
    client.minimum_version = client.maximum_version = version
    for name in ("edge-a.example.net", "example.com"):
        one, tickets = edge({1: DAY_ONE}, 1)
        other, _ = edge({1: DAY_ONE, 2: DAY_TWO}, 2)
        stranger, _ = edge({2: DAY_TWO}, 2)
        begun = handshake(one.context, client, name).session
        assert begun.ticket_lifetime_hint == session_tickets.LIFE
        taken_up = handshake(other.context, client, name, begun)
        assert taken_up.session_reused
        if version is ssl.TLSVersion.TLSv1_3:  # Python's client doesn't show the new ticket that TLS 1.2 brings
            assert handshake(stranger.context, client, name, taken_up.session).session_reused
            assert handshake(one.context, client, name, begun).session.id != begun.id  # a ticket is used once
        assert not handshake(stranger.context, client, name, begun).session_reused
        tickets.replace({2: DAY_TWO}, 2)
        assert not handshake(one.context, client, name, begun).session_reused


def test_contexts_keep_what_they_call_back():
    certificates = Certificates()
    certificates.replace([certificate(OWN)])
    tickets = SessionTickets()
    tickets.use_in(certificates.context)
    seen = weakref.ref(tickets)
    del tickets
    gc.collect()
    assert seen() is not None
    begun = handshake(certificates.context, trusting(OWN), "edge-a.example.net").session
    assert begun.ticket_lifetime_hint == session_tickets.LIFE


def test_whether_it_works_is_tried_first(caplog, monkeypatch):
    assert isinstance(session_tickets.usable(), SessionTickets)
    monkeypatch.setattr(SessionTickets, "use_in", lambda *_: None)
    assert session_tickets.usable() is None
    monkeypatch.setattr(SessionTickets, "use_in", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert session_tickets.usable() is None
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "OpenSSL can't be told the keys",
        "signal 9",
    ]


def test_the_keys_are_the_fleets_and_an_older_control_plane_has_none():
    def key(number: int, ticket: bytes, use: bool) -> FleetKey:
        return FleetKey(id=number, nonce="", token="", ticket=base64.b64encode(ticket).decode(), use=use)

    keys = [key(7, DAY_ONE, False), key(8, DAY_TWO, True)]
    reply = HeartbeatReply(version=9, held=[], fleet=[], addresses=[], domains_version="1", keys=keys)
    assert ticket_keys(reply) == ({7: DAY_ONE, 8: DAY_TWO}, 8)
    assert ticket_keys(reply.model_copy(update={"keys": [key(8, b"", True)]})) == ({}, 0)


def test_before_that_an_edge_has_a_key_of_its_own():
    certificates = Certificates(SessionTickets().use_in)
    certificates.replace([certificate(OWN)])
    client = trusting(OWN)
    begun = handshake(certificates.context, client, "edge-a.example.net").session
    assert handshake(certificates.context, client, "edge-a.example.net", begun).session_reused
    other, _ = edge({1: DAY_ONE}, 1)
    assert not handshake(other.context, client, "edge-a.example.net", begun).session_reused


# Files


def test_files_are_loaded_when_they_change(tmp_path, caplog):
    async def run() -> None:
        chain, key = OWN.write(tmp_path, "edge")
        certificates, counted = Certificates(), Counter()
        watch = CertificateWatch([CertificateFiles(chain=chain, key=key)], certificates, counted, 0.02)
        watch.load()
        running = asyncio.ensure_future(watch.run())

        chain.write_text(TENANT.chain)  # its key isn't there yet
        await until(lambda: counted["certificate_failures"])
        assert shown(certificates, None) == "edge-a.example.net"
        assert "KEY_VALUES_MISMATCH" in caplog.text
        await asyncio.sleep(0.1)
        assert counted["certificate_failures"] == 1  # said once
        key.write_text(TENANT.key)
        await until(lambda: shown(certificates, None) == "example.com")
        chain.unlink()
        await until(lambda: counted["certificate_failures"] > 1)
        chain.write_bytes(x509.load_pem_x509_certificate(OWN.chain.encode()).public_bytes(Encoding.DER))
        await until(lambda: "no certificate can be read" in caplog.text)
        chain.write_bytes("friendlyName: Türklinke\n".encode("latin-1") + OWN.chain.encode())
        key.write_text(OWN.key)
        await until(lambda: shown(certificates, None) == "edge-a.example.net")
        running.cancel()
        chain.write_text(TENANT.chain)
        key.write_text("nonsense")
        with pytest.raises(ConfigError, match=r"^certificates: the certificate for example\.com"):
            watch.load()

    asyncio.run(run())
