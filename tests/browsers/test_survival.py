"""Two browsers behind two NATs, whose keys (DTLS-SRTP) nobody but they have: the machine that relays dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scripts.browser import Browser
from scripts.fleet_parts import DOMAIN, WSS, Host
from scripts.tones import listen, record, write_tone
from scripts.web_pages import PageServer, make_page
from scripts.web_phone import WebPhone
from tests.browsers.conftest import KINDS, server
from tests.natlab.conftest import laboratory
from tests.natlab.test_media_survival import MEDIAN, home_again, kill_machine
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
def phones(cloud, tmp_path_factory):
    """The fleet, and the two by name, who negotiate nothing anew by themselves."""
    directory = tmp_path_factory.mktemp("survival")
    make_page(KINDS["jssip"], directory / "pages")
    fleet = cloud.fleet(directory / "fleet")
    with ExitStack() as stack:
        pages = {name: PageServer(directory / "pages", Host("127.0.0.1", cloud.ns(place))) for name, (place, *_) in PLACES.items()}
        for page in pages.values():
            stack.callback(page.close)
        for edge in fleet.edges:
            edge.settings |= {"media": "rtpengine", "origins": [page.origin for page in pages.values()]}
            chain, key = fleet.ca.issue([f"{edge.id}.{DOMAIN}" for edge in fleet.edges], fleet.directory)
            edge.settings["certificates"] = [{"chain": str(chain), "key": str(key)}]
            for key in ("listen", "spare_listen"):
                host = edge.settings[key][0].removeprefix("udp://").partition(":")[0]
                edge.settings[key] = [*edge.settings[key], f"wss://{host}:{WSS}"]
        stack.callback(fleet.stop)
        fleet.start()
        names = {f"{edge}.{DOMAIN}": cloud.address(edge) for edge in cloud.names}
        made = {}
        for name, (place, edge, tone) in PLACES.items():
            home = directory / name
            home.mkdir()
            write_tone(home / "tone.wav", tone)
            browser = stack.enter_context(Browser(home, cloud.host(place), fleet.ca.path, names, home / "tone.wav"))
            made[name] = WebPhone(browser, pages[name].origin, fleet.accounts[name], DOMAIN, server(edge))
        yield fleet, made["alice"], made["bob"]


def test_keys_of_both_ends_pass_through_over_a_kill(cloud, phones):
    fleet, alice, bob = phones
    alice.do("call", bob.uri)
    bob.wait("rings")
    bob.do("answer")
    for phone in (alice, bob):
        phone.wait("connected")
    both = [(alice, PLACES["bob"][2]), (bob, PLACES["alice"][2])]
    hear(both)
    kill_machine(fleet, cloud)
    tapes = record([alice, bob], MEDIAN * slowness() + 2)
    heard = [listen(tape, tone) for tape, (_, tone) in zip(tapes, both, strict=True)]
    print(f"silence of {heard}")
    hear(both)
    home_again(fleet, cloud)
    hear(both)
    print(alice.says, bob.says)
