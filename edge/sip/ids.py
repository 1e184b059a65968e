"""Where identifiers that nobody can guess come from: handed in, since nothing here draws random numbers."""

from __future__ import annotations

from typing import Protocol


class Ids(Protocol):
    def token(self) -> str:
        """A fresh token (RFC 3261 §25.1) without dots, of at least 64 random bits."""

    def salt(self) -> bytes:
        """Two random octets, or more."""
