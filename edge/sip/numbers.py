"""Numbers in SIP's text."""

from __future__ import annotations


def number_of(text: str, most: int) -> int | None:
    """1*DIGIT (§25.1), with as many zeros before it as there are; None for anything else, and for what is over
    ``most``."""
    if not (text.isascii() and text.isdecimal()):
        return None
    if len(text) > 9:
        text = text.lstrip("0") or "0"
        if len(text) > len(str(most)):
            return None
    number = int(text)
    return number if number <= most else None
