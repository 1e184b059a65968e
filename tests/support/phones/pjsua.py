"""pjsua2: the library in a process of its own, ``pjsua_process``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.fleet_parts import ROOT
from tests.support.phones.phone import SIP_PORT, Phone


class Pjsua(Phone):
    """``tone`` is a WAV file that it says again and again."""

    tone: Path | None = None
    program = sys.executable
    module = "pjsua2"
    saying = {
        "registered": r"^registered 200 .*",
        "refused": r"^refused .*identity.*",
        "rings": r"^call INCOMING .*",
        "ringing": r"^call EARLY 180.*",
        "connected": r"^call CONFIRMED .*",
        "held": r"^held",
        "ended": r"^call DISCONNECTED .*",
    }

    def command(self) -> Sequence[str]:
        settings = {
            "user": self.account.username,
            "password": self.account.password,
            "domain": self.domain,
            "proxy": f"sip:{self.proxy};transport={self.transport};lr",
            "transport": self.transport,
            "port": SIP_PORT,
            "expires": self.expires,
            "authority": str(self.authority or ""),
            "tone": str(self.tone or ""),
        }
        return [self.program, "-u", "-m", "tests.support.phones.pjsua_process", json.dumps(settings)]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(ROOT)}

    def hang_up(self) -> None:
        self.say("hang_up")

    def resume(self) -> None:
        self.say("resume")

    def consult(self, uri: str) -> None:
        self.call(uri)

    def join(self) -> None:
        self.say("join")
