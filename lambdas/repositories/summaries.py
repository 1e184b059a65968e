"""Accounts' message summaries."""

from __future__ import annotations

from lambdas.repositories.directory import Directory
from lambdas.repositories.items import item_key
from lambdas.repositories.models import SummaryItem


class Summaries:
    """By AOR. They go with their account (``Accounts.delete``)."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def get(self, aor: str) -> str:
        """ "" if there is none."""
        item = self._directory.get(SummaryItem, aor)
        return item.text if item is not None else ""

    def put(self, aor: str, text: str, now: float) -> None:
        """Voicemail systems repeat what they have said: that costs no write."""
        if self.get(aor) != text:
            SummaryItem(*item_key(SummaryItem, aor), text=text, changed_at=int(now)).save()
