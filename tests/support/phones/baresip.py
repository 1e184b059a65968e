"""baresip, with what is asked of phones in the words of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from scripts import baresip
from scripts.fleet_parts import Host, PhoneAccount
from scripts.processes import StartError
from tests.support.phones.phone import PATIENCE, SIP_PORT

_CONTROL = 4450
_EVENTS = {
    "rings": "CALL_INCOMING",
    "ringing": "CALL_RINGING",
    "connected": "CALL_ESTABLISHED",
    "ended": "CALL_CLOSED",
}


class Baresip(baresip.Baresip):
    """As ``Phone``, of the family that ``host`` is of. What is issued by whom it doesn't check, whatever it is told."""

    def __init__(
        self,
        directory: Path,
        account: PhoneAccount,
        domain: str,
        host: Host,
        proxy: tuple[str, int],
        transport: str = "udp",
        authority: Path | None = None,
    ) -> None:
        self.account = account
        name, port = proxy
        at = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        super().__init__(
            directory, account, domain, at, host, host.address, SIP_PORT, _CONTROL, transport, authority, outbound=True
        )

    def start(self) -> Self:
        """Begin, and be registered."""
        super().start()
        if not self.registered():
            raise StartError("baresip didn't register")
        return self

    def wait(self, kind: str, seconds: float = PATIENCE) -> dict[str, Any]:
        return super().wait(_EVENTS[kind], seconds)

    def call(self, uri: str) -> None:
        self.command("dial", uri)

    def answer(self) -> None:
        self.command("accept")

    def hang_up(self) -> None:
        self.command("hangup")

    def decline(self) -> None:
        self.hang_up()

    def hold(self) -> None:
        self.command("hold")

    def resume(self) -> None:
        self.command("resume")

    def transfer(self, uri: str) -> None:
        self.command("transfer", uri)
