"""Two phones of the kind under test behind one NAT, at edge-a, one by UDP and one by TCP; their peers are outside, at
edge-b."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator

import pytest

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, SIP, Host
from tests.natlab.conftest import laboratory
from tests.phones.peer import Peer
from tests.support.natlab import NatLab, ipv6_of
from tests.support.phones.phone import Phone

PLACES = {"udp": ("bob", "phone"), "tcp": ("dave", "phone2")}
"""By transport: the account, and the namespace of the phone that has it."""


@pytest.fixture(scope="class")
def kind(request: pytest.FixtureRequest) -> type[Phone]:
    """What is tried. CI must not skip it, unless there is none for this Python."""
    found: type[Phone] = request.cls.kind
    if found.module and importlib.util.find_spec(found.module) is None:
        pytest.skip(f"{found.module} has no wheel for this Python")
    if shutil.which(found.program) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{found.program} isn't installed")
    return found


@pytest.fixture(scope="class")
def lab() -> Iterator[NatLab]:
    with laboratory(NatLab) as made:
        yield made


@pytest.fixture(scope="class")
def fleet(lab: NatLab, kind: type[Phone], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentFleet]:
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="class")
def phones(
    lab: NatLab, fleet: DevelopmentFleet, kind: type[Phone], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Phone]]:
    directory = tmp_path_factory.mktemp("phones")
    made: dict[str, Phone] = {}
    try:
        for transport in kind.transports:
            user, place = PLACES[transport]
            edge = (lab.host("edge-a").address, SIP)
            made[transport] = kind(directory, fleet.accounts[user], DOMAIN, lab.host(place), edge, transport)
            made[transport].start()
        yield made
    finally:
        for phone in made.values():
            phone.stop()


@pytest.fixture(params=["udp", "tcp"])
def phone(request: pytest.FixtureRequest, phones: dict[str, Phone]) -> Phone:
    if request.param not in phones:
        pytest.skip("it has no TCP")
    return phones[request.param]


def _peer(lab: NatLab, fleet: DevelopmentFleet, user: str) -> Iterator[Peer]:
    """By IPv6 where the fleet has it."""
    edge = fleet.edges[1]
    host = Host(ipv6_of(lab.host("caller")), lab.ns("caller")) if edge.address6 else lab.host("caller")
    with Peer(fleet.accounts[user], DOMAIN, host, (edge.address6 or edge.address, SIP)) as made:
        assert made.register() == 200
        made.agent.received.clear()
        yield made
        made.transact(made.agent.register_request(0))


@pytest.fixture
def alice(lab: NatLab, fleet: DevelopmentFleet) -> Iterator[Peer]:
    yield from _peer(lab, fleet, "alice")


@pytest.fixture
def carol(lab: NatLab, fleet: DevelopmentFleet) -> Iterator[Peer]:
    yield from _peer(lab, fleet, "carol")
