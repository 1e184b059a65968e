"""Kamailio as a VoIP provider."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from edge.sip.uri import host_in_uri
from scripts.fleet_parts import Host
from scripts.processes import Processes, in_namespace, wait_for
from tests.support.certificates import Pair

CONFIG = Path(__file__).parent.parent / "kamailio" / "provider.cfg"
PORT = 5060


@dataclass(frozen=True)
class Registration:
    """A REGISTER that was accepted."""

    at: float
    user: str
    source: str
    contact: str
    cseq: int
    call_id: str


class Kamailio:
    """Started at once; its log is read when asked."""

    def __init__(
        self,
        directory: Path,
        host: Host,
        domain: str,
        realm: str = "",
        algorithm: str = "MD5",
        quirks: bool = False,
        phone: str = "0.0.0.0",
        trunk: str = "",
        certificate: Pair | None = None,
    ) -> None:
        """``certificate``: that of its TLS, on port 5061."""
        self.host = host
        self.domain = domain
        self.realm = realm or domain
        self.processes = Processes(directory / "kamailio")
        (directory / "kamailio").mkdir(parents=True, exist_ok=True)
        text = CONFIG.read_text().replace('"PHONE"', f'"{phone}"')
        words = {
            "HOST": host_in_uri(host.address),
            "PORT": str(PORT),
            "DOMAIN": f'"{domain}"',
            "REALM": f'"{self.realm}"',
            "ALGORITHM": f'"{algorithm}"',
            "TRUNK": f'"{trunk}"',
        }
        if certificate is not None:
            chain, key = certificate.write(directory / "kamailio", "provider")
            words |= {"CHAIN": f'"{chain}"', "KEY": f'"{key}"'}
        pattern = re.compile(rf"\b({'|'.join(words)})\b")
        lines = []
        for line in text.splitlines():
            if not line.startswith("#"):
                line = pattern.sub(lambda found: words[found[0]], line)
            lines.append(line)
        if quirks:
            lines.insert(1, "#!define QUIRKS")
        if trunk:
            lines.insert(1, "#!define TRUNKED")
        if certificate is not None:
            lines.insert(1, "#!define SECURED")
        config = directory / "kamailio" / "provider.cfg"
        config.write_text("\n".join(lines) + "\n")
        self._log = directory / "kamailio" / "provider.log"
        command = ["kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f", str(config), "-Y", str(directory / "kamailio")]
        self.processes.start("provider", command, {}, host.namespace)
        wait_for("Kamailio to start", lambda: in_namespace(host.namespace, self._answers), 20)

    def _answers(self) -> bool:
        family = socket.AF_INET6 if ":" in self.host.address else socket.AF_INET
        with socket.socket(family) as probe:
            return probe.connect_ex((self.host.address, PORT)) == 0

    def _text(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self.processes.stop_all()

    def registrations(self, user: str) -> list[Registration]:
        """Every REGISTER of ``user`` that it has accepted, in order."""
        found = []
        pattern = re.compile(r"REG at=(\S*) user=(\S*) source=(\S*) contact=(.*) cseq=(\d+) callid=(\S*)")
        for line in self._text().splitlines():
            match = pattern.search(line)
            if match and match[2] == user:
                found.append(Registration(float(match[1]), match[2], match[3], match[4], int(match[5]), match[6]))
        return found

    def calls(self) -> list[str]:
        return [line[line.index("CALL ") :] for line in self._text().splitlines() if "CALL from=" in line]
