"""What can come of looking outside."""

from __future__ import annotations


class OutsideError(Exception):
    """It can't be had; the text says why. ``forbidden``: nor ever will it be."""

    def __init__(self, why: str, forbidden: bool = False) -> None:
        super().__init__(why)
        self.forbidden = forbidden


class MailError(Exception):
    """It couldn't be sent; the log says why."""
