"""An office: fifty phones (baresip) behind one NAT switched on at once, one of them with a wrong password. The others
stay up, and nobody is banned."""

from __future__ import annotations

import time

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP, PhoneAccount
from scripts.processes import wait_for
from tests.natlab.conftest import laboratory
from tests.support.natlab import NatLab
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.natlab
DESKS, LINES = 10, 5
PATIENCE = 90.0  # seconds for all of them to be registered, on a busy machine


@pytest.fixture
def office(tmp_path):
    """A laboratory, its fleet, and desks with so many lines each, not yet switched on."""
    with laboratory(NatLab) as lab:
        fleet = lab.fleet(tmp_path)
        desks = []
        try:
            fleet.start()
            for desk in range(DESKS):
                lines = [_account(fleet, f"desk{desk}line{line}") for line in range(LINES)]
                if not desk:
                    lines[-1] = PhoneAccount(lines[-1].aor, lines[-1].username, "not-its-password")
                desks.append(_desk(tmp_path, lab, desk, lines))
            yield lab, fleet, desks
        finally:
            for desk in desks:
                desk.stop()
            fleet.stop()


def _account(fleet, name):
    made = fleet.client.api("POST", "/v1/accounts", {"username": name, "domain": DOMAIN})
    return PhoneAccount(made["aor"], made["username"], made["password"])


def _desk(directory, lab, number, lines):
    proxy = f"{lab.host('edge-a').address}:{SIP}"
    made = Baresip(directory, lines[0], DOMAIN, proxy, lab.host("phone"), "eth0", 6000 + 10 * number, 7000 + number)
    accounts = directory / f"baresip-{lines[0].username}" / "accounts"
    first = accounts.read_text()
    with accounts.open("a") as file:
        for line in lines[1:]:
            file.write(
                first.replace(lines[0].username, line.username)
                .replace(lines[0].password, line.password)
                .replace("regint=600", "regint=20")  # the wrong one insists
            )
    return made


def test_an_office_stays_up_with_one_wrong_password_among_its_phones(office):
    lab, fleet, desks = office
    edge = fleet.edges[0]
    begun = time.monotonic()
    for desk in desks:
        desk.start()

    def registered():
        return fleet.client.health(edge)["bindings"] == DESKS * LINES - 1

    wait_for("all phones but one are registered", registered, PATIENCE)
    print(f"{DESKS * LINES - 1} phones registered within {time.monotonic() - begun:.1f} s")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert registered()
        time.sleep(1)  # what is watched is that nothing happens
    assert not fleet.client.api("GET", "/v1/bans")["items"]
    events = fleet.client.events(edge)
    assert events.get("banned", 0) == 0
    with SocketPhone(fleet.accounts["alice"], DOMAIN, lab.host("caller"), (lab.host("edge-b").address, SIP)) as alice:
        assert alice.register() == 200
        invite = alice.invite(f"sip:desk9line4@{DOMAIN}")
        alice.wait(lambda: 180 in alice.agent.statuses("INVITE", invite.get("call-id")))
