"""Certificates that the control plane gets: fetched, kept on the disk, and used without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge.control.store import StateStore
from edge.runtime.fetched_certificates import FetchedCertificates
from edge.transport.certificates import Certificates
from lambdas.contract import CertificatesReply, CertificateVersion, EdgeCertificate
from tests.security.test_streams import until
from tests.support.certificates import self_signed, trusting
from tests.unit.test_certificates import handshake

KEY = b"k" * 32
OWN, OTHER, DOMAIN = "edge-b.voip.test", "edge-a.voip.test", "aaa.example.com"
PAIRS = {name: self_signed(name) for name in (OWN, OTHER, DOMAIN)}
AGAIN = self_signed(DOMAIN, days=31)


class Control:
    """A control plane that has ``pairs``; None: it doesn't answer."""

    def __init__(self, pairs):
        self.pairs = dict(pairs)
        self.asked = []
        self.answers = True

    async def certificates(self, request):
        self.asked.append(list(request.names))
        if not self.answers:
            return None
        found = [self.as_given(name) for name in request.names if name in self.pairs]
        return CertificatesReply(version=9, certificates=found)

    def as_given(self, name):
        pair = self.pairs[name]
        return EdgeCertificate(name=name, version=pair.chain[-40:], chain=pair.chain, key=pair.key)

    def versions(self):
        return [CertificateVersion(name=name, version=pair.chain[-40:]) for name, pair in self.pairs.items()]


class Edge:
    def __init__(self, path, control, edges=(OWN, OTHER)):
        self.store = StateStore(path / "kept.sqlite", KEY)
        self.certificates = Certificates()
        self.counters = Counter()
        self.control = control
        self.fetched = FetchedCertificates(
            control, "boot", self.store, self.certificates, lambda: list(edges), self.counters, retry=0.05
        )
        self.fetched.load()

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.fetched.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def names(self):
        return set(self.certificates.expiries())

    def shown(self, name):
        client = trusting(*PAIRS.values(), AGAIN, self_signed(OWN, days=31), self_signed(DOMAIN, days=-1))
        client.check_hostname = False
        return ssl.DER_cert_to_PEM_cert(handshake(self.certificates.context, client, name).getpeercert(True))


@pytest.fixture
def edge(tmp_path):
    made = Edge(tmp_path, Control(PAIRS))
    yield made
    made.store.close()


def test_they_are_fetched_and_a_new_one_takes_its_place_without_a_restart(edge):
    async def main():
        async with edge.running():
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.names() == set(PAIRS))
            for name, pair in PAIRS.items():
                assert edge.shown(name) == pair.chain
            assert edge.shown(None) == edge.shown("else.example.com") == PAIRS[OWN].chain
            edge.control.asked.clear()
            edge.control.pairs[DOMAIN] = AGAIN
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.shown(DOMAIN) == AGAIN.chain)
            assert edge.control.asked == [[DOMAIN]]
            del edge.control.pairs[DOMAIN]
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.names() == {OWN, OTHER})
            assert edge.shown(DOMAIN) == PAIRS[OWN].chain

    asyncio.run(main())
    assert {name for name, _ in edge.store.load("certificate")} == {OWN, OTHER}


def test_they_survive_a_restart_in_the_dark_sealed(tmp_path, edge):
    async def main():
        async with edge.running():
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.names() == set(PAIRS))

    asyncio.run(main())
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"PRIVATE KEY" not in kept
    assert b"CERTIFICATE" not in kept
    again = Edge(tmp_path, edge.control)
    edge.control.answers = False
    assert again.names() == set(PAIRS)
    assert again.shown(None) == PAIRS[OWN].chain
    again.store.close()
    # What can't be read is left out, and asked for again.
    edge.store.keep("certificate", [(DOMAIN, b"of another version")])
    third = Edge(tmp_path, edge.control)
    assert third.names() == {OWN, OTHER}
    third.store.close()


def test_one_that_has_ended_in_the_dark_is_still_shown_and_its_end_told(edge):
    """Some phones don't look, and for those that do no certificate at all is no better."""
    ended = self_signed(DOMAIN, days=-1)
    edge.control.pairs[DOMAIN] = ended

    async def main():
        async with edge.running():
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.names() == set(PAIRS))

    asyncio.run(main())
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        edge.shown(DOMAIN)
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    shown = handshake(edge.certificates.context, careless, DOMAIN).getpeercert(True)
    assert ssl.DER_cert_to_PEM_cert(shown) == ended.chain
    assert edge.certificates.expiries()[DOMAIN] < datetime.now(UTC)


def test_it_goes_on_asking_for_what_it_has_not_got(edge):
    late = edge.control.pairs.pop(DOMAIN)
    wanted = [*edge.control.versions(), CertificateVersion(name=DOMAIN, version=late.chain[-40:])]

    async def main():
        async with edge.running():
            edge.control.answers = False
            edge.fetched.told(wanted)
            await until(lambda: len(edge.control.asked) >= 2)
            edge.control.answers = True
            await until(lambda: edge.names() == {OWN, OTHER})
            edge.control.pairs[DOMAIN] = late  # it has come to this Region
            await until(lambda: edge.names() == set(PAIRS))
            asked = len(edge.control.asked)
            await asyncio.sleep(0.12)
            assert len(edge.control.asked) == asked

    asyncio.run(main())


def test_what_cannot_be_used_leaves_those_of_before(edge):
    async def main():
        async with edge.running():
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.names() == set(PAIRS))
            edge.control.pairs[DOMAIN] = replace(AGAIN, key=PAIRS[OWN].key)
            edge.fetched.told(edge.control.versions())
            await until(lambda: edge.counters["certificate_failures"])
            assert edge.shown(DOMAIN) == PAIRS[DOMAIN].chain

    asyncio.run(main())


def test_strangers_are_shown_an_edges_name_before_a_tenants_domain(tmp_path):
    control = Control({name: PAIRS[name] for name in (OTHER, DOMAIN)})
    edge = Edge(tmp_path, control)

    async def main():
        async with edge.running():
            edge.fetched.told(control.versions())
            await until(lambda: edge.names() == {OTHER, DOMAIN})

    asyncio.run(main())
    assert edge.shown(None) == PAIRS[OTHER].chain
    edge.store.close()


def test_many_are_fetched_some_at_a_time(edge):
    wanted = [CertificateVersion(name=f"{number}.example.com", version="1") for number in range(45)]

    async def main():
        async with edge.running():
            edge.fetched.told(wanted)
            await until(lambda: len(edge.control.asked) >= 3)

    asyncio.run(main())
    assert [len(names) for names in edge.control.asked[:3]] == [20, 20, 5]
