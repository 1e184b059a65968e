"""Phones that have refused what the media engine makes of a browser's session description, or for a browser."""

from __future__ import annotations

from collections import OrderedDict

_MOST = 10_000


class UnbridgedPhones:
    """The last so many, by binding: they get the caller's own description at once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def note(self, binding: str) -> None:
        if binding:
            self._known[binding] = None
            self._known.move_to_end(binding)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    def forget(self, binding: str) -> None:
        """It refuses that as well."""
        self._known.pop(binding, None)

    def __contains__(self, binding: str) -> bool:
        return binding in self._known

    def __len__(self) -> int:
        return len(self._known)
