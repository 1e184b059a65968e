"""A web phone and a desk phone hear each other again by themselves when the engine between them has died."""

from __future__ import annotations

import os
import signal
import time

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP
from tests.browsers.conftest import TONE
from tests.support.ears import hear
from tests.support.pace import slowness

pytestmark = pytest.mark.natlab

ITS_TONE = 700
BACK = 15.0  # seconds


def test_media_are_negotiated_anew(fleet, lab, jssip, tmp_path):
    """The next engine goes on with the keys, but knows nothing of the browser's ICE."""
    place, at = lab.host("phone"), f"{lab.host('edge-b').address}:{SIP}"
    with Baresip(tmp_path, fleet.accounts["carol"], DOMAIN, at, place, "eth0", 5080, 4440, tone=ITS_TONE) as desk:
        assert desk.registered()
        jssip.do("call", f"sip:carol@{DOMAIN}")
        desk.wait("CALL_INCOMING")
        desk.command("accept")
        jssip.wait("connected")
        jssip.hears()
        begun = time.monotonic()
        for file in fleet.directory.glob("*.state/engines/*.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)
        jssip.hears()
        heard = time.monotonic() - begun
        jssip.wait("mended", BACK * slowness())
        jssip.hears()
        assert time.monotonic() - begun < BACK * slowness()
        print(f"heard again after {heard:.1f} s, and by a new offer after {time.monotonic() - begun:.1f} s")
        hear([(jssip, ITS_TONE), (desk, TONE)])
        jssip.do("hangUp")
        jssip.wait("ended")
        desk.wait("CALL_CLOSED")
