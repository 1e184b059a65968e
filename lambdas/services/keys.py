"""Keys that every process in every Region has without writing any: derived from the fleet's secret."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lambdas.calls.facts import CallWay
from lambdas.contract import FleetKey, way_sealed_for
from lambdas.services.cached import Cached

DAY = 86_400
VERIFY_DAYS = 8  # a token of a day's last second verifies for 7 days more
_TOKEN_KEY, _TICKET_KEY = 64, 80


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
                ticket=base64.b64encode(_derive(secret, f"ticket {day}", _TICKET_KEY)).decode(),
                use=day == today,
            )
            for day in self._days(now)
        ]

    def way_of_call(self, way: str, call_id: str, tag: str, now: float) -> CallWay | None:
        """What an edge has sealed into the user part by which a call's phone reaches its provider. None if it isn't one
        of this call, or its key doesn't verify any more."""
        kind, text = way[:2], way[2:]
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            day = next(day for day in self._days(now) if day % 256 == sealed[0])
            cipher = AESSIV(_derive(self._secret.get(), f"token {day}", _TOKEN_KEY))
            values = json.loads(cipher.decrypt(sealed[1:], [way_sealed_for("r.", f"{call_id} {tag}")]))
            # Its fields as the edge's LegToProvider has them; later ones may be added.
            found = CallWay(str(values[0]), str(values[3]), int(values[4]), str(values[12]) if len(values) > 12 else "")
        except (ValueError, TypeError, IndexError, StopIteration, InvalidTag):
            return None
        return found if kind == "r." else None

    @staticmethod
    def _days(now: float) -> range:
        """Those whose keys are known: of tomorrow, today and the days that still verify."""
        today = int(now) // DAY
        return range(today - VERIFY_DAYS, today + 2)


def _derive(secret: bytes, label: str, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=None, info=f"sipwizard {label}".encode()).derive(secret)
