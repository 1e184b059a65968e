"""Linphone, by its daemon: commands on standard input, events on standard output."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from scripts.processes import StartError
from tests.support.phones.phone import PATIENCE, SIP_PORT, Phone

SETTINGS = """
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
use_ipv6={ipv6}
root_ca={authority}
verify_server_certs=1
verify_server_cn=1
default_proxy=0
[rtp]
audio_rtp_port=7078
[sound]
playback_dev_id=none
[video]
enabled=0
capture=0
display=0
[auth_info_0]
username={user}
passwd={password}
realm={domain}
domain={domain}
[proxy_0]
reg_proxy=<sip:{proxy};transport={transport}>
reg_route=<sip:{proxy};transport={transport};lr>
reg_identity=sip:{user}@{domain}
reg_expires={expires}
reg_sendregister=1
publish=0
"""


def _state(name: str) -> str:
    return rf"Event: LinphoneCall{name}\nFrom: .*\nId: (\d+)"


class Linphone(Phone):
    """Its calls have numbers; ``_calls`` are those under way."""

    program = "linphone-daemon"
    saying = {
        "registered": "State: LinphoneRegistrationOk",
        "refused": "SSL handshake failed : X509 - Certificate verification failed",
        "rings": _state("IncomingReceived"),
        "ringing": _state("OutgoingRinging"),
        "connected": _state("StreamsRunning"),
        "held": _state("Paused"),
        "ended": _state("(?:End|Error)"),
    }

    def configure(self) -> None:
        (self.directory / ".local" / "share" / "linphone").mkdir(parents=True, exist_ok=True)  # it makes none itself
        ports = {"udp": 0, "tcp": 0, "tls": 0, self.transport: SIP_PORT}
        settings = SETTINGS.format(
            **ports,
            ipv6=int(":" in self.host.address),
            authority=self.authority or "",
            user=self.account.username,
            password=self.account.password,
            domain=self.domain,
            proxy=self.proxy,
            transport=self.transport,
            expires=self.expires,
        )
        (self.directory / "linphonerc").write_text(settings)
        self._calls: list[str] = []

    def command(self) -> Sequence[str]:
        return [self.program, "--config", str(self.directory / "linphonerc"), "--disable-stats-events"]

    def wait(self, name: str, seconds: float = PATIENCE) -> re.Match[str]:
        if name == "registered":
            return self._ask_until_registered(seconds)
        found = super().wait(name, seconds)
        if name in ("rings", "ringing"):
            self._calls.append(found.group(1))
        elif name == "ended" and found.group(1) in self._calls:
            self._calls.remove(found.group(1))
        return found

    def _ask_until_registered(self, seconds: float) -> re.Match[str]:
        """There is no event for it."""
        end = time.monotonic() + seconds
        while True:
            self.say("register-status ALL")
            try:
                return super().wait("registered", 0.5)
            except StartError:
                if time.monotonic() > end:
                    raise

    def answer(self) -> None:
        self.say(f"answer {self._calls[-1]}")

    def hang_up(self) -> None:
        self.say(f"terminate {self._calls[-1]}")

    def hold(self) -> None:
        self.say(f"call-pause {self._calls[-1]}")

    def resume(self) -> None:
        self.say(f"call-resume {self._calls[-1]}")

    def transfer(self, uri: str) -> None:
        self.say(f"call-transfer {self._calls[-1]} {uri}")

    def consult(self, uri: str) -> None:
        self.call(uri)

    def join(self) -> None:
        self.say(f"call-transfer {self._calls[-2]} {self._calls[-1]}")
