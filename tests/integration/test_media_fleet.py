"""A call whose media are relayed, across two edges: the engine is at the caller's, and outlives its process."""

from __future__ import annotations

import asyncio
import shutil
import urllib.request
from pathlib import Path

import pytest

from scripts.fleet_parts import DOMAIN
from scripts.processes import wait_for
from tests.integration.test_plan_scripts import phones
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.media import MediaEnd, description, port_of
from tests.support.socket_phone import call, in_dialog

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("rtpengine") is None, reason="rtpengine isn't installed"),
]


@pytest.fixture
def relaying(tmp_path):
    """A fleet that this test may break."""
    made = loopback_fleet(tmp_path, fresh_base(), 2)
    for edge in made.edges:
        edge.settings["media"] = "rtpengine"
    try:
        made.start()
        yield made
    finally:
        made.stop()


def size(edge, kind):
    """What its metrics say."""
    with urllib.request.urlopen(f"http://{edge.metrics}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith(f'sipwizard_size{{kind="{kind}"}}'))


def test_a_relayed_call_is_heard_while_its_edge_is_dead(relaying):
    fleet, (home, other) = relaying, relaying.edges
    one, two = MediaEnd(home.address, 1), MediaEnd(other.address, 2)
    engine = Path(fleet.directory, f"{home.id}.state", "engines", f"{home.address}.pid")

    async def both_hear():
        one.send(home.address, to_two)
        two.send(home.address, to_one)
        return [await one.hears(), await two.hears()]

    with phones(fleet, "alice", "bob") as (alice, bob):
        alice.agent.sdp, bob.agent.sdp = (description(end.host, end.port) for end in (one, two))
        _, theirs = call(alice, bob, f"sip:bob@{DOMAIN}")
        to_one = port_of(bob.agent.requests("INVITE")[0].body)
        to_two = port_of(alice.agent.responses("INVITE")[-1].body)
        assert asyncio.run(both_hear()) == [2, 1]
        assert [size(home, kind) for kind in ("media_engines", "media_sessions", "media_ports")] == [1, 1, 4]
        assert size(other, "media_sessions") == 0
        assert fleet.client.health(home)["media"] == "on"

        pid = engine.read_text()
        fleet.processes.kill(home.id)
        assert asyncio.run(both_hear()) == [2, 1]
        fleet.start_edge(home)
        fleet.wait_ready(home)
        wait_for("the engine", lambda: size(home, "media_sessions") == 1, 5)
        assert engine.read_text() == pid
        in_dialog(bob, theirs, "INVITE", alice)  # from the other edge
        assert asyncio.run(both_hear()) == [2, 1]
        in_dialog(bob, theirs, "BYE", alice)
        wait_for("the end of the session", lambda: size(home, "media_sessions") == 0, 5)
    fleet.stop()
    wait_for("the end of the engine", lambda: not Path("/proc", pid.strip()).exists(), 5)
