"""pyVoIP: the library in a process of its own, ``pyvoip_process``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from scripts.fleet_parts import ROOT
from tests.support.phones.phone import SIP_PORT, Phone


class Pyvoip(Phone):
    program = sys.executable
    module = "pyVoIP"
    transports = ("udp",)
    saying = {"registered": "^registered", "rings": "^call RINGING", "connected": "^call ANSWERED"}

    def command(self) -> Sequence[str]:
        address, _, port = self.proxy.partition(":")
        settings = {
            "user": self.account.username,
            "password": self.account.password,
            "server": address,
            "server_port": int(port),
            "address": self.host.address,
            "port": SIP_PORT,
        }
        return [self.program, "-u", "-m", "tests.support.phones.pyvoip_process", json.dumps(settings)]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(ROOT)}
