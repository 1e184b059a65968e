"""Two browsers behind two NATs, whose keys (DTLS-SRTP) nobody but they have: the machine that relays dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from scripts.browser import Browser
from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, WSS, Host
from scripts.tones import write_tone
from scripts.web_pages import PageServer, make_page
from scripts.web_phone import WebPhone
from tests.browsers.conftest import KINDS, server
from tests.natlab.conftest import laboratory
from tests.natlab.test_media_survival import MEDIAN, kill_machine
from tests.support.cloudlab import CloudLab
from tests.support.ears import hear
from tests.support.pace import slowness

pytestmark = pytest.mark.natlab

PLACES = {"alice": ("phone", "edge-a", 450), "bob": ("phone3", "edge-b", 700)}


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudLab]:
    with laboratory(CloudLab) as made:
        yield made


@pytest.fixture(scope="module")
def pages(cloud: CloudLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PageServer]]:
    """Where each of the two has its page from: its own machine."""
    directory = tmp_path_factory.mktemp("pages")
    make_page(KINDS["jssip"], directory)
    made = {name: PageServer(directory, Host("127.0.0.1", cloud.ns(place))) for name, (place, *_) in PLACES.items()}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture(scope="module")
def fleet(cloud: CloudLab, pages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentFleet]:
    made = cloud.fleet(tmp_path_factory.mktemp("cloud") / "fleet")
    chain, key = made.ca.issue([f"{edge.id}.{DOMAIN}" for edge in made.edges], made.directory)
    for edge in made.edges:
        edge.settings |= {
            "media": "rtpengine",
            "origins": [page.origin for page in pages.values()],
            "certificates": [{"chain": str(chain), "key": str(key)}],
        }
        for name in ("listen", "spare_listen"):
            host = edge.settings[name][0].removeprefix("udp://").partition(":")[0]
            edge.settings[name] = [*edge.settings[name], f"wss://{host}:{WSS}"]
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def phones(cloud, fleet, pages, tmp_path) -> Iterator[tuple[WebPhone, WebPhone]]:
    names = {f"{edge}.{DOMAIN}": cloud.address(edge) for edge in cloud.names}
    with ExitStack() as stack:
        made = []
        for name, (place, edge, tone) in PLACES.items():
            home = tmp_path / name
            home.mkdir()
            write_tone(home / "tone.wav", tone)
            browser = stack.enter_context(Browser(home, cloud.host(place), fleet.ca.path, names, home / "tone.wav"))
            made.append(WebPhone(browser, pages[name].origin, fleet.accounts[name], DOMAIN, server(edge)))
        yield made[0], made[1]


def test_a_call_of_two_browsers_goes_on_when_the_machine_dies_that_relays_it(cloud, fleet, phones):
    """With the keys and the ICE that they had: nothing is negotiated before they hear each other again."""
    alice, bob = phones
    alice.do("call", bob.uri)
    bob.wait("rings")
    bob.do("answer")
    for phone in phones:
        phone.wait("connected")
    both = [(alice, PLACES["bob"][2]), (bob, PLACES["alice"][2])]
    hear(both)
    begun = time.monotonic()
    kill_machine(fleet, cloud)
    time.sleep(1)
    for phone in phones:
        phone.hears()
    took = time.monotonic() - begun
    assert not any("mended" in phone.says for phone in phones)
    print(f"silence of {took:.1f} s at most")
    assert took < MEDIAN * slowness()
    alice.wait("mended")  # its edge is another one
    hear(both)
