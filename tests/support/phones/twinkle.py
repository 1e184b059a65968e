"""Twinkle, by its console."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.phones.phone import SIP_PORT, Phone

_SYSTEM = """sip_port={port}
rtp_port=8000
dev_ringtone=alsa:null
dev_speaker=alsa:null
dev_mic=alsa:null
validate_audio_dev=no
log_show_sip=yes
"""
_USER = """user_name={user}
user_domain={domain}
auth_name={user}
auth_pass={password}
outbound_proxy={proxy}
registration_time={expires}
register_at_startup=yes
sip_transport={transport}
use_stun=no
zrtp_enabled=no
pres_publish_startup=no
mwi_sollicited=no
ask_user_to_refer=no
"""


class Twinkle(Phone):
    """It has two lines; a consultation is on the second one."""

    program = "twinkle-console"
    saying = {
        "registered": r"registration succeeded",
        "rings": r"Line \d: incoming call",
        "ringing": r"received 180 ",
        "connected": r"call established|far end answered call",
        "held": r"re-INVITE successful",
        "ended": r"Line \d: (call ended|far end (ended call|cancelled call)|call (failed|cancelled|rejected))",
    }

    def configure(self) -> None:
        settings = self.directory / ".twinkle"
        settings.mkdir(exist_ok=True)
        (settings / "twinkle.sys").write_text(_SYSTEM.format(port=SIP_PORT))
        (settings / "phone.cfg").write_text(
            _USER.format(
                user=self.account.username,
                password=self.account.password,
                domain=self.domain,
                proxy=self.proxy,
                expires=self.expires,
                transport=self.transport,
            )
        )

    def command(self) -> Sequence[str]:
        return [self.program, "phone.cfg"]

    def hang_up(self) -> None:
        self.say("bye")

    def decline(self) -> None:
        self.say("reject")

    def resume(self) -> None:
        self.say("retrieve")

    def consult(self, uri: str) -> None:
        self.say(f"transfer -c {uri}")

    def join(self) -> None:
        self.say("transfer -c")
