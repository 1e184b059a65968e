"""Pebble, a certificate authority for tests (Debian's package of that name), looking where a test's name server says."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path

from scripts.processes import Processes
from tests.support.certificates import self_signed

_PORT, _MANAGEMENT = 14000, 15000
_QUICK = {"PEBBLE_VA_NOSLEEP": "1"}


class Pebble:
    """``url`` is its directory's; ``bundle`` the file with the certificate that it shows to clients."""

    def __init__(self, processes: Processes, directory: Path, host: str, dns: str) -> None:
        self._processes = processes
        self._directory = directory
        self._host = host
        self._dns = dns
        self.url = f"https://{host}:{_PORT}/dir"
        self.bundle = directory / "pebble.pem"
        self_signed(host).write(directory, "pebble")

    def start(self, refused: int = 5, reused: int = 50, **settings: object) -> None:
        """``refused``: how many per cent of good nonces it refuses; ``reused``: how many of valid authorizations it
        takes for a later order. ``settings`` go into its configuration. What it knew before is forgotten, its root
        too."""
        pebble = {
            "listenAddress": f"{self._host}:{_PORT}",
            "managementListenAddress": f"{self._host}:{_MANAGEMENT}",
            "certificate": str(self.bundle),
            "privateKey": str(self._directory / "pebble.key"),
            "httpPort": 5002,
            "tlsPort": 5001,
            **settings,
        }
        path = self._directory / "pebble.json"
        path.write_text(json.dumps({"pebble": pebble}))
        environment = {**_QUICK, "PEBBLE_WFE_NONCEREJECT": str(refused), "PEBBLE_AUTHZREUSE": str(reused)}
        command = ["pebble", "-config", str(path), "-dnsserver", self._dns]
        self._processes.start("pebble", command, environment)
        self._processes.wait_until("pebble", self._answers)

    def kill(self) -> None:
        self._processes.kill("pebble")

    def root(self) -> str:
        """PEM of the root that its certificates lead to."""
        return self._get(f"https://{self._host}:{_MANAGEMENT}/roots/0")

    def _answers(self) -> bool:
        try:
            return bool(self._get(self.url))
        except OSError:
            return False

    def _get(self, url: str) -> str:
        trusting = ssl.create_default_context(cafile=str(self.bundle))
        with urllib.request.urlopen(url, context=trusting) as reply:
            return reply.read().decode()
