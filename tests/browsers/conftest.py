"""Web phones in one browser: JsSIP at edge-a, SIP.js at edge-b, by WSS with certificates that are checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.browser import Browser
from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, WSS, Host
from scripts.tones import write_tone
from scripts.web_pages import SOURCES, PageServer, make_page
from scripts.web_phone import WebPhone
from tests.natlab.conftest import laboratory
from tests.support.natlab import WAN, NatLab

PLACE = "caller"  # the namespace of the browser
TONE = 950  # Hz, of its microphone
KINDS = {"jssip": SOURCES / "index.html", "sipjs": Path(__file__).parent / "sipjs" / "index.html"}


@pytest.fixture(scope="module")
def lab() -> Iterator[NatLab]:
    for program in ("chromium", "certutil", "npm"):
        if shutil.which(program) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} isn't installed")
    with laboratory(NatLab) as made:
        yield made


@pytest.fixture(scope="module")
def pages(lab: NatLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """Those of all kinds, under their names, at the browser itself: pages from elsewhere would have to come by HTTPS to
    have a microphone."""
    directory = tmp_path_factory.mktemp("pages")
    for kind, source in KINDS.items():
        make_page(source, directory / kind)
    made = PageServer(directory, Host("127.0.0.1", lab.ns(PLACE)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def fleet(lab: NatLab, pages: PageServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentFleet]:
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    for edge in made.edges:
        edge.settings |= {"origins": [pages.origin], "provider_networks": [f"{WAN}.0/24"], "media": "rtpengine"}
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def browser(lab: NatLab, fleet: DevelopmentFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    names = {f"{edge}.{DOMAIN}": lab.host(edge).address for edge in ("edge-a", "edge-b")}
    hosts = {**names, "elsewhere.example.com": lab.host("edge-a").address}
    directory = tmp_path_factory.mktemp("browser")
    microphone = directory / "microphone.wav"
    write_tone(microphone, TONE)
    with Browser(directory, lab.host(PLACE), fleet.ca.path, hosts, microphone) as made:
        yield made


def server(edge: str) -> str:
    return f"wss://{edge}.{DOMAIN}:{WSS}"


@pytest.fixture(scope="module")
def jssip(browser: Browser, pages: PageServer, fleet: DevelopmentFleet) -> Iterator[WebPhone]:
    with WebPhone(browser, f"{pages.origin}/jssip/", fleet.accounts["alice"], DOMAIN, server("edge-a")) as made:
        yield made


@pytest.fixture(scope="module")
def sipjs(browser: Browser, pages: PageServer, fleet: DevelopmentFleet) -> Iterator[WebPhone]:
    with WebPhone(browser, f"{pages.origin}/sipjs/", fleet.accounts["bob"], DOMAIN, server("edge-b")) as made:
        yield made
