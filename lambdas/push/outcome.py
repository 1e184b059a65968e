"""What came of a push."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_PAUSE = 1.0  # seconds, where the service doesn't say


class Fate(Enum):
    SENT = "sent"
    GONE = "gone"
    """The service doesn't know the phone any more."""
    AGAIN = "again"
    """The service has too much to do, or doesn't answer."""
    REFUSED = "refused"
    """It doesn't take the credentials, or what they are sent with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``text`` says why, for people; ``wait`` is for how many seconds the service wants to be left alone."""

    fate: Fate
    text: str = ""
    wait: float = 0.0


SENT = Outcome(Fate.SENT)


def busy(status: int, retry_after: str | None, text: str = "") -> Outcome:
    """It has answered 429, or 5xx."""
    wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
    return Outcome(Fate.AGAIN, f"{status} {text}".strip(), max(wait, _PAUSE))
