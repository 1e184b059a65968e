"""Fetching what the control plane has told of, until it is here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class CatchUp:
    """Calls ``fetch`` when there is news, and again after ``retry`` seconds where it fails or says that not all is here
    yet. ``what`` is for the log."""

    def __init__(self, what: str, fetch: Callable[[], Awaitable[bool]], retry: float) -> None:
        self._what = what
        self._fetch = fetch
        self._retry = retry
        self._news = asyncio.Event()

    def told(self) -> None:
        """There is news."""
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if not await self._complete():
                self._news.set()
                await asyncio.sleep(self._retry)

    async def _complete(self) -> bool:
        try:
            return await self._fetch()
        except Exception:
            log.exception("%s can't be fetched", self._what)
            return False
