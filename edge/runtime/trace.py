"""What the edge receives and sends, a line each, for whoever is watching: nothing is kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.message import Message, Request
from edge.sip.parser import parse

_QUEUE = 1000


class Trace:
    """``wanted`` is true while somebody watches; a watcher who is too slow misses lines."""

    def __init__(self, edge: str) -> None:
        self._edge = edge
        self._watchers: set[asyncio.Queue[dict[str, Any]]] = set()
        self.wanted = False

    def watch(self) -> asyncio.Queue[dict[str, Any]]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE)
        self._watchers.add(queue)
        self.wanted = True
        return queue

    def unwatch(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        self._watchers.discard(queue)
        self.wanted = bool(self._watchers)

    def message(self, direction: str, flow: Flow, data: bytes) -> None:
        """``direction`` is "in" or "out"."""
        self._tell(direction, flow, data, "")

    def crossing(self, owner: str, flow: Flow, data: bytes) -> None:
        """Handed to another edge: a request for its flow, or a response for its transaction (``owner``)."""
        self._tell("mesh", flow, data, owner)

    def _tell(self, direction: str, flow: Flow, data: bytes, owner: str) -> None:
        try:
            message: Message = parse(data)
        except ParseError:
            return
        line = {
            "time": time.time(),
            "edge": self._edge,
            "direction": direction,
            "address": flow.address,
            "transport": flow.transport,
            "remote": flow.remote,
            "owner": owner,
            "request": isinstance(message, Request),
            "line": message.start_line,
            "call_id": message.get("call-id") or "",
            "cseq": message.get("cseq") or "",
        }
        self.show(line)

    def show(self, line: dict[str, Any]) -> None:
        """A line, of this process or another one of the edge."""
        for queue in self._watchers:
            if not queue.full():
                queue.put_nowait(line)
