"""Certificates from files, loaded anew when they change."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge.config import CertificateFiles, ConfigError
from edge.transport.certificates import Certificate, CertificateError, Certificates

log = logging.getLogger(__name__)

_EVERY = 10.0  # seconds between two looks


class CertificateWatch:
    """Keeps ``certificates`` as ``files`` are. What can't be used is counted, and those of before stay."""

    def __init__(
        self,
        files: Sequence[CertificateFiles],
        certificates: Certificates,
        counters: Counter[str],
        every: float = _EVERY,
    ) -> None:
        self._files = files
        self._certificates = certificates
        self._counters = counters
        self._every = every
        self._seen: list[tuple[int, int]] = []

    def load(self) -> None:
        """At the start. Raises ConfigError."""
        try:
            self._seen = self._look()
            self._replace()
        except (OSError, CertificateError) as error:
            raise ConfigError(f"certificates: {error}") from error

    async def run(self) -> None:
        """Two files are seldom changed in the same moment: only what has stayed as it is for a while is read."""
        changed: list[tuple[int, int]] = []
        while True:
            await asyncio.sleep(self._every)
            try:
                seen = self._look()
                if seen != self._seen and seen == changed:
                    self._seen = seen
                    self._replace()
                    log.info("certificates have changed, and are in use")
                changed = seen
            except (OSError, CertificateError) as error:
                self._counters["certificate_failures"] += 1
                log.error("certificates have changed, those of before stay in use: %s", error)

    def _look(self) -> list[tuple[int, int]]:
        """When each file changed last, and which one it is."""
        stats = [path.stat() for files in self._files for path in (files.chain, files.key)]
        return [(stat.st_mtime_ns, stat.st_ino) for stat in stats]

    def _replace(self) -> None:
        self._certificates.replace([Certificate(_read(files.chain), _read(files.key)) for files in self._files])


def _read(path: Path) -> str:
    """PEM is ASCII; what stands around it may be in any encoding."""
    return path.read_text("latin-1")
