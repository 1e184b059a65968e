"""Who gets a certificate's private key: an edge that lives, for names that it may serve, so many in a minute."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lambdas.api.edges.certificates import certificates
from lambdas.api.problems import Problem
from lambdas.contract import CertificatesRequest, EdgePlace
from lambdas.decisions.certificates import Certified
from lambdas.repositories.certificates import Bundle
from lambdas.repositories.vault import Unsealed, Vault
from lambdas.services.certificates import CertificateReader
from lambdas.services.environment import Environment
from lambdas.services.quotas import Quotas

A, B = "203.0.113.11", "203.0.113.12"
OWN, OTHER, DOMAIN, WAITING = "edge-a.voip.test", "edge-b.voip.test", "pbx.example.com", "new.example.com"
BOOT = "b007"
SECRET = "-----BEGIN PRIVATE KEY-----"


class Table:
    def __init__(self):
        states = [Certified(OWN, "", "1"), Certified(OTHER, "", "1"), Certified(DOMAIN, "t1", "1")]
        self.states = {one.name: one for one in [*states, Certified(WAITING, "t1")]}

    def all(self):
        return self.states

    def bundle(self, name):
        return Bundle(name, "1", "chain", f"{SECRET} of {name}")


class Services:
    def __init__(self):
        places = [EdgePlace(address=A, name=OWN), EdgePlace(address=B, name=OTHER), EdgePlace(address="203.0.113.13")]
        self.certificates = CertificateReader(Table(), "https://ca.test/dir", lambda: places)
        self.fleet = SimpleNamespace(lives=lambda edge, boot: (edge, boot) == ("edge-a", BOOT))
        self.quotas = Quotas.of(Environment())
        self.noted = []
        self.tables = SimpleNamespace(events=SimpleNamespace(add=lambda tenant, event: self.noted.append(event)))

    def clock(self):
        return 1_800_000_000.0


@pytest.fixture
def services():
    return Services()


def edge(*addresses):
    return SimpleNamespace(id="edge-a", addresses=list(addresses))


def given(services, item, *names, boot=BOOT):
    reply = certificates(CertificatesRequest(version=9, boot=boot, names=list(names)), item, services)
    return {one.name: one.key for one in reply.certificates}


def test_an_edge_gets_those_of_domains_and_of_the_addresses_that_it_may_hold(services):
    wanted = (OWN, OTHER, DOMAIN, WAITING, "nobodys.example.com")
    assert given(services, edge(A), *wanted) == {name: f"{SECRET} of {name}" for name in (OWN, DOMAIN)}
    assert set(given(services, edge(A, B), *wanted)) == {OWN, OTHER, DOMAIN}
    assert set(given(services, edge("203.0.113.13"), *wanted)) == {DOMAIN}
    # And it is told of no others.
    assert {one.name for one in services.certificates.versions(edge(A)).all} == {OWN, DOMAIN}
    assert services.certificates.versions(edge(A)).version != services.certificates.versions(edge(A, B)).version


def test_whoever_has_an_edges_key_and_is_not_the_edge_gets_nothing(services):
    with pytest.raises(Problem) as caught:
        given(services, edge(A), OWN, boot="another")
    assert caught.value.status == 409
    assert not services.noted


def test_each_giving_is_noted_without_the_keys(services):
    given(services, edge(A), OWN, DOMAIN)
    (event,) = services.noted
    assert (event.kind, event.about) == ("audit", "edge-a")
    assert event.text == f"edge edge-a was given the certificates and keys of {OWN}, {DOMAIN}"
    assert SECRET not in repr(Table().bundle(OWN))


def test_so_many_requests_in_a_minute_and_no_more(services):
    for _ in range(30):
        given(services, edge(A), OWN)
    with pytest.raises(Problem) as caught:
        given(services, edge(A), OWN)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "60")


def test_so_many_names_in_a_request_and_no_more():
    with pytest.raises(ValueError, match="at most 20"):
        CertificatesRequest(version=9, boot=BOOT, names=["a.example.com"] * 21)


def test_a_key_is_sealed_for_its_name_and_as_what_it_is(monkeypatch, tmp_path):
    key = tmp_path / "secrets.key"
    key.write_text("a2V5IG9mIDMyIG9jdGV0cywgaW4gYmFzZTY0IQAAAAA=")
    monkeypatch.setenv("SECRETS_KEY_FILE", str(key))
    monkeypatch.delenv("SECRETS_KEY_ID", raising=False)
    vault = Vault()
    sealed = vault.seal("certificate", DOMAIN, SECRET)
    assert SECRET not in sealed
    assert vault.open("certificate", DOMAIN, sealed) == SECRET
    for kind, owner in [("certificate", OWN), ("provider", DOMAIN), ("acme", DOMAIN), ("hook", DOMAIN)]:
        with pytest.raises(Unsealed):
            vault.open(kind, owner, sealed)
