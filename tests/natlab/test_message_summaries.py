"""A real phone (baresip) behind a NAT subscribes to its account's messages; the voicemail system is at another edge."""

from __future__ import annotations

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP
from scripts.processes import wait_for
from tests.natlab.conftest import laboratory
from tests.support.natlab import NatLab
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.natlab


@pytest.fixture(scope="module")
def lab():
    with laboratory(NatLab) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(lab, tmp_path_factory):
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_a_phone_shows_how_many_messages_wait(lab, fleet, tmp_path):
    proxy = f"{lab.host('edge-a').address}:{SIP}"
    bob = Baresip(tmp_path, fleet.accounts["bob"], DOMAIN, proxy, lab.host("phone"), "eth0", 5080, 4450)
    config = tmp_path / "baresip-bob" / "config"
    config.write_text(f"{config.read_text()}module_app mwi.so\n")
    log = tmp_path / "baresip-bob" / "phone.log"

    def shown(text):
        wait_for(text, lambda: text in log.read_text(errors="replace"), 20)

    try:
        bob.start()
        assert bob.registered()
        shown("Messages-Waiting: no")
        edge = (lab.host("edge-b").address, SIP)
        with SocketPhone(fleet.accounts["alice"], DOMAIN, lab.host("caller"), edge) as system:
            assert system.register() == 200
            lines = ["Event: message-summary", "Content-Type: application/simple-message-summary"]
            body = b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
            notify = system.agent.request("NOTIFY", f"sip:bob@{DOMAIN}", headers=lines, body=body)
            system.send(notify.to_bytes())
            challenge = system.wait(lambda: system.agent.final(notify))
            notify = system.agent.authorize(notify, challenge)
            system.send(notify.to_bytes())
            assert system.wait(lambda: system.agent.final(notify)).status == 200
            shown("Voice-Message: 2/8 (0/2)")
    finally:
        bob.stop()
