"""Kamailio as a VoIP provider, and as a proxy in front of phones."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge.sip.uri import host_in_uri
from scripts.fleet_parts import Host
from scripts.processes import Processes, in_namespace, wait_for
from tests.support.certificates import Pair

CONFIGS = Path(__file__).parent.parent / "kamailio"
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


class KamailioServer:
    """Started at once, by a configuration of tests/kamailio; its log is read when asked."""

    def __init__(
        self,
        directory: Path,
        host: Host,
        name: str,
        words: dict[str, str],
        defines: Sequence[str] = (),
        certificate: Pair | None = None,
    ) -> None:
        """``words`` are the configuration's names. ``certificate``: that of its TLS, on port 5061."""
        self.host = host
        place = directory / "kamailio"
        self.processes = Processes(place)
        place.mkdir(parents=True, exist_ok=True)
        words = {"HOST": host_in_uri(host.address), "PORT": str(PORT), **words}
        if certificate is not None:
            chain, key = certificate.write(place, name)
            words |= {"CHAIN": f'"{chain}"', "KEY": f'"{key}"'}
        pattern = re.compile(rf"\b({'|'.join(words)})\b")
        first, *lines = (CONFIGS / f"{name}.cfg").read_text().splitlines()
        lines = [line if line.startswith("#") else pattern.sub(lambda found: words[found[0]], line) for line in lines]
        config = place / f"{name}.cfg"
        config.write_text("\n".join([first, *(f"#!define {word}" for word in defines), *lines]) + "\n")
        self._log = place / f"{name}.log"
        command = ["kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f", str(config), "-Y", str(place)]
        self.processes.start(name, command, {}, host.namespace)
        wait_for("Kamailio to start", lambda: in_namespace(host.namespace, self._answers), 20)

    def _answers(self) -> bool:
        family = socket.AF_INET6 if ":" in self.host.address else socket.AF_INET
        with socket.socket(family) as probe:
            return probe.connect_ex((self.host.address, PORT)) == 0

    def _text(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self.processes.stop_all()


class Kamailio(KamailioServer):
    """A provider."""

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
        self.domain = domain
        self.realm = realm or domain
        words = {
            "DOMAIN": f'"{domain}"',
            "REALM": f'"{self.realm}"',
            "ALGORITHM": f'"{algorithm}"',
            "TRUNK": f'"{trunk}"',
            "PHONE": phone,
        }
        wanted = {"QUIRKS": quirks, "TRUNKED": trunk, "SECURED": certificate}
        defines = [word for word, value in wanted.items() if value]
        super().__init__(directory, host, "provider", words, defines, certificate)

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


class OuterProxy(KamailioServer):
    """A proxy in front of phones, at ``ports`` by what it goes on to ``edge`` with; ``fleet`` is a pattern for the
    addresses that edges have."""

    ports: ClassVar = {"udp": 5060, "tcp": 5070, "tls": 5080}

    def __init__(self, directory: Path, host: Host, edge: str, fleet: str, certificate: Pair) -> None:
        words = {"EDGE": f'"{edge}"', "FLEET": f'"{fleet}"'}
        super().__init__(directory, host, "outer", words, (), certificate)
