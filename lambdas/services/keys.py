"""Keys that every process in every Region has without writing any: derived from the fleet's secret."""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lambdas.contract import FleetKey
from lambdas.services.cached import Cached

DAY = 86_400
VERIFY_DAYS = 8  # a token of a day's last second verifies for 7 days more
_TOKEN_KEY = 64


class Keys:
    """``read`` reads the secret; ``keep`` has it last, before edges get keys by it."""

    def __init__(self, read: Callable[[], bytes], keep: Callable[[bytes], None]) -> None:
        self._secret = Cached(read, 3600.0)
        self._keep = keep
        self._kept = False

    def derived(self, label: str) -> bytes:
        """A key of 32 octets for ``label``."""
        return _derive(self._secret.get(), label, 32)

    def of(self, now: float) -> list[FleetKey]:
        """The fleet's keys of tomorrow, today and the days that still verify."""
        today = int(now) // DAY
        secret = self._secret.get()
        if not self._kept:
            self._keep(secret)
            self._kept = True
        return [
            FleetKey(
                id=day % 256,
                nonce=base64.b64encode(_derive(secret, f"nonce {day}", 32)).decode(),
                token=base64.b64encode(_derive(secret, f"token {day}", _TOKEN_KEY)).decode(),
                use=day == today,
            )
            for day in range(today - VERIFY_DAYS, today + 2)
        ]


def _derive(secret: bytes, label: str, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=None, info=f"sipwizard {label}".encode()).derive(secret)
